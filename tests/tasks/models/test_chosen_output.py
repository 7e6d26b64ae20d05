"""`[model] output` of a study: the explained output of a module with several."""

import command_line
import own_package
import pytest

from tasks.models.own_model import compute_own_digest
from tasks.study.errors import StudyError
from tasks.study.study import load_study
from tests.tasks.study.study_files import VALID, write_changed

PAIR = """

class Pair(nn.Module):
    def __init__(self, network):
        super().__init__()
        self.network = network

    def forward(self, **inputs):
        logits = self.network(**inputs)
        return {"grant_logits": logits, "risk_logits": -logits}


def load_pair(folder):
    network, loss, function = load(folder)
    return Pair(network), loss, function
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    own_package.install(tmp_path, monkeypatch)
    source = tmp_path / "source" / own_package.NAME / "__init__.py"
    source.write_text(source.read_text() + PAIR)
    return tmp_path


def write(folder, output: str) -> None:
    """Write the study with an output, or without any if it is empty."""
    path = folder / "study.toml"
    lines = [line for line in path.read_text().splitlines() if not line.startswith("output =")]
    place = lines.index("[model]") + 1
    path.write_text("\n".join([*lines[:place], *([output] if output else []), *lines[place:]]))


def test_several_outputs_are_refused_unless_one_is_chosen(folder):
    study = own_package.make_study(folder, "load_pair")[0]
    code, out, message = command_line.run("audit", study, "--dry-run")
    assert code == 2
    assert "several: grant_logits, risk_logits" in " ".join(message.split())
    assert "Traceback" not in out + message
    write(folder, 'output = "logits"')
    code, out, message = command_line.run("audit", study, "--dry-run")
    assert code == 2
    assert "an output 'logits'" in " ".join(message.split())
    write(folder, 'output = "grant_logits"')
    code, out, message = command_line.run("audit", study, "--dry-run")
    assert code == 0, message


def test_a_model_with_another_chosen_output_is_another_model(folder):
    study = own_package.make_study(folder, "load_pair")[0]
    digests = set()
    for output in ("", 'output = "grant_logits"', 'output = "risk_logits"', "output = 0"):
        write(folder, output)
        digests.add(compute_own_digest(load_study(study), folder / "weights"))
    assert len(digests) == 4


def test_an_output_without_a_factory_is_refused(tmp_path):
    assert "[model]" in VALID
    with pytest.raises(StudyError, match=r"\[model\] output"):
        load_study(write_changed(tmp_path, ("[model]", '[model]\noutput = "logits"')))
