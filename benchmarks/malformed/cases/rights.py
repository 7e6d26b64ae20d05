"""Missing rights, read-only folders and full disks."""

import subprocess
from contextlib import suppress
from pathlib import Path

from benchmarks.malformed.case import Case, Spoil
from benchmarks.malformed.spoils import chain, deny

DRY = ("audit", "study.toml", "--dry-run")


def _full_disk(folder: Path) -> None:
    """Mount a small disk and fill it."""
    disk = folder / "disk"
    disk.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(disk)], check=True)
    with suppress(OSError), (disk / "filler").open("wb", buffering=0) as file:
        while True:
            file.write(b"0" * 4096)


def _denied(name: str, command: tuple[str, ...], spoil: Spoil, *words: str, base: str = "audited"
            ) -> Case:  # fmt: skip
    return Case("rights", name, command, spoil, words, base=base, unprivileged=True)


def _folder(folder: Path) -> None:
    (folder / "closed").mkdir()
    (folder / "closed").chmod(0o555)


RIGHTS: tuple[Case, ...] = (
    _denied("export to a folder without rights", ("export", "train", "-o", "closed/x.csv"),
            _folder, "closed", "permission"),
    _denied("review export to a folder without rights",
            ("review", "export", "-o", "closed/x.csv"), _folder, "closed", "permission",
            base="searched"),
    _denied("report to a folder without rights", ("report", "-o", "closed/x.html"), _folder,
            "closed", "permission"),
    _denied("report next to a store without rights", ("report",),
            lambda folder: folder.chmod(0o555), "permission"),
    _denied("init in a folder without rights", ("init", "closed/study.toml"), _folder, "closed",
            "permission"),
    _denied("unreadable weights", DRY, deny("model/model.safetensors"), "model.safetensors",
            "permission"),
    _denied("unreadable config.json", DRY, deny("model/config.json"), "config.json", "permission"),
    _denied("unreadable model folder", DRY, deny("model"), "model", "permission"),
    _denied("unreadable training table", DRY, deny("train.csv"), "train.csv", "permission"),
    _denied("unreadable study", DRY, deny("study.toml"), "study.toml",
            "permission|not readable"),
    _denied("unreadable tables of the store, top", ("top", "q1"), deny("store/tables"), "tables",
            "permission"),
    _denied("unreadable tables of the store, report", ("report",), deny("store/tables"), "tables",
            "permission"),
    _denied("unreadable tables of the store, audit", ("audit", "study.toml"),
            deny("store/tables"), "tables", "permission"),
    Case("rights", "unreadable tables of the store, verify", ("verify",), deny("store/tables"),
         ("tables", "permission"), codes=(1, 2), base="audited", unprivileged=True),
    _denied("unreadable store", ("runs",), deny("store"), "store", "permission"),
    _denied("a store that cannot be written", ("audit", "study.toml"),
            chain(lambda folder: (folder / "store").mkdir(), deny("store", mode=0o555)), "store",
            "permission", base="fresh"),
    _denied("unreadable review file", ("review", "import", "v.csv"),
            chain(lambda folder: (folder / "v.csv").write_text("id,right_label\nr1,neg\n"),
                  deny("v.csv")), "v.csv", "permission|not readable", base="searched"),
    Case("disks", "export to a full disk", ("export", "scores", "-o", "disk/x.csv"), _full_disk,
         ("space",), base="audited"),
    Case("disks", "review export to a full disk", ("review", "export", "-o", "disk/x.csv"),
         _full_disk, ("space",), base="searched"),
    Case("disks", "report to a full disk", ("report", "-o", "disk/x.html"), _full_disk,
         ("space",), base="audited"),
    Case("disks", "init on a full disk", ("init", "disk/study.toml"), _full_disk, ("space",)),
)  # fmt: skip
