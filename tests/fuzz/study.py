"""The study file of a case, and its models."""

import json
import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import torch
from transformers import PreTrainedModel

from tests.fuzz.case import HEAD, Case
from tests.fuzz.families import FAMILIES, classifier, save, tokenizer
from tests.fuzz.targets import target_keys


def write_models(case: Case, folder: Path, night: int = 0) -> None:
    """Each member's weights with its tokenizer; another run has other weights."""
    words = tokenizer(FAMILIES[case.family], case.side, case.padding, case.segments)
    for place, name in enumerate(model_names(case)):
        seed = 1000 * case.seed + 10 * night + place
        names = _output_names(case)
        model = classifier(case.family, names, seed, case.padding, _problem_type(case))
        if case.target.ordinal == "cumulative":
            _order_outputs(model, len(names))
        save(model, words, folder / name, case.dtype)


def _output_names(case: Case) -> list[str]:
    """Names of the model's outputs: of thresholds and ranks any."""
    count = case.target.count_outputs(len(case.labels))
    is_named = count == len(case.labels) and not case.target.has_ranks
    return list(case.labels) if is_named else [f"out{place}" for place in range(count)]


def _problem_type(case: Case) -> str | None:
    if case.target.kind == "number" or case.target.has_ranks:
        return "regression"
    return "multi_label_classification" if case.target.kind == "multi-label" else None


def _order_outputs(model: PreTrainedModel, count: int) -> None:
    """Make the outputs fall from the first to the last, where the head has a bias."""
    for name, tensor in model.named_parameters():
        if re.search(HEAD, name) and tensor.shape[0] == count:
            is_bias = tensor.dim() == 1
            tensor.data = (
                -torch.arange(float(count)) if is_bias else tensor.data[:1].repeat(count, 1)
            )


def model_names(case: Case) -> list[str]:
    """Folders of the members."""
    return ["model", *(f"model{place}" for place in range(1, case.members))]


def write_study(case: Case, folder: Path) -> None:
    """`study.toml` of the first run, or of the second if the case is that one."""
    lines: list[str] = []
    for section, keys in _sections(case).items():
        lines += [f"[{section}]"] if section else []
        lines += [f"{key} = {_toml(value)}" for key, value in keys.items() if value is not None]
    (folder / "study.toml").write_text("\n".join(lines) + "\n")


def second_run_case(case: Case) -> Case:
    """The case with the settings of its second run."""
    assert case.night is not None
    return replace(case, damping=case.night.damping or case.damping)


def _sections(case: Case) -> dict[str, dict]:
    texts = ["a", "b"] if case.pairs else ["a"]
    ids = None if case.night and case.night.ids == "row numbers" else "id"
    table = {"text": texts, "id": ids, "groups": ["source"]}
    columns, target = target_keys(case.target, case.labels), case.target
    loss = {"class_weights": list(case.weights) if case.weights else None}
    loss |= {"label_smoothing": case.smoothing or None, "weight_decay": case.decay or None}
    if case.decay:
        loss["weight_decay_kind"] = "coupled" if case.coupled else "decoupled"
    loss |= {"kind": target.loss, "ordinal_kind": target.ordinal, "huber_delta": target.delta}
    loss |= {"focal_gamma": target.gamma, "reduction": target.reduction}
    loss["pos_weight"] = list(target.positive) if target.positive else None
    top = {
        "name": "fuzz",
        "labels": None if target.kind == "number" else list(case.labels),
        "target": None if target.kind == "class" else target.kind,
        "models": model_names(case)[1:] or None,
    }
    weight = {"weight": "weight" if target.weighted else None}
    sections = {
        "": top,
        "model": {"path": "model", "max_length": case.max_length},
        "train": {"table": f"train.{case.formats[0]}", **table, **columns, **weight},
        "queries": {
            "table": f"queries.{case.formats[1]}",
            **table,
            **({} if case.unlabelled == 1 else columns),
            "by_label": target.by_label or None,
            "measure": None if case.measure == "auto" else case.measure,
        },
        "parameters": {"attributed": case.attributed},
        "loss": loss,
        "curvature": {
            "kind": "hessian" if case.hessian else "gauss-newton",
            "damping": case.damping,
            "rows": case.curvature_rows,
            "leverage": None if case.leverage == "off" else case.leverage,
        },
        "solver": case.solver,
        "candidates": case.candidates,
        "run": case.run,
        "store": {"path": "store"},
    }
    if case.night and case.night.carry is not None:
        sections["carry"] = {"least": case.night.carry}
    return sections


def _toml(value: object) -> str:
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(_toml, value))}]"
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{key} = {_toml(v)}" for key, v in value.items()) + "}"
    return json.dumps(value)
