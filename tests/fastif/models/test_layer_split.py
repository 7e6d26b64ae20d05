"""Selection of attributed parameters by layer, pattern or "all"."""

import pytest
from cases import FAMILIES, transformer

from fastif import InputError, TransformerObjective
from fastif.models.layer_split import select_attributed_names


def test_last_k_selects_the_last_layers_and_the_head_and_no_embedding():
    names = select_attributed_names(transformer("bert"), "last:1")
    assert {name.split(".")[0] for name in names} == {"bert", "classifier"}
    assert {n for n in names if n.startswith("bert.pooler")} == {
        "bert.pooler.dense.weight",
        "bert.pooler.dense.bias",
    }
    layers = {name.split(".")[3] for name in names if ".layer." in name}
    assert layers == {"2"}
    assert not [name for name in names if "embeddings" in name]
    two = select_attributed_names(transformer("bert"), "last:2")
    assert {name.split(".")[3] for name in two if ".layer." in name} == {"1", "2"}


@pytest.mark.parametrize("family", FAMILIES)
def test_last_k_with_all_layers_leaves_out_the_embeddings(family):
    model = transformer(family)
    names = select_attributed_names(model, "last:3")
    left_out = {name for name, _ in model.named_parameters()} - set(names)
    assert left_out
    assert all(
        "embeddings" in name
        or name.startswith("deberta.encoder.LayerNorm")
        or name.startswith("deberta.encoder.conv")
        for name in left_out
    )


def test_patterns_and_all_select_in_the_order_of_the_model():
    model = transformer("bert")
    every_name = [name for name, _ in model.named_parameters()]
    assert select_attributed_names(model, "all") == every_name
    names = select_attributed_names(model, ["classifier", r"layer\.2\.output"])
    assert names == [n for n in every_name if "classifier" in n or "layer.2.output" in n]
    objective = TransformerObjective(model, ["classifier"])
    assert objective.space.names == ("classifier.weight", "classifier.bias")
    assert objective.num_frozen_layers == 3  # hidden states above all layers


@pytest.mark.parametrize("bad", ["last:0", "last:4", "last:-1", "last:", "first:1", "LAST:1", ""])
def test_an_unknown_choice_of_parameters_is_refused(bad):
    with pytest.raises(InputError, match=r"last:K.*K from 1 to 3"):
        select_attributed_names(transformer("bert"), bad)


def test_a_pattern_without_match_is_refused_by_name():
    with pytest.raises(InputError, match=r"no match for 'clasifier'"):
        select_attributed_names(transformer("bert"), ["pooler", "clasifier"])
