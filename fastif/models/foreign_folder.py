"""Models that other libraries saved, recognised by their files, with what can be done instead."""

from dataclasses import dataclass
from pathlib import Path

FACTORY = (
    "make the whole classifier one torch module in a function of an installed package, and name "
    "it as [model] factory, see docs/guides/model.md"
)


@dataclass(frozen=True)
class ForeignFolder:
    """Model that another library saved.

    Attributes:
        kind: Name of its kind.
        remedy: Way to use it.
    """

    kind: str
    remedy: str


def find_foreign_model(folder: Path) -> ForeignFolder | None:
    """Recognise a folder, or file, of SetFit, sentence-transformers, Keras or scikit-learn.

    A folder of several adapters, which PEFT saves in subfolders by their names, is recognised too.

    Returns:
        Kind and remedy; None if no other library is recognised.
    """
    adapters = sorted(path.parent.name for path in folder.glob("*/adapter_config.json"))
    if adapters and not (folder / "config.json").is_file():
        kind = f"a folder of adapters: {', '.join(adapters[:5])}"
        return ForeignFolder(kind, f"Name one of them, such as {folder / adapters[0]}.")
    if (folder / "config_setfit.json").is_file():
        if (folder / "model_head.pkl").is_file():
            kind = "a SetFit model, whose head is a pickle (model_head.pkl) and is never loaded"
            return ForeignFolder(kind, f"Train it with a torch head, and {FACTORY}.")
        return ForeignFolder("a SetFit model", f"{FACTORY[:1].upper()}{FACTORY[1:]}.")
    if (folder / "modules.json").is_file():
        kind = "a sentence encoder of sentence-transformers, which has no head for labels"
        remedy = "Use it as [mislabels] encoder or as [training] base; with a head of your own"
        return ForeignFolder(kind, f"{remedy}, {FACTORY}.")
    if folder.suffix in (".keras", ".h5") or any(folder.glob("*.keras")):
        kind = "a Keras model, which is a torch module with KERAS_BACKEND=torch only"
        return ForeignFolder(kind, f"With that backend, {FACTORY}.")
    names = ("*.pkl", "*.joblib", "*.pickle")
    if folder.suffix[1:] in ("pkl", "joblib", "pickle") or any(
        any(folder.glob(name)) for name in names if folder.is_dir()
    ):
        remedy = "Export its predictions as columns (see judges), or"
        return ForeignFolder("a pickled model, which is never loaded", f"{remedy} {FACTORY}.")
    return None
