"""Validation errors of the study file as problems a user can act on.

Every message names the key as it stands in the file, `[solver] depth`, never a class or a field.
"""

import dataclasses
from collections.abc import Iterator, Mapping
from typing import Any, get_args

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails, PydanticCustomError

from tasks.study.errors import (
    Problem,
    did_you_mean,
    listed,
    show,
)

Loc = tuple[int | str, ...]

_EXPECTED = {
    "string_type": "a text in quotes",
    "string_too_short": "a text that is not empty",
    "string_pattern_mismatch": "small letters, digits and hyphens, starting with no hyphen",
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "finite_number": "a finite number",
    "bool_type": "true or false",
    "tuple_type": "a list",
    "model_type": "a section of keys",
    "dataclass_type": "a section of keys",
    "model_attributes_type": "a section of keys",
}
ADVISED = ("auto", "sketch")
"""What is to be written where nothing is, of the words that a key may have."""
_BOUNDS = {
    "greater_than_equal": ("ge", ">="),
    "greater_than": ("gt", ">"),
    "less_than_equal": ("le", "<="),
    "less_than": ("lt", "<"),
}


def broken(*problems: Problem) -> PydanticCustomError:
    """The error by which a validator reports problems of its own.

    An empty `where`, or a bare key, is completed with the place the validator is attached to.
    """
    return PydanticCustomError("study", "study", {"problems": problems})


def problems_of(error: ValidationError, root: type[BaseModel]) -> list[Problem]:
    """All problems of one validation, in the order of the file's model."""
    found: list[Problem] = []
    details = error.errors(include_url=False)
    words = {d["loc"][:-1]: d.get("ctx", {})["expected"] for d in details if _of_a_word(d)}
    for detail in details:
        either = words.get(detail["loc"][:-1])
        if either is None:
            found.extend(_translate(detail, root))
        elif not _of_a_word(detail):  # a number or a word: pydantic refuses once for each
            detail["loc"] = detail["loc"][:-1]
            (problem,) = _translate(detail, root)
            choice = either.replace("'", '"')
            found.append(dataclasses.replace(problem, expected=f"{problem.expected} or {choice}"))
    return found


def _of_a_word(detail: ErrorDetails) -> bool:
    """Whether this refuses a value as one of the words of a key that may also be a number."""
    return bool(detail["loc"]) and str(detail["loc"][-1]).startswith("literal[")


def _translate(detail: ErrorDetails, root: type[BaseModel]) -> list[Problem]:
    kind, context = detail["type"], detail.get("ctx", {})
    loc, section = _locate(detail["loc"], root)
    where, got = _path(loc, root), show(detail["input"])
    match kind:
        case "study":
            return [_completed(problem, loc, root) for problem in context["problems"]]
        case "extra_forbidden" | "unexpected_keyword_argument":
            return [_unknown_key(loc, section, root)]
        case "missing" | "missing_argument":
            return [_missing_key(loc, section, root)]
        case "union_tag_invalid" | "union_tag_not_found" | "literal_error":
            return [_wrong_choice(where, detail, root)]
        case "value_error":
            return [_record_refusal(where, got, context["error"])]
        case "too_short":
            expected = f"{context['min_length']} or more entries"
            return [Problem(where, expected, got, "add the missing ones")]
        case _ if kind in _BOUNDS:
            name, sign = _BOUNDS[kind]
            expected = f"a number {sign} {context[name]:g}"
            return [Problem(where, expected, got, "choose a value in this range")]
    expected = _EXPECTED.get(kind, detail["msg"])
    return [Problem(where, expected, got, _change_of_type(expected, detail["input"]))]


def _locate(loc: Loc, root: type[BaseModel]) -> tuple[Loc, type | None]:
    """The key path without the tags of unions, and the record whose key is meant.

    That record is the root for a key at the top of the file, None where no single one is meant.
    """
    if len(loc) < 2:
        return loc, root
    sections = _sections(str(loc[0]), root)
    entry = 2 if isinstance(loc[1], int) else 1  # of a list of sections
    place, below = loc[:entry], loc[entry:]
    if not sections or not below:
        return loc, None
    chosen = sections[0]
    if len(sections) > 1:
        tagged = [section for section in sections if _kind(section) == below[0]]
        if not tagged:
            return loc, None
        chosen, below = tagged[0], below[1:]
    if len(below) < 2 or not issubclass(chosen, BaseModel) or not _sections(str(below[0]), chosen):
        return (*place, *below), chosen
    inner, section = _locate(below, chosen)
    return (*place, *inner), section


def _choices(loc: Loc, root: type[BaseModel]) -> list[type]:
    """The records that may stand at a place, among which a `kind` chooses."""
    sections = _sections(str(loc[0]), root)
    below = loc[2:] if len(loc) > 1 and isinstance(loc[1], int) else loc[1:]
    chosen = next((one for one in sections if below and _kind(one) == below[0]), None)
    if len(below) < 2 or chosen is None or not issubclass(chosen, BaseModel):
        return sections
    return _choices(below[1:], chosen)


