"""Exit codes of commands that are refused, and of some that are not."""

import shutil
from pathlib import Path
from typing import Any

from tests.golden.command import Commands

STUDY = ("--study", "study.toml")
COMMANDS: tuple[tuple[str, ...], ...] = (
    (),
    ("--help",),
    ("audit",),
    ("audit", "--help"),
    ("audit", "nothing.toml"),
    ("audit", "broken.toml"),
    ("audit", "unknown.toml"),
    ("audit", "study.toml", "--engine", "steam"),
    ("audit", "study.toml", "--within", "0"),
    ("audit", "study.toml", "--nothing"),
    ("nothing",),
    ("runs", *STUDY),
    ("runs", "--study", "nothing.toml"),
    ("top", "q0", *STUDY),
    ("top", "nobody", *STUDY),
    ("top", "q0", *STUDY, "--run", "nothing"),
    ("top", "q0", *STUDY, "-k", "0"),
    ("show", "t0", *STUDY),
    ("show", "nobody", *STUDY),
    ("diff", "nothing", "nothing", *STUDY),
    ("verify", *STUDY),
    ("verify", "--study", "unbegun.toml"),
    ("gc", *STUDY, "--dry-run"),
    ("export", "scores", *STUDY, "--out", "scores.csv"),
    ("export", "nothing", *STUDY, "--out", "nothing.csv"),
    ("report", "nothing", *STUDY),
    ("urgent", "q0", *STUDY),
    ("train", "study.toml"),
    ("review", "import", "nothing.csv", *STUDY),
    ("review", "conflicts", *STUDY),
    ("mislabels", "study.toml", "--dry-run"),
    ("mislabels", "nothing.toml"),
    ("reproduce", "nothing"),
    ("correct", "study.toml", "--anchors", "nothing.csv", "--out", "out"),
    ("init", "study.toml"),
    ("init", "new.toml"),
    ("init", "new-labels.toml", "--labels"),
)


def exit_codes(fastif: Commands, folder: Path) -> dict[str, Any]:
    """Each command's exit code, and what else a script may look at, in an audited study."""
    text = (folder / "study.toml").read_text()
    (folder / "broken.toml").write_text(text + "\n[run\n")
    (folder / "unknown.toml").write_text(text + "\n[nothing]\nat = 1\n")
    (folder / "unbegun.toml").write_text(text.replace('"store"', '"unbegun"'))
    document = {}
    for arguments in COMMANDS:
        ended = fastif.run(list(arguments), folder)
        where = "stderr" if ended.err.strip() else "stdout"
        traced = {"traceback": True} if ended.traceback else {}
        document[" ".join(["fastif", *arguments])] = {"code": ended.code, "says": where, **traced}
    shutil.rmtree(folder / "unbegun", ignore_errors=True)
    return document
