"""The torch module of the study of the benchmark: its inputs and its weights."""

import math

import torch
from safetensors.torch import save_file

from benchmarks.own_module.passengers import NUMBERS, WIDTHS, collate, load, make_network

ROW = {"age": 44.0, "sibsp": 0.5, "parch": 0.4, "fare": 2.9}
ROW |= {"pclass": "3", "sex": "female", "embarked": None, "deck": "A"}


def test_numbers_are_standardised_and_categories_are_indicators():
    (inputs,) = collate([ROW])
    expected = [1.0, 0.0, 0.0, 0.0, *(0, 0, 1), 1, *(0, 0, 0), *(1, 0, 0, 0, 0, 0, 0)]
    assert inputs.tolist() == expected
    assert len(inputs) == WIDTHS[0]


def test_a_missing_number_is_the_mean():
    (missing,) = collate([{**ROW, "age": math.nan}])
    (mean,) = collate([{**ROW, "age": NUMBERS["age"][0]}])
    assert torch.equal(missing, mean)


def test_the_function_returns_the_saved_weights(tmp_path):
    torch.manual_seed(1)
    network = make_network()
    save_file(network.state_dict(), tmp_path / "weights.safetensors")
    module, loss, function = load(tmp_path)
    assert loss is None
    assert torch.equal(module(function([ROW])), network(collate([ROW])))
