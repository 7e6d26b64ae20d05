"""The columns of the store that sentences of the documentation name exist."""

import re

import pytest

from storage.schemas import table_schema
from tests.docs.blocks import PAGES, ROOT

COLUMN = re.compile(r"column\s`(\w+)`\s(?:of|in)\sthe\stable\s`(\w+)`")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_columns_in_sentences_exist(page):
    named = COLUMN.findall(page.read_text("utf-8"))
    assert [(c, table) for c, table in named if c not in table_schema(table).names] == []
