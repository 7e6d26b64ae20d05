"""Palette of all figures: harmful is orange, helpful is blue, on light and on dark backgrounds.

Both are distinguishable with red-green colour blindness. Categories avoid both hues.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Colour:
    """Colour with a variant for dark backgrounds, as hexadecimal sRGB.

    Attributes:
        name: Name of its CSS variable, without the dashes.
        light: Colour on a light background.
        dark: Colour on a dark background.
    """

    name: str
    light: str
    dark: str

    @property
    def variable(self) -> str:
        """Value in CSS and SVG that follows the reader's colour scheme."""
        return f"var(--{self.name})"


HARMFUL = Colour("harmful", "#c2410c", "#fb923c")
HELPFUL = Colour("helpful", "#0369a1", "#7dd3fc")
NEUTRAL = Colour("neutral", "#64748b", "#94a3b8")
"""Marks that are neither harmful nor helpful, such as lines of reference and random rows."""
WEAK = Colour("weak", "#b6c2d1", "#475569")
"""Middle of a scale from harmful to helpful, and lower end of a scale of strength."""
STRONG = Colour("strong", "#4338ca", "#a5b4fc")
"""Upper end of a scale of strength."""
CATEGORIES = (
    Colour("category-1", "#332288", "#a99df2"),
    Colour("category-2", "#117733", "#5fc98a"),
    Colour("category-3", "#aa4499", "#e58fd7"),
    Colour("category-4", "#7d7d1f", "#dbd95f"),
    Colour("category-5", "#882255", "#f07aa8"),
    Colour("category-6", "#2a8a7c", "#86e0d2"),
    Colour("category-7", "#b4505f", "#f5b5bd"),
    Colour("category-8", "#5b4632", "#cdb49a"),
)
"""Classes, sources and methods, in order of their frequency or first appearance."""
COLOURS = (HARMFUL, HELPFUL, NEUTRAL, WEAK, STRONG, *CATEGORIES)

TERMINAL_HARMFUL, TERMINAL_HELPFUL = "#e0661f", "#2f8fc9"
"""Colours in a terminal, whose background is not known."""
DIVERGING = (HARMFUL.light, "#f1f5f9", HELPFUL.light)
"""Scale from harmful to helpful on a white background."""
CATEGORY_RANGE = tuple(colour.light for colour in CATEGORIES)
"""Categories on a white background."""


def format_css_variables() -> str:
    """Return the CSS rules of the variables, for the light and for the dark colour scheme.

    Examples:
        >>> format_css_variables().splitlines()[0][:28]
        ':root { --harmful: #c2410c; '
    """
    light = " ".join(f"--{colour.name}: {colour.light};" for colour in COLOURS)
    dark = " ".join(f"--{colour.name}: {colour.dark};" for colour in COLOURS)
    return (
        f":root {{ {light} }}\n@media (prefers-color-scheme: dark) {{\n  :root {{ {dark} }}\n}}\n"
    )
