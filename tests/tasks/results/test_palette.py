"""The palette is legible in both colour schemes, and pictures of the documentation keep to it."""

import re
from pathlib import Path

import pytest

from tasks.results.palette import (
    CATEGORIES,
    COLOURS,
    HARMFUL,
    HELPFUL,
    NEUTRAL,
    STRONG,
    format_css_variables,
)

ROOT = Path(__file__).parents[3]
PAGE = (ROOT / "tasks/report/templates/page.css").read_text()
HEX = re.compile(r"#[0-9a-f]{6}\b")
TINTS = {"#b7b1db", "#948bc9", "#7065b7", "#4d3fa5"}
"""Tints of the first category, for series of sketches."""
INKS = {"#111827", "#f1f5f9", "#333333", "#dddddd", "#ffffff"}


def luminance(colour):
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(a, b):
    """Contrast ratio of WCAG 2."""
    low, high = sorted((luminance(a), luminance(b)))
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_marks_are_legible_on_the_backgrounds_of_the_page(scheme):
    backgrounds = [
        re.findall(rf"--{name}: (#[0-9a-f]{{6}})", PAGE)[scheme == "dark"]
        for name in ("paper", "card")
    ]
    for colour in (HARMFUL, HELPFUL, NEUTRAL, STRONG, *CATEGORIES):
        for background in backgrounds:
            assert contrast(getattr(colour, scheme), background) >= 3, colour.name


def test_harmful_is_orange_and_helpful_is_blue():
    for scheme in ("light", "dark"):
        red, _, blue = (int(getattr(HARMFUL, scheme)[i : i + 2], 16) for i in (1, 3, 5))
        assert red > 2 * blue
        red, _, blue = (int(getattr(HELPFUL, scheme)[i : i + 2], 16) for i in (1, 3, 5))
        assert blue > 1.5 * red


def test_each_scheme_defines_every_variable_once():
    light, dark = format_css_variables().split("@media (prefers-color-scheme: dark)")
    for colour in COLOURS:
        assert light.count(f"--{colour.name}: {colour.light};") == 1
        assert dark.count(f"--{colour.name}: {colour.dark};") == 1


def test_pictures_of_the_documentation_have_only_colours_of_the_palette():
    allowed = {colour.light for colour in COLOURS} | TINTS | INKS
    pictures = sorted((ROOT / "docs/images").rglob("*.svg"))
    assert pictures
    for path in pictures:
        # A diverging scale is interpolated, and written as rgb(...).
        assert set(HEX.findall(path.read_text())) <= allowed, path.name
