"""Translation of pydantic's validation errors into problems with a remedy.

Messages name the key as in the file, `[solver] depth`, never a class or a field.
"""

import dataclasses
from collections.abc import Iterator, Mapping
from typing import Any, get_args

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails, PydanticCustomError

from tasks.study.errors import (
    Problem,
    format_value,
    join_some,
    suggest,
)

Loc = tuple[int | str, ...]

_EXPECTED = {
    "string_type": "a text in quotes",
    "string_too_short": "a non-empty text",
    "string_pattern_mismatch": "lower-case characters, digits and hyphens, no hyphen first",
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
RECOMMENDED = ("auto", "sketch")
"""Values that a remedy suggests first if a key that requires one of several values has none."""
_BOUNDS = {
    "greater_than_equal": ("ge", ">="),
    "greater_than": ("gt", ">"),
    "less_than_equal": ("le", "<="),
    "less_than": ("lt", "<"),
}


def make_validation_error(*problems: Problem) -> PydanticCustomError:
    """Make the error by which a validator reports problems.

    An empty `where`, or a bare key, is completed with the path of the validated field.
    """
    return PydanticCustomError("study", "study", {"problems": problems})


def list_problems(error: ValidationError, root: type[BaseModel]) -> list[Problem]:
    """Translate a validation error to problems, in the order of the file's model."""
    problems: list[Problem] = []
    details = error.errors(include_url=False)
    literals_by_place = {
        d["loc"][:-1]: d.get("ctx", {})["expected"] for d in details if _is_literal_error(d)
    }
    for detail in details:
        literals = literals_by_place.get(detail["loc"][:-1])
        if literals is None:
            problems.extend(_translate(detail, root))
        elif not _is_literal_error(detail):  # number or literal: pydantic reports one error each
            detail["loc"] = detail["loc"][:-1]
            (problem,) = _translate(detail, root)
            choice = literals.replace("'", '"')
            problems.append(
                dataclasses.replace(problem, expected=f"{problem.expected} or {choice}")
            )
    return problems


def _is_literal_error(detail: ErrorDetails) -> bool:
    """Whether the error is the literal's alternative of a key that can also be a number."""
    return bool(detail["loc"]) and str(detail["loc"][-1]).startswith("literal[")


def _translate(detail: ErrorDetails, root: type[BaseModel]) -> list[Problem]:
    kind, context = detail["type"], detail.get("ctx", {})
    loc, section = _locate(detail["loc"], root)
    where, got = _format_path(loc, root), format_value(detail["input"])
    match kind:
        case "study":
            return [_complete_problem(problem, loc, root) for problem in context["problems"]]
        case "extra_forbidden" | "unexpected_keyword_argument":
            return [_explain_unknown_key(loc, section, root)]
        case "missing" | "missing_argument":
            return [_explain_missing_key(loc, section, root)]
        case "union_tag_invalid" | "union_tag_not_found" | "literal_error":
            return [_explain_wrong_choice(where, detail, root)]
        case "value_error":
            return [_explain_record_error(where, got, context["error"])]
        case "too_short":
            expected = f"{context['min_length']} or more entries"
            return [Problem(where, expected, got, "add the missing ones")]
        case _ if kind in _BOUNDS:
            name, sign = _BOUNDS[kind]
            expected = f"a number {sign} {context[name]:g}"
            return [Problem(where, expected, got, "choose a value in this range")]
    expected = _EXPECTED.get(kind, detail["msg"])
    return [Problem(where, expected, got, _suggest_type_change(expected, detail["input"]))]


def _locate(loc: Loc, root: type[BaseModel]) -> tuple[Loc, type | None]:
    """Return the key path without the tags of unions, and the record that has the key.

    The record is the root for a key at the top of the file, and None if it is ambiguous.
    """
    if len(loc) < 2:
        return loc, root
    sections = _find_sections(str(loc[0]), root)
    entry = 2 if isinstance(loc[1], int) else 1  # an index follows for a list of sections
    place, below = loc[:entry], loc[entry:]
    if not sections or not below:
        return loc, None
    chosen = sections[0]
    if len(sections) > 1:
        tagged = [section for section in sections if _read_kind(section) == below[0]]
        if not tagged:
            return loc, None
        chosen, below = tagged[0], below[1:]
    if (
        len(below) < 2
        or not issubclass(chosen, BaseModel)
        or not _find_sections(str(below[0]), chosen)
    ):
        return (*place, *below), chosen
    inner, section = _locate(below, chosen)
    return (*place, *inner), section


def _find_choices(loc: Loc, root: type[BaseModel]) -> list[type]:
    """Records that are allowed at a place, discriminated by `kind`."""
    sections = _find_sections(str(loc[0]), root)
    below = loc[2:] if len(loc) > 1 and isinstance(loc[1], int) else loc[1:]
    chosen = next(
        (section for section in sections if below and _read_kind(section) == below[0]), None
    )
    if len(below) < 2 or chosen is None or not issubclass(chosen, BaseModel):
        return sections
    return _find_choices(below[1:], chosen)


def _find_sections(name: str, root: type[BaseModel]) -> list[type]:
    """Records that are allowed under a name, or in a list there; empty for a plain value."""
    members = [m for m in _iterate_types(root.model_fields[name].annotation) if isinstance(m, type)]
    return [m for m in members if issubclass(m, BaseModel) or dataclasses.is_dataclass(m)]


def _iterate_types(annotation: Any) -> Iterator[Any]:
    """Yield the types that an annotation consists of."""
    inner = get_args(annotation)
    if not inner:
        yield annotation
    for member in inner:
        yield from _iterate_types(member)


def _describe_fields(section: type) -> dict[str, Any]:
    """Descriptions of the fields of a section by key, for messages."""
    if issubclass(section, BaseModel):
        return {key: field.description or "a value" for key, field in section.model_fields.items()}
    return {field.name: "a value" for field in dataclasses.fields(section)}


def _read_kind(section: type) -> Any:
    if issubclass(section, BaseModel):
        return section.model_fields["kind"].default
    return next(field.default for field in dataclasses.fields(section) if field.name == "kind")


def _format_path(loc: Loc, root: type[BaseModel]) -> str:
    """Format a path as `labels[2]`, `[solver] depth` or `[candidates] of[1] k`, counting from 1."""
    if not loc:
        return "file"
    top = str(loc[0])
    words = [f"[{top}]" if top in root.model_fields and _find_sections(top, root) else top]
    for part in loc[1:]:
        if isinstance(part, int):
            words[-1] += f"[{part + 1}]"
        else:
            words.append(part)
    return " ".join(words)


def _complete_problem(problem: Problem, loc: Loc, root: type[BaseModel]) -> Problem:
    """Complete the place of a problem with the path of the validated field."""
    if not loc:
        return problem
    where = _format_path((*loc, problem.where) if problem.where else loc, root)
    return dataclasses.replace(problem, where=where)


def _explain_unknown_key(loc: Loc, section: type | None, root: type[BaseModel]) -> Problem:
    key, known = str(loc[-1]), _describe_fields(section or root)
    change = suggest(key, known)
    if not change and section is root:
        owners = [f"[{name}]" for name in known if key in _collect_keys(name, root)]
        change = f"move it under {' or '.join(owners)}" if owners else ""
    elif not change and key in _collect_keys(str(loc[0]), root):
        change = f"remove it, or choose the kind of {loc[0]} that has this key"
    got = f"the unknown key {key}"
    expected = f"one of {join_some(sorted(known), 20)}"
    return Problem(_format_path(loc, root), expected, got, change or "remove it")


def _collect_keys(name: str, root: type[BaseModel]) -> set[str]:
    """Keys of all kinds of a top-level section."""
    return {key for section in _find_sections(name, root) for key in _describe_fields(section)}


def _explain_missing_key(loc: Loc, section: type | None, root: type[BaseModel]) -> Problem:
    key = str(loc[-1])
    if section is root and _find_sections(key, root):
        return Problem(f"[{key}]", "this section", "nothing", f"add [{key}] and its keys")
    meaning = _describe_fields(section)[key] if section else "a value"
    place = f"under [{loc[0]}]" if len(loc) > 1 else "at the top of the file"
    return Problem(_format_path(loc, root), meaning, "nothing", f"add {key} = ... {place}")


def _explain_wrong_choice(where: str, detail: ErrorDetails, root: type[BaseModel]) -> Problem:
    """Make the problem for a value that is not allowed, or for a missing or unknown `kind`."""
    context, value = detail.get("ctx", {}), detail["input"]
    if detail["type"] == "literal_error":
        options = context["expected"].replace("'", "").replace(" or ", ", ").split(", ")
    else:
        options = [_read_kind(section) for section in _find_choices(detail["loc"], root)]
        where = f"{where} kind"
        value = value.get("kind") if isinstance(value, Mapping) else value
    hint = suggest(value, options) if isinstance(value, str) else ""
    recommended = next((option for option in RECOMMENDED if option in options), options[0])
    got = "nothing" if value is None else format_value(value)
    return Problem(where, f"one of {join_some(options)}", got, hint or f'write "{recommended}"')


def _explain_record_error(where: str, got: str, error: Exception) -> Problem:
    """Convert an error raised by the constructor of a record of `fastif`."""
    parts = [str(getattr(error, name, "")) for name in ("where", "expected", "got", "remedy")]
    if all(parts):
        key = parts[0] if parts[0].startswith("[") else f"{where} ({parts[0]})"
        return Problem(key, *parts[1:])
    return Problem(where, str(error), got, "choose an allowed value")


def _suggest_type_change(expected: str, value: object) -> str:
    if expected.startswith(("a number", "a whole number")) and isinstance(value, str):
        return "write the number without quotes"
    if expected.startswith("a text") and isinstance(value, int | float):
        return f'put it in quotes: "{format_value(value)}"'
    return f"write {expected}"
