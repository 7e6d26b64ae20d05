"""What the packages show to those who use them: few names, each of them explained."""

import fastif
import fastif.mislabels
import storage

EXPORTS = [(fastif, 40), (fastif.mislabels, 20), (storage, 20)]
"""Packages that are used from a notebook, and how many names each may export."""


def _find_docstring(value: object) -> str:
    """What is written about a name itself, not about a class's parent or by `dataclass`."""
    text = vars(value).get("__doc__") if isinstance(value, type) else value.__doc__
    is_generated = isinstance(value, type) and str(text).startswith(f"{value.__name__}(")
    return "" if text is None or is_generated else text


def test_packages_export_few_names():
    for package, limit in EXPORTS:
        assert len(package.__all__) <= limit, package.__name__
        assert sorted(set(package.__all__)) == sorted(package.__all__), package.__name__


def test_exports_are_all_that_a_package_imports():
    for package, _ in EXPORTS:
        public = {
            name
            for name, value in vars(package).items()
            if not name.startswith("_") and type(value).__name__ != "module"
        }
        assert public == set(package.__all__), package.__name__


def test_every_export_is_explained():
    unexplained = [
        f"{package.__name__}.{name}"
        for package, _ in EXPORTS
        for name in package.__all__
        if callable(getattr(package, name))
        and len(_find_docstring(getattr(package, name)).split()) < 4
    ]
    assert unexplained == []
