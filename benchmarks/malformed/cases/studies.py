"""Malformed study files."""

from pathlib import Path

from benchmarks.malformed.case import TAKEN, Case
from benchmarks.malformed.spoils import append, chain, edit, write

DRY, DOCTOR = ("audit", "study.toml", "--dry-run"), ("doctor", "--study", "study.toml")
AUDIT = ("audit", "study.toml")


def _folder_for_study(folder: Path) -> None:
    (folder / "study.toml").unlink()
    (folder / "study.toml").mkdir()


STUDIES: tuple[Case, ...] = (
    Case("studies", "no such file", ("audit", "study1.toml"), lambda folder: None,
         ("study1.toml", "study.toml")),
    Case("studies", "a folder", DRY, _folder_for_study, ("study.toml", "folder"),
         ("did you mean",)),
    Case("studies", "broken TOML", DRY, append('name = "x\n'), ("study.toml", "line")),
    Case("studies", "an image", DRY, write("study.toml", b"\x89PNG\r\n\x1a\n" + bytes(range(256))),
         ("study.toml",)),
    Case("studies", "UTF-16", DRY,
         write("study.toml", 'name = "x"\n'.encode("utf-16")), ("study.toml", "utf-8|utf-16")),
    Case("studies", "an unknown key", DRY, edit("damping = 0.1", "dampign = 0.1"),
         ("dampign", 'did you mean "damping"')),
    Case("studies", "an unknown section", DRY, append("[curvatur]\nx = 1\n"),
         ("curvatur", "did you mean")),
    Case("studies", "labels that are numbers", DRY, edit('["neg", "pos"]', "[0, 1]"),
         ("labels", "quotes")),
    Case("studies", "a label twice", DRY, edit('["neg", "pos"]', '["neg", "neg"]'), ("labels",)),
    Case("studies", "a single label", DRY, edit('["neg", "pos"]', '["neg"]'), ("labels", "2")),
    Case("studies", "memory_gb = 1e308", DRY, edit("shard_size = 6", "memory_gb = 1e308"),
         ("memory_gb", "1e+308|1e308"), codes=(0, 2)),
    Case("studies", "memory_gb = nan", DRY, edit("shard_size = 6", "memory_gb = nan"),
         ("memory_gb", "nan")),
    Case("studies", "damping = 1e300", AUDIT, edit("damping = 0.1", "damping = 1e300"),
         ("damping",), codes=(0, 2), changes=True),
    Case("studies", "damping = 1e20", AUDIT, edit("damping = 0.1", "damping = 1e20"),
         ("damping",), codes=(0, 2), changes=True),
    Case("studies", "damping = 1e-300", DRY, edit("damping = 0.1", "damping = 1e-300"),
         ("damping",), ('kind = "dual"',)),
    Case("studies", "shard_size = 0", DRY, edit("shard_size = 6", "shard_size = 0"),
         ("shard_size", "0")),
    Case("studies", "shard_size = 1e18", DRY, edit("shard_size = 6", "shard_size = 10" + "0" * 17),
         ("shard_size|shard",), codes=(0, 2)),
    Case("studies", "batch_size = a billion", DRY,
         edit("shard_size = 6", "batch_size = 1000000000"), codes=(0, 2)),
    Case("studies", "no kind of candidates", DRY, edit('kind = "full"', ""),
         ("[candidates] kind", "full|sketch|auto"), ('write "knn"', 'add kind = "knn"')),
    Case("studies", "a NUL in a path", DRY, edit('"train.csv"', '"train\\u0000.csv"'), ("table",)),
    Case("studies", "an escape sequence in a path", DRY,
         edit('"train.csv"', '"tr\\u001b[2Jain.csv"'), ("table",)),
    Case("studies", "a store inside a table's file", DRY, edit('"store"', '"train.csv/store"'),
         ("store", "train.csv")),
    Case("studies", "a store in another file's place", DRY, edit('"store"', '"train.csv"'),
         ("train.csv", "file")),
    Case("studies", "webhook of an unset variable, doctor", DOCTOR,
         append('[notify]\nwebhook_env = "FASTIF_NOT_SET"\n'),
         ("webhook", "FASTIF_NOT_SET", "not set")),
    Case("studies", "webhook of an unset variable, audit", AUDIT,
         append('[notify]\nwebhook_env = "FASTIF_NOT_SET"\n'),
         ("webhook", "FASTIF_NOT_SET"), codes=TAKEN, changes=True),
    Case("studies", "webhook that holds no address, doctor", DOCTOR,
         append('[notify]\nwebhook_env = "PATH"\n'), ("PATH", "address")),
    Case("studies", "webhook given as the address itself", DOCTOR,
         append('[notify]\nwebhook_env = "https://example.org/secret"\n'), ("webhook_env",)),
    Case("studies", "mislabels without an encoder, doctor", DOCTOR, lambda folder: None,
         ("[mislabels] encoder",), codes=TAKEN),
    Case("studies", "mislabels without an encoder, forecast",
         ("mislabels", "study.toml", "--dry-run"), lambda folder: None,
         ("[mislabels] encoder",), codes=TAKEN),
    Case("studies", "labels only, report", ("report",),
         chain(lambda folder: None), ("model|labels-only|[model]",), base="table"),
    Case("studies", "labels only, audit", AUDIT, lambda folder: None, ("[model]|model",),
         base="table"),
    Case("studies", "labels only, top", ("top", "1"), lambda folder: None, ("[model]|model",),
         base="table"),
)  # fmt: skip
