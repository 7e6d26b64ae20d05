"""Reading of a boosted ensemble from the file of its library, without pickle and without code."""

import json
from pathlib import Path
from typing import Any

from fastif.errors import InputError
from fastif.trees.catboost_json import read_catboost
from fastif.trees.ensemble import TreeEnsemble
from fastif.trees.lightgbm_text import read_lightgbm
from fastif.trees.ubjson import read_ubjson
from fastif.trees.xgboost_json import read_xgboost

FORMATS = "LightGBM's text, XGBoost's JSON or UBJSON, or CatBoost's JSON"
_DAMAGED = (
    *(KeyError, IndexError, TypeError, ValueError, OverflowError),
    *(AttributeError, AssertionError, RuntimeError),
)
"""What reading a damaged file raises, of Python and of torch."""
REMEDY = (
    'Save the model with its library: LightGBM save_model("model.txt"), XGBoost '
    'save_model("model.json"), CatBoost save_model("model.json", format="json", pool=pool).'
)


def read_ensemble(path: str | Path) -> TreeEnsemble:
    """Read an ensemble by the content of its file.

    Args:
        path: File of LightGBM (text), XGBoost (JSON or UBJSON) or CatBoost (JSON).

    Raises:
        InputError: The file is not there, of another format, damaged, or of a model that is not
            supported.
    """
    path = Path(path)
    try:
        content = path.read_bytes()
    except OSError as error:
        raise InputError("model", FORMATS, f"{path}: {error.strerror}", REMEDY) from error
    try:
        return _read_content(content, path)
    except InputError:
        raise
    except _DAMAGED as error:
        got = f"{path.name}: {type(error).__name__} {error}".strip()
        raise InputError("model", FORMATS, got, REMEDY) from error


def _read_content(content: bytes, path: Path) -> TreeEnsemble:
    if content.startswith(b"tree\n"):
        return read_lightgbm(content.decode())
    if content[:1] == b"{" and content[1:2] in b"LilUI$#" and content[1:2]:
        return _read_document(read_ubjson(content), path)
    if content.lstrip()[:1] == b"{":
        return _read_document(json.loads(content), path)
    raise InputError("model", FORMATS, f"{path.name}, another format", REMEDY)


def _read_document(document: dict[str, Any], path: Path) -> TreeEnsemble:
    if "learner" in document:
        return read_xgboost(document)
    if "oblivious_trees" in document or "features_info" in document:
        return read_catboost(document)
    if "tree_info" in document and "feature_infos" in document:
        remedy = 'Its JSON lacks the parameters of training: save_model("model.txt").'
        raise InputError("model", "LightGBM's text format", "its JSON dump", remedy)
    raise InputError("model", FORMATS, f"{path.name}, another JSON", REMEDY)
