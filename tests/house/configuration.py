"""The page of the study file: every key with type, default and meaning, from its models."""

from collections.abc import Iterator
from inspect import getdoc
from typing import Any

from griffe import Docstring, DocstringSectionKind

from fastif.solvers.build import build_solver
from fastif.solvers.registry import SOLVERS
from tasks.study.study import Study
from tests.house.prose import ROOT

PAGE = ROOT / "docs" / "reference" / "configuration.md"
HEAD = """# Study file

Every key of a study file, written from the models that read it by `python -m tests.house write`.
`fastif init` writes a file with comments to start from. A key without a default has to be there; a
section that is omitted has the defaults of its keys. Unknown keys are refused, with the nearest
known one. Relative paths start from the folder of the study file.

"""
TYPES = {"string": "text", "number": "number", "integer": "integer", "boolean": "true or false"}
LIMITS = {"minimum": "≥", "exclusiveMinimum": ">", "maximum": "≤", "exclusiveMaximum": "<"}


def render_page() -> str:
    """The page as Markdown."""
    schema = Study.model_json_schema()
    records = schema["$defs"]
    for settings in SOLVERS.values():  # their keys are explained where the algorithm is
        records[settings.__name__]["description"] = getdoc(type(build_solver(settings())))
    scalars, sections = {}, []
    for key, value in schema["properties"].items():
        kinds = [_resolve(kind, records) for kind in _list_kinds(value)]
        if kinds:
            sections.append((key, kinds))
        else:
            scalars[key] = value
    required = set(schema["required"])
    parts = [HEAD, "## Top of the file\n", _render_table(scalars, required, {})]
    for key, kinds in sections:
        parts.append(f"\n## `[{key}]`\n")
        is_optional = "may be omitted" if key not in required else "has to be there"
        parts.append(f"\nThis section {is_optional}.\n")
        parts += [_render_kind(key, kind, len(kinds) > 1) for kind in kinds]
    return "".join(parts)


def _list_kinds(value: dict[str, Any]) -> list[str]:
    """References to the records that a property may hold."""
    options = value.get("oneOf") or value.get("anyOf") or [value]
    return [option["$ref"] for option in options if "$ref" in option]


def _resolve(reference: str, records: dict[str, Any]) -> dict[str, Any]:
    return records[reference.rsplit("/", 1)[-1]]


def _render_kind(key: str, record: dict[str, Any], is_one_of_several: bool) -> str:
    """The introduction and the keys of one record that a section may be."""
    docstring = Docstring(record.get("description", "")).parse("google", warnings=False)
    texts = [part.value for part in docstring if part.kind is DocstringSectionKind.text]
    meanings = {
        entry.name: entry.description
        for part in docstring
        if part.kind is DocstringSectionKind.parameters
        for entry in part.value
    }
    kind = record["properties"].get("kind", {})
    head = f'\n### `kind = "{kind["const"]}"`\n' if is_one_of_several else ""
    intro = texts[0].split("\n\n")[0].removeprefix(f"`[{key}]`: ") if texts else ""
    if intro:
        intro = f"\n{intro[:1].upper()}{intro[1:]}\n" if intro[1:2].isalpha() else f"\n{intro}\n"
    properties = dict(record["properties"])
    if is_one_of_several:
        del properties["kind"]
    table = _render_table(properties, set(record.get("required", ())), meanings)
    return head + intro + table


def _render_table(properties: dict[str, Any], required: set[str], meanings: dict[str, str]) -> str:
    if not properties:
        return "\nIt has no further keys.\n"
    lines = ["\n| key | type | default | meaning |", "| --- | --- | --- | --- |"]
    for key, value in properties.items():
        meaning = " ".join((value.get("description") or meanings.get(key, "")).split())
        meaning = meaning.removesuffix(".")
        default = "required" if key in required else _format(value.get("default"))
        if "const" in value:
            meaning = meaning or "chooses this kind"
        cells = [f"`{key}`", ", or ".join(_list_types(value)), default, meaning]
        lines.append(f"| {' | '.join(cell.replace('|', '&#124;') for cell in cells)} |")
    return "\n".join(lines) + "\n"


def _list_types(value: dict[str, Any]) -> Iterator[str]:
    """What a property may hold, in words."""
    if "$ref" in value:
        yield "table"
    elif "const" in value:
        yield f"`{_quote(value['const'])}`"
    elif "enum" in value:
        yield from (f"`{_quote(item)}`" for item in value["enum"])
    elif "anyOf" in value or "oneOf" in value:
        for option in value.get("anyOf") or value["oneOf"]:
            yield from _list_types(option)
    elif value.get("type") == "array":
        items = dict.fromkeys(_list_types(value.get("items", {})))
        yield f"list of {' or '.join(items) or 'value'}"
    elif value.get("type") == "object":
        yield "table"
    elif value.get("type") != "null":
        limits = [f"{sign} {value[name]:,}" for name, sign in LIMITS.items() if name in value]
        yield " ".join([TYPES.get(value.get("type", ""), "value"), " and ".join(limits)]).strip()


def _format(default: Any) -> str:
    if default is None:
        return "none"
    return f"`{_quote(default)}`"


def _quote(value: Any) -> str:
    """A value as TOML writes it."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        return f'"{value}"'
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(_quote, value))}]"
    return str(value)
