"""The file of user texts holds help, refusals, messages, keys and templates."""

import pytest

from tests.house.user_text import render_user_text


@pytest.mark.long
def test_every_kind_of_text_is_listed():
    text = render_user_text()
    for command in ("audit", "mislabels", "review export", "diff"):
        assert f"$ fastif {command} --help" in text
    assert "[solver] kind" in text
    assert '"lissa", ' in text
    assert "Effects can be compared number by number" in text
    assert "\nshard_size = 64" in text
