"""Mutants of tables, of stores, and of comparisons of two runs."""

from tests.mutants.mutant import Mutant

_READERS = "tests/tasks/data/test_readers.py"
_TABLE_PROBLEMS = "tests/tasks/data/test_table_problems.py"
_CHECK_TABLES = "tests/tasks/data/test_check_tables.py"
_FRAMES = "tests/tasks/audit/test_frames.py"
_CARRIED = "tests/tasks/run/test_reuse.py"
_MATCHING = "tests/storage/test_matching.py"
_PARTS = "tests/storage/test_artifacts.py"
_STORE = "tests/storage/test_store.py"
_PROVENANCE = "tests/tasks/models/test_provenance.py"

NIGHTS = (
    Mutant(
        "labels by their place in the table and not by the study's names",
        "tasks/data/dataset.py",
        "positions = {label: position for position, label in enumerate(labels)}",
        "positions = {label: position for position, label in enumerate(sorted(labels))}",
        (_READERS,),
    ),
    Mutant(
        "ids may come twice",
        "tasks/data/table_problems.py",
        "pl.col(name).is_not_null() & ~pl.col(name).is_first_distinct()",
        "pl.col(name).is_null() & ~pl.col(name).is_first_distinct()",
        (_TABLE_PROBLEMS,),
    ),
    Mutant(
        "a digest that ignores the groups",
        "tasks/data/dataset.py",
        "labels, *(groups[name] for name in names), strict=True\n",
        "labels, strict=True\n",
        (_READERS,),
    ),
    Mutant(
        "k beyond the rows",
        "tasks/data/dataset.py",
        "if method.k is not None and method.k > n:",
        "if method.k is not None and method.k > 2 * n:",
        (_CHECK_TABLES,),
    ),
    Mutant(
        "training rows of one class",
        "tasks/data/dataset.py",
        "if len(set(train.labels)) > 1:",
        "if len(set(train.labels)) > 0:",
        (_CHECK_TABLES,),
    ),
    Mutant(
        "cells without an example become rows",
        "tasks/audit/frames.py",
        'return pl.DataFrame(columns).filter(pl.col("train") >= 0).cast(polars_schema(SCORES))',
        "return pl.DataFrame(columns).with_columns(pl.col('train').clip(0))"
        ".cast(polars_schema(SCORES))",
        (_FRAMES,),
    ),
    Mutant(
        "carried effects keep the old number of rows",
        "tasks/run/reuse.py",
        "ratio = reuse.rows_before / len(reuse.train)",
        "ratio = 1.0",
        (f"{_CARRIED}::test_only_new_rows_are_computed_and_all_queries_have_scores",),
    ),
    Mutant(
        "carried answers of rows that are gone",
        "tasks/run/reuse.py",
        'remaining = scores.join(places, on="train").select(',
        'remaining = scores.join(positions, on="train", '
        'how="left").with_columns(now=pl.col("now").fill_null(0)).select(',
        (f"{_CARRIED}::test_removed_rows_drop_out_and_the_other_scores_are_right",),
    ),
    Mutant(
        "rows alike share the place of the first",
        "tasks/run/reuse.py",
        '        before_rows, on=("row", "again"), how="left"',
        '        before_rows.unique("row"), on=("row",), how="left"',
        (f"{_CARRIED}::test_equal_rows_are_matched_by_multiplicity_in_order",),
    ),
    Mutant(
        "an incremental run with too few common rows",
        "tasks/run/parent_run.py",
        "if not may_reuse_rows(study) or _compute_row_overlap(store, root, study, train) < "
        "carry.least:",
        "if not may_reuse_rows(study):",
        (f"{_CARRIED}::test_other_settings_start_a_full_run",),
    ),
    Mutant(
        "an incremental run with another model",
        "tasks/run/parent_run.py",
        'MAY_CHANGE = ("train", "queries", "certificate", "groups", CARRIED)',
        'MAY_CHANGE = ("train", "queries", "certificate", "groups", "model", CARRIED)',
        (f"{_CARRIED}::test_other_settings_start_a_full_run",),
    ),
    Mutant(
        "rows are the same by their ids first",
        "storage/matching.py",
        """    yield [*content, "label", "id"], SAME
    yield [*content, "label"], SAME
""",
        """    yield ["id"], SAME
    yield [*content, "label"], SAME
""",
        (_MATCHING,),
    ),
    Mutant(
        "an id used again is an edited row",
        "storage/matching.py",
        "        return kept == 1.0  # row numbers",
        "        return True  # a row number",
        (_MATCHING,),
    ),
    Mutant(
        "equal rows are matched each with each",
        "storage/matching.py",
        "again=pl.int_range(pl.len()).over(columns)",
        "again=pl.lit(0)",
        (_MATCHING,),
    ),
    Mutant(
        "a label with another name is a relabelling",
        "storage/matching.py",
        'old = old.with_columns(pl.col("label").replace(renamed))',
        "pass",
        (_MATCHING,),
    ),
    Mutant(
        "nulls are no content",
        "storage/matching.py",
        'on=[*columns, "again"], nulls_equal=True',
        'on=[*columns, "again"], nulls_equal=False',
        (_MATCHING,),
    ),
    Mutant(
        "a file whose bytes changed unseals",
        "storage/sealed.py",
        "if is_key_changed or (digest is not None and digest != _compute_digest(content)):",
        "if is_key_changed:",
        ("tests/storage/test_sealed.py",),
    ),
    Mutant(
        "a digest whose name changed is a file without digests",
        "storage/sealed.py",
        "if is_key_changed or (digest is not None and digest != _compute_digest(content)):",
        "if digest is not None and digest != _compute_digest(content):",
        ("tests/storage/test_sealed.py",),
    ),
    Mutant(
        "scores by sketches alone are of an earlier table's curvature",
        "tasks/run/sketcher_store.py",
        "min_share = MIN_SHARED_ROWS if method.rescore else 1.0",
        "min_share = MIN_SHARED_ROWS",
        (
            "tests/tasks/run/test_sketches.py::"
            "test_scores_by_sketches_only_do_not_depend_on_earlier_runs",
        ),
    ),
    Mutant(
        "a part is sound by its size",
        "storage/local_artifacts.py",
        "        or _compute_sha256(path, size, state.st_mtime_ns) == digest\n",
        "        or True\n",
        (_PARTS,),
    ),
    Mutant(
        "a damaged part counts as never written",
        "storage/artifacts.py",
        "for problems in find_damaged_artifacts(layout, (kind,)).values():",
        "for problems in ():",
        (_PARTS,),
    ),
    Mutant(
        "a table is read without a check of its bytes",
        "storage/readable.py",
        "if _compute_sha256(path, size, path.stat().st_mtime_ns) != file.sha256:",
        "if False:",
        ("tests/tasks/results/test_integrity.py",),
    ),
    Mutant(
        "the newest run by the clock",
        "storage/order.py",
        'return int(unseal(data)["sequence"])',
        "return 0",
        (_STORE,),
    ),
    Mutant(
        "a run with half its shards is whole",
        "storage/run_record.py",
        "return self.finished and self.done == self.planned",
        "return self.finished",
        (_STORE, "tests/tasks/results/test_integrity.py"),
    ),
    Mutant(
        "rows added after the training count as trained",
        "tasks/models/provenance.py",
        "trained = [_take_match(unmatched_counts, row) for row in now.rows()]",
        "trained = [_take_match(counts, row) or True for row in now.rows()]",
        (_PROVENANCE,),
    ),
    Mutant(
        "labels in another order than in training",
        "tasks/models/provenance.py",
        "if moved_labels or len(before) != len(study.labels):",
        "if len(before) != len(study.labels):",
        (_PROVENANCE,),
    ),
    Mutant(
        "a length that no text reaches is a difference",
        "tasks/models/compare_training.py",
        "if now != before and any(truncated_counts):",
        "if now != before:",
        (_PROVENANCE,),
    ),
    Mutant(
        "weights that were changed are those of the training",
        "tasks/models/provenance.py",
        "elif record.model_digest != digest:",
        "elif False:",
        (_PROVENANCE,),
    ),
)
