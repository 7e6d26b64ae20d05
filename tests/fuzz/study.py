"""The study file of a case, and its models."""

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from tests.fuzz.case import Case
from tests.fuzz.families import FAMILIES, classifier, save, tokenizer


def write_models(case: Case, folder: Path, night: int = 0) -> None:
    """Each member's weights with its tokenizer; another run has other weights."""
    words = tokenizer(FAMILIES[case.family], case.side, case.padding, case.segments)
    for place, name in enumerate(model_names(case)):
        seed = 1000 * case.seed + 10 * night + place
        model = classifier(case.family, case.labels, seed, case.padding)
        save(model, words, folder / name, case.dtype)


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
    table = {"text": texts, "label": "label", "id": ids, "groups": ["source"]}
    loss = {"class_weights": list(case.weights) if case.weights else None}
    loss |= {"label_smoothing": case.smoothing or None, "weight_decay": case.decay or None}
    if case.decay:
        loss["weight_decay_kind"] = "coupled" if case.coupled else "decoupled"
    sections = {
        "": {"name": "fuzz", "labels": list(case.labels), "models": model_names(case)[1:] or None},
        "model": {"path": "model", "max_length": case.max_length},
        "train": {"table": f"train.{case.formats[0]}", **table},
        "queries": {
            "table": f"queries.{case.formats[1]}",
            **table,
            "label": None if case.unlabelled == 1 else "label",
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
