"""The command line and the keys of a study file, as documents."""

from collections.abc import Iterator
from typing import Any, get_args, get_type_hints

import typer

from tests.golden.names import command_line, study_model

NOT_KEYS = ("title", "description", "discriminator", "$defs", "additionalProperties")
"""Names of classes and sentences, which are no part of the keys."""


def commands() -> dict[str, Any]:
    """Each command with its arguments and options: names, type, default, whether it is needed."""
    root = typer.main.get_command(command_line())
    return {" ".join(path): _parameters(command) for path, command in _walk(root, ())}


def _walk(command: Any, path: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], Any]]:
    for name, inner in sorted(getattr(command, "commands", {}).items()):
        if getattr(inner, "commands", None):
            yield from _walk(inner, (*path, name))
        else:
            yield (*path, name), inner


def _parameters(command: Any) -> dict[str, Any]:
    types = get_type_hints(command.callback, include_extras=True)
    document = {}
    for parameter in command.params:
        option = parameter.param_type_name == "option"
        known = {"type": _type(types[parameter.name]), "needed": parameter.required}
        if parameter.default is not None and parameter.default is not False:
            known["default"] = f"{parameter.default}"
        if parameter.envvar:
            known["variable"] = parameter.envvar
        names = " ".join([*parameter.opts, *parameter.secondary_opts])
        document[names if option else f"{parameter.param_type_name} {names}"] = known
    return document


def _type(annotation: Any) -> str:
    """Such as `float >= 0.1`."""
    plain, *about = get_args(annotation) if hasattr(annotation, "__metadata__") else (annotation,)
    name = plain.__name__ if isinstance(plain, type) else f"{plain}".replace("pathlib.", "")
    least = [item.min for item in about if getattr(item, "min", None) is not None]
    return f"{name} >= {least[0]}" if least else name


def study_keys() -> dict[str, Any]:
    """Each key of a study file with its type, bounds and default."""
    schema = study_model().model_json_schema()
    return dict(sorted(_keys(schema, "", schema.get("$defs", {}))))


def _keys(schema: Any, path: str, records: Any) -> Iterator[tuple[str, Any]]:
    """The leaves below a schema; a record of one of several kinds is named by its kind."""
    needed = schema.get("required", ())
    for name, inner in schema.get("properties", {}).items():
        place = f"{path}.{name}" if path else name
        kinds = _records_of(inner, records)
        yield place, _leaf(inner, name in needed)
        for record in kinds:
            kind = record["properties"].get("kind", {}).get("const") if len(kinds) > 1 else None
            yield from _keys(record, f"{place}[{kind}]" if kind else place, records)


def _records_of(schema: Any, records: Any) -> list[Any]:
    """The records that a value may be, or be a list of."""
    document = []
    if "$ref" in schema:
        record = records[schema["$ref"].rpartition("/")[2]]
        document += [record] if "properties" in record else _records_of(record, records)
    for key in ("anyOf", "oneOf", "allOf", "prefixItems"):
        for inner in schema.get(key, ()):
            document += _records_of(inner, records)
    if isinstance(schema.get("items"), dict):
        document += _records_of(schema["items"], records)
    return document


def _leaf(schema: Any, needed: bool) -> Any:
    known = _strip_names(schema)
    return {**known, "needed": True} if needed else known


def _strip_names(value: Any) -> Any:
    """A schema without names of classes and sentences."""
    if isinstance(value, dict):
        return {
            key: "record" if key == "$ref" else _strip_names(inner)
            for key, inner in value.items()
            if key not in NOT_KEYS
        }
    if isinstance(value, list):
        return [_strip_names(inner) for inner in value]
    return value
