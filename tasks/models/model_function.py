"""Function of an installed package that makes the model of a study, from `[model] factory`."""

import hashlib
import importlib
import importlib.util
import json
import sysconfig
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib import metadata
from importlib.machinery import ModuleSpec
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlparse

from fastif import InputError
from tasks.models.locate import hash_file

WHERE = "[model] factory"
EXPECTED = '"package.module:function" of an installed package'


@dataclass(frozen=True)
class ModelFunction:
    """Function of an installed package that makes a model.

    Attributes:
        name: Name of the function as in the study, `package.module:function`.
        call: The function itself.
        package: Folder of its package, or file of its module.
        distribution: Name and version of the distribution that holds it.
    """

    name: str
    call: Callable[[Path], Any]
    package: Path
    distribution: str

    @property
    def warning(self) -> str:
        """Sentence on the code that is run."""
        return (
            f"{WHERE}: the function {self.name} of {self.distribution} and the code of its model "
            "run with your permissions"
        )

    def compute_digest(self) -> str:
        """Return the SHA-256 over the Python files of the package and its version."""
        files = sorted(self.package.rglob("*.py")) if self.package.is_dir() else [self.package]
        lines = [f"{path.relative_to(self.package.parent)} {hash_file(path)}" for path in files]
        lines += [self.name, self.distribution]
        return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def import_model_function(name: str) -> ModelFunction:
    """Import the function of a study's `[model] factory`, from installed code only.

    Code next to the study or in the working folder is refused, so that opening a study of unknown
    origin runs nothing that its folder holds.

    Raises:
        InputError: The name is malformed, the package is not installed, or it has no such function.
    """
    module_name, _, attribute = name.partition(":")
    top = module_name.partition(".")[0]
    is_name = all(part.isidentifier() for part in [*module_name.split("."), attribute])
    if not is_name:
        raise _make_error(name, 'Write it as "package.module:function".')
    spec = importlib.util.find_spec(top)
    origin = None if spec is None else _find_origin(spec)
    if origin is None:
        raise _make_error(f"no package {top}", f"Install it: pip install {top}")
    distribution = _find_distribution(top, origin)
    if distribution is None:
        remedy = "Install the code as a package: pip install -e FOLDER, with a pyproject.toml."
        raise _make_error(f"{top} in {origin.parent}, which no installed package holds", remedy)
    try:
        module = importlib.import_module(module_name)
    except Exception as error:  # code of the user may raise anything
        got = f"{type(error).__name__}: {error}".splitlines()[0]
        raise _make_error(got, f"Correct {module_name}, or the name.") from error
    function = getattr(module, attribute, None)
    if not callable(function):
        got = f"no function {attribute!r} in {module_name}"
        raise _make_error(got, "Correct the name after the colon.")
    return ModelFunction(name, function, origin, distribution)


def _find_origin(spec: ModuleSpec) -> Path | None:
    """Return the folder of a package, or the file of a module; None for built-in code."""
    if spec.submodule_search_locations:
        return Path(spec.submodule_search_locations[0])
    return Path(spec.origin) if spec.has_location and spec.origin else None


def _find_distribution(top: str, origin: Path) -> str | None:
    """Return name and version of the distribution that holds a top-level package, if there is one.

    The file or folder has to lie where packages are installed, or in the folder of an editable
    install: a package in another folder on the path may have the name of an installed one.
    """
    if top == "fastif":  # the code that runs anyhow
        return f"fastif {metadata.version(top)}"
    installed = [Path(sysconfig.get_path(key)).resolve() for key in ("purelib", "platlib")]
    place = origin.resolve()
    if any(place.is_relative_to(folder) for folder in installed):
        names = metadata.packages_distributions().get(top, [])  # reads the files of all: a second
        return f"{names[0]} {metadata.version(names[0])}" if names else f"{top} (no version)"
    for distribution in metadata.distributions():
        folders = _list_editable_folders(distribution)
        if any(place.is_relative_to(folder) for folder in folders):
            return f"{distribution.name} {distribution.version}"
    return None


def _list_editable_folders(distribution: metadata.Distribution) -> Iterator[Path]:
    """Yield the source folder of an editable install (PEP 610)."""
    text = distribution.read_text("direct_url.json")
    content = json.loads(text) if text else {}
    if content.get("dir_info", {}).get("editable") and "url" in content:
        yield Path(unquote(urlparse(content["url"]).path)).resolve()


def _make_error(got: str, remedy: str) -> InputError:
    return InputError(WHERE, EXPECTED, got, remedy)
