"""`python -m tests.house measure|write|prose|user-text`: figures, pages, faults, messages."""

import json
import sys
from pathlib import Path

from tests.house.docstrings import find_faults
from tests.house.figures import measure
from tests.house.pages import write_pages
from tests.house.prose import ROOT, list_texts
from tests.house.user_text import render_user_text
from tests.house.words import find_words

if sys.argv[1:] == ["measure"]:
    print(json.dumps(measure(), indent=2))
elif sys.argv[1:] == ["write"]:
    write_pages()
elif sys.argv[1:] == ["user-text"]:
    print(render_user_text())
elif sys.argv[1:2] == ["prose"]:
    folders = [ROOT / folder for folder in sys.argv[2:]] or [ROOT]
    paths = [
        path for path in list_texts() if any(path.is_relative_to(folder) for folder in folders)
    ]
    packages = {"fastif", "storage", "tasks", "flows"}
    modules = [
        path
        for path in paths
        if path.suffix == ".py" and Path(path.relative_to(ROOT)).parts[0] in packages
    ]
    lines = find_words(paths) + [fault for path in modules for fault in find_faults(path)]
    print("\n".join(lines))
    sys.exit(bool(lines))
else:
    sys.exit(__doc__)
