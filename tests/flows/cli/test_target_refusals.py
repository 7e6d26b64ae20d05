"""Commands that know classes alone refuse other targets by name, and change nothing."""

import command_line
import pytest
import tiny
from target_worlds import WORLDS, make_world

COMMANDS = {
    "flip": ("flip", "query-0", "STUDY"),
    "serve": ("serve", "STUDY"),
    "correct": ("correct", "STUDY", "--anchors", "queries.csv", "--out", "corrected"),
    "bisect": ("bisect", "before", "after", "STUDY"),
}


@pytest.fixture(
    scope="module", params=["multi-label", "number", "soft-label", "ordinal", "weights"]
)
def study(request, tmp_path_factory):
    folder, world = tmp_path_factory.mktemp("refused") / "made", WORLDS[request.param]
    make_world(folder, world)
    return tiny.write_study(folder, **world.study)


@pytest.mark.parametrize("command", COMMANDS)
def test_other_targets_are_refused_by_name(study, command):
    words = [study if word == "STUDY" else word for word in COMMANDS[command]]
    before = command_line.contents(study.parent)
    code, out, message = command_line.run(*words)
    assert code == 2, out + message
    assert "Traceback" not in out + message
    assert f"`fastif {command}`" in message
    assert "target" in message or "weight" in message
    assert command_line.contents(study.parent) == before
