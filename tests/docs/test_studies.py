"""Every block of TOML in the documentation is a study, or a part that completes one."""

import re
import tomllib
from pathlib import Path

import pytest
import tiny

from tasks.study.errors import StudyError
from tasks.study.study import load_study
from tests.docs.blocks import PAGES, ROOT, Block, list_blocks

NO_STUDY: dict[str, str] = {}
"""Places of TOML blocks that are no study, each with the reason."""

CONFIGURATION = ROOT / "docs" / "reference" / "configuration.md"
TRAINING = {"base": "base", "trainable": "last:1"}
BLOCKS = [block for block in list_blocks("toml") if block.place not in NO_STUDY]


def complete(block: Block, folder: Path) -> Path:
    """Write a study file with the keys of a block, and those of a tiny study where it has none."""
    values = tomllib.loads(block.code)
    if "name" in values and "train" in values:
        (folder / "study.toml").write_text(block.code, "utf-8")
        return folder / "study.toml"
    sections = {name: keys for name, keys in values.items() if isinstance(keys, dict)}
    top = {name: value for name, value in values.items() if name not in sections}
    needs_training = sections.get("curvature", {}).get("damping") == "auto"
    if needs_training or "training" in sections:
        given = sections.get("training", {})
        sections["training"] = TRAINING | given
        if "lora_rank" in given:  # instead of trainable
            sections["training"]["trainable"] = given.get("trainable")
    for role in ("train", "queries"):
        if {"features", "image"} & sections.get(role, {}).keys():
            sections[role] = {"text": None, "groups": None, **sections[role]}
    if "factory" in sections.get("model", {}):  # neither tokens nor known layers
        sections["parameters"] = sections.get("parameters", {"attributed": None})
    if "factory" in sections.get("model", {}) or "image" in sections.get("train", {}):
        sections["model"] = {"max_length": None, **sections.get("model", {})}
    return tiny.write_study(folder, top=top, **sections)


@pytest.mark.parametrize("block", BLOCKS, ids=lambda block: block.place)
def test_studies_are_valid(block, tmp_path):
    load_study(complete(block, tmp_path))


def test_a_wrong_key_is_found(tmp_path):
    block = Block("page.md", 1, "toml", "[curvature]\ndampign = 1.0\n")
    with pytest.raises(StudyError, match="dampign"):
        load_study(complete(block, tmp_path))


def list_known_keys() -> dict[str, set[str]]:
    """Return the keys of every section, from the page that is generated from the models."""
    keys, section = {}, ""
    for line in CONFIGURATION.read_text("utf-8").splitlines():
        if line.startswith("## `["):
            section = line.strip("#` []")
        elif match := re.match(r"(?:\| |### )`?(\w+)", line):
            keys.setdefault(section, set()).add(match[1])
    return keys


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_keys_in_sentences_exist(page):
    # A file's name may follow a section in a quoted answer: `[train] t.csv: ...`.
    named = re.findall(r"`\[([a-z]+)\] ([a-z_]+)\b(?!\.\w)", page.read_text("utf-8"))
    known = list_known_keys()
    assert [(name, key) for name, key in named if key not in known.get(name, set())] == []


def test_the_refusal_on_the_page_is_what_is_printed(tmp_path, monkeypatch):
    pages = [ROOT / "docs" / "guides" / "own-data.md"]
    study = list_blocks("toml", pages=pages)[0].code
    shown = next(b.code for b in list_blocks("text", pages=pages) if b.code.startswith("Refused."))
    wrong = study.replace("damping = 0.1", 'dampign = 0.1\n\n[solver]\nkind = "dul"')
    monkeypatch.chdir(tmp_path)
    Path("study.toml").write_text(wrong, "utf-8")
    with pytest.raises(StudyError) as error:
        load_study(Path("study.toml"))
    assert f"Refused. {error.value}\n" == shown