def _sections(name: str, root: type[BaseModel]) -> list[type]:
    """The records that may stand under a name, or in a list there; none for a plain value."""
    members = [m for m in _members(root.model_fields[name].annotation) if isinstance(m, type)]
    return [m for m in members if issubclass(m, BaseModel) or dataclasses.is_dataclass(m)]


def _members(annotation: Any) -> Iterator[Any]:
    """The types that an annotation is made of."""
    inner = get_args(annotation)
    if not inner:
        yield annotation
    for one in inner:
        yield from _members(one)


def _fields(section: type) -> dict[str, Any]:
    """Key -> what a message says about it."""
    if issubclass(section, BaseModel):
        return {key: field.description or "a value" for key, field in section.model_fields.items()}
    return {field.name: "a value" for field in dataclasses.fields(section)}


def _kind(section: type) -> Any:
    if issubclass(section, BaseModel):
        return section.model_fields["kind"].default
    return next(field.default for field in dataclasses.fields(section) if field.name == "kind")


def _path(loc: Loc, root: type[BaseModel]) -> str:
    """`name`, `labels[2]`, `[solver]`, `[solver] depth`, `[candidates] of[1] k`; entries from 1."""
    if not loc:
        return "file"
    top = str(loc[0])
    words = [f"[{top}]" if top in root.model_fields and _sections(top, root) else top]
    for part in loc[1:]:
        if isinstance(part, int):
            words[-1] += f"[{part + 1}]"
        else:
            words.append(part)
    return " ".join(words)


def _completed(problem: Problem, loc: Loc, root: type[BaseModel]) -> Problem:
    """A validator's problem at the place where the validator stands."""
    if not loc:
        return problem
    where = _path((*loc, problem.where) if problem.where else loc, root)
    return dataclasses.replace(problem, where=where)


def _unknown_key(loc: Loc, section: type | None, root: type[BaseModel]) -> Problem:
    key, known = str(loc[-1]), _fields(section or root)
    change = did_you_mean(key, known)
    if not change and section is root:
        homes = [f"[{name}]" for name in known if key in _keys_below(name, root)]
        change = f"move it under {' or '.join(homes)}" if homes else ""
    elif not change and key in _keys_below(str(loc[0]), root):
        change = f"remove it, or choose the kind of {loc[0]} that has it"
    got = f"the unknown key {key}"
    expected = f"one of {listed(sorted(known), 20)}"
    return Problem(_path(loc, root), expected, got, change or "remove it")


def _keys_below(name: str, root: type[BaseModel]) -> set[str]:
    """The keys of a top-level name, of whatever kind."""
    return {key for section in _sections(name, root) for key in _fields(section)}


def _missing_key(loc: Loc, section: type | None, root: type[BaseModel]) -> Problem:
    key = str(loc[-1])
    if section is root and _sections(key, root):
        return Problem(f"[{key}]", "this section", "nothing", f"add [{key}] and its keys")
    meaning = _fields(section)[key] if section else "a value"
    place = f"under [{loc[0]}]" if len(loc) > 1 else "at the top of the file"
    return Problem(_path(loc, root), meaning, "nothing", f"add {key} = ... {place}")


def _wrong_choice(where: str, detail: ErrorDetails, root: type[BaseModel]) -> Problem:
    """A word that is none of the allowed ones; for a section told apart by `kind`, that key."""
    context, value = detail.get("ctx", {}), detail["input"]
    if detail["type"] == "literal_error":
        options = context["expected"].replace("'", "").replace(" or ", ", ").split(", ")
    else:
        options = [_kind(section) for section in _choices(detail["loc"], root)]
        where = f"{where} kind"
        value = value.get("kind") if isinstance(value, Mapping) else value
    hint = did_you_mean(value, options) if isinstance(value, str) else ""
    advised = next((option for option in ADVISED if option in options), options[0])
    got = "nothing" if value is None else show(value)
    return Problem(where, f"one of {listed(options)}", got, hint or f'write "{advised}"')


def _record_refusal(where: str, got: str, error: Exception) -> Problem:
    """What a record of `fastif` said of itself when it was made."""
    parts = [str(getattr(error, name, "")) for name in ("where", "expected", "got", "remedy")]
    if all(parts):
        key = parts[0] if parts[0].startswith("[") else f"{where} ({parts[0]})"
        return Problem(key, *parts[1:])
    return Problem(where, str(error), got, "choose a value that is allowed")


def _change_of_type(expected: str, value: object) -> str:
    if expected.startswith(("a number", "a whole number")) and isinstance(value, str):
        return "write the number without quotes"
    if expected.startswith("a text") and isinstance(value, int | float):
        return f'put it in quotes: "{show(value)}"'
    return f"write {expected}"
