"""Every text that a user reads, in one file: help, refusals, other messages, keys of the study."""

import ast
import re
from collections.abc import Iterator

from tests.house.figures import ROOT, list_modules

ERRORS = ("Error", "Exception", "Problem")
"""Last word of the names of calls that make a refusal."""
LISTS = "StudyError"
"""Error with a list of problems, each of which is listed by itself."""
SENTENCE = re.compile(r"[a-z]{2}.* .*[a-z]{2}", re.DOTALL)
"""Two words or more: neither the name of a key nor the shape of a tensor."""
TEMPLATES = ("tasks/study", "tasks/report/templates")
Names = dict[str, list[ast.expr]]


def render_user_text() -> str:
    """The texts as one file, to be read from top to bottom."""
    refusals, messages, keys = [], [], []
    for name, path in list_modules():
        tree = ast.parse(path.read_text("utf-8"))
        errors, used = _list_refusals(tree)
        others = [(n.lineno, _render(n, {})) for n in _list_strings(tree) if n not in used]
        for part, texts in ((refusals, errors), (messages, others), (keys, _list_keys(tree))):
            lines = [f"  {line}: {text}" for line, text in texts if SENTENCE.search(text)]
            part += [f"\n{name}", *lines] if lines else []
    files = [path for folder in TEMPLATES for path in sorted((ROOT / folder).glob("*.*"))]
    pages = [path for path in files if path.suffix in (".toml", ".jinja", ".js")]
    texts = [f"\n{page.relative_to(ROOT)}\n\n{page.read_text('utf-8')}" for page in pages]
    parts = {"HELP": [_render_help()], "REFUSALS": refusals, "OTHER MESSAGES": messages}
    parts |= {"KEYS OF A STUDY": keys, "TEMPLATES": texts}
    return "\n".join(line for title, lines in parts.items() for line in (f"\n# {title}", *lines))


def _render_help() -> str:
    """`--help` of every command, in the order of the command line."""
    import typer
    from typer.testing import CliRunner

    from flows.cli.app import app

    def walk(command: object, words: list[str]) -> Iterator[str]:
        environment = {"COLUMNS": "100", "TERMINAL_WIDTH": "100", "NO_COLOR": "1"}
        answer = CliRunner(env=environment).invoke(app, [*words, "--help"], prog_name="fastif")
        yield f"\n$ fastif {' '.join([*words, '--help'])}\n{answer.output}"
        for name, child in getattr(command, "commands", {}).items():
            yield from walk(child, [*words, name])

    return "\n".join(walk(typer.main.get_command(app), []))


def _list_refusals(tree: ast.Module) -> tuple[list[tuple[int, str]], set[ast.AST]]:
    """Arguments of each call that makes an error, and the strings that these are made of."""
    refusals, used = [], set()
    scopes = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)]
    for scope in [tree, *scopes]:
        names = _list_assignments(tree) | _list_assignments(scope)
        for call in _walk_scope(scope):
            if not isinstance(call, ast.Call) or not _name_call(call).endswith(ERRORS):
                continue
            if _name_call(call) == LISTS:
                continue
            values = [*call.args, *(keyword.value for keyword in call.keywords)]
            refusals.append((call.lineno, " | ".join(_render(value, names) for value in values)))
            for value in values:
                options = names.get(value.id, []) if isinstance(value, ast.Name) else [value]
                used |= {node for option in options for node in ast.walk(option)}
    return sorted(refusals), used


def _walk_scope(scope: ast.AST) -> Iterator[ast.AST]:
    """Nodes of a module or function without those of the functions in it."""
    for child in ast.iter_child_nodes(scope):
        if not isinstance(child, ast.FunctionDef):
            yield child
            yield from _walk_scope(child)


def _name_call(call: ast.Call) -> str:
    return ast.unparse(call.func).split(".")[-1].split("[")[0]


def _list_assignments(scope: ast.AST) -> Names:
    """What each name of a scope may be."""
    names: Names = {}
    for node in _walk_scope(scope):
        if isinstance(node, ast.Assign):
            for target in node.targets:
                _bind(target, node.value, names)
    return names


def _bind(target: ast.expr, value: ast.expr, names: Names) -> None:
    if isinstance(target, ast.Name):
        names.setdefault(target.id, []).append(value)
    elif isinstance(target, ast.Tuple) and isinstance(value, ast.Tuple):
        for name, part in zip(target.elts, value.elts, strict=True):
            _bind(name, part, names)


def _render(node: ast.expr, names: Names) -> str:
    """A text with its placeholders; of a name all that it may be."""
    if isinstance(node, ast.Constant):
        return str(node.value)
    if isinstance(node, ast.JoinedStr):
        parts = (part.value if isinstance(part, ast.Constant) else "{…}" for part in node.values)
        return "".join(map(str, parts))
    if isinstance(node, ast.Name) and node.id in names:
        values = [value for value in names[node.id] if value.lineno <= node.lineno]
        return " / ".join(dict.fromkeys(_render(value, {}) for value in values))
    return f"{{{' '.join(ast.unparse(node).split())}}}"


def _list_strings(tree: ast.Module) -> list[ast.expr]:
    """Strings that are no docstrings, f-strings as one."""
    inside = {
        id(part)
        for node in ast.walk(tree)
        if isinstance(node, ast.JoinedStr)
        for part in ast.walk(node)
        if part is not node
    }
    inside |= {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    nodes = [node for node in ast.walk(tree) if isinstance(node, ast.Constant | ast.JoinedStr)]
    texts = [node for node in nodes if isinstance(getattr(node, "value", ""), str)]
    return sorted((n for n in texts if id(n) not in inside), key=lambda n: n.lineno)


def _list_keys(tree: ast.Module) -> list[tuple[int, str]]:
    """Keys of the sections of a study file, each with the text below it."""
    keys = []
    for section in ast.walk(tree):
        if isinstance(section, ast.ClassDef):
            for field, text in zip(section.body, section.body[1:], strict=False):
                is_key = isinstance(field, ast.AnnAssign) and isinstance(text, ast.Expr)
                if is_key and isinstance(text.value, ast.Constant):
                    keys.append((text.lineno, f"{ast.unparse(field.target)}: {text.value.value}"))
    return keys
