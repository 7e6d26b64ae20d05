"""Mutants of tables, verdicts, samples, and of what one night says of another."""

from tests.mutants.mutant import Mutant

_TABLES = "tests/tasks/test_tables.py"
_FRAMES = "tests/tasks/test_frames.py"
_SAMPLE = "tests/fastif/test_sample.py"
_COMPARISON = "tests/storage/test_comparison.py"
_CARRIED = "tests/flows/test_carried.py"
_REVIEWS = "tests/flows/test_mislabels.py"

NIGHTS = (
    Mutant(
        "labels by their place in the table and not by the study's names",
        "tasks/tables.py",
        "positions = {label: position for position, label in enumerate(labels)}",
        "positions = {label: position for position, label in enumerate(sorted(labels))}",
        (_TABLES,),
    ),
    Mutant(
        "ids may come twice",
        "tasks/tables.py",
        "pl.col(name).is_not_null() & ~pl.col(name).is_first_distinct()",
        "pl.col(name).is_null() & ~pl.col(name).is_first_distinct()",
        (_TABLES,),
    ),
    Mutant(
        "a digest that ignores the groups",
        "tasks/tables.py",
        "labels, *(groups[name] for name in names), strict=True):",
        "labels, strict=True):",
        (_TABLES,),
    ),
    Mutant(
        "k beyond the rows",
        "tasks/tables.py",
        "if method.k is not None and method.k > n:",
        "if method.k is not None and method.k > 2 * n:",
        (_TABLES,),
    ),
    Mutant(
        "training rows of one class",
        "tasks/tables.py",
        "if len(set(train.labels)) < 2:",
        "if len(set(train.labels)) < 1:",
        (_TABLES,),
    ),
    Mutant(
        "cells without an example become rows",
        "tasks/frames.py",
        'return pl.DataFrame(columns).filter(pl.col("train") >= 0).cast(polars_schema(SCORES))',
        "return pl.DataFrame(columns).with_columns(pl.col('train').clip(0))"
        ".cast(polars_schema(SCORES))",
        (_FRAMES,),
    ),
    Mutant(
        "a count that forgets what was seen to be wrong",
        "fastif/applications/sample.py",
        "known = float((self.seen & self.wrong & of).sum())",
        "known = 0.0",
        (_SAMPLE,),
    ),
    Mutant(
        "a count without the difference that drawn rows show",
        "fastif/applications/sample.py",
        "share = min(max(float(told.mean() + gaps.mean()), 0.0), 1.0)",
        "share = min(max(float(told.mean()), 0.0), 1.0)",
        (_SAMPLE,),
    ),
    Mutant(
        "an interval of half the width",
        "fastif/applications/sample.py",
        "return middle - half, middle + half",
        "return middle - half / 2, middle + half / 2",
        (_SAMPLE,),
    ),
    Mutant(
        "recalibration that may turn the order",
        "fastif/applications/sample.py",
        "bounds = [(None, None), (0.0, None)]",
        "bounds = [(None, None), (None, None)]",
        (_SAMPLE,),
    ),
    Mutant(
        "carried effects keep the old number of rows",
        "tasks/carried.py",
        "ratio = carried.rows_before / len(carried.train)",
        "ratio = 1.0",
        (_CARRIED,),
    ),
    Mutant(
        "carried answers of rows that are gone",
        "tasks/carried.py",
        'left = scores.join(places, on="train").select(',
        'left = scores.join(places, on="train", how="left").with_columns('
        'now=pl.col("now").fill_null(0)).select(',
        (_CARRIED,),
    ),
    Mutant(
        "rows alike share the place of the first",
        "tasks/carried.py",
        'found = new.join(old, on=("row", "again"), how="left"',
        'found = new.join(old.unique("row"), on=("row",), how="left"',
        (_CARRIED,),
    ),
    Mutant(
        "a night goes on with too few common rows",
        "tasks/lineage.py",
        "if not carries_rows(study) or _share(store, root, study, train) < carry.least:",
        "if not carries_rows(study):",
        (_CARRIED,),
    ),
    Mutant(
        "a night goes on with another model",
        "tasks/lineage.py",
        'MAY_CHANGE = ("train", "queries", "certificate", CARRIED)',
        'MAY_CHANGE = ("train", "queries", "certificate", "model", CARRIED)',
        (_CARRIED,),
    ),
)
