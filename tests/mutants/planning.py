"""Mutants of forecasts, and of the declared properties of kinds of candidates."""

from tests.mutants.mutant import Mutant

_NUMBERS = "tests/tasks/planning/test_workload.py"
_SIZES = "tests/tasks/planning/test_batch_sizing.py"
_NEW_KIND = "tests/tasks/study/test_new_candidates.py"
_BAD_VALUES = "tests/tasks/study/test_bad_values.py"

PLANNING = (
    Mutant(
        "a factor that is forecast although nothing is solved",
        "tasks/planning/cost_model.py",
        "if not is_solved or not examples:",
        "if not examples:",
        (_NUMBERS,),
    ),
    Mutant(
        "certificates of a solve that has every score already",
        "tasks/planning/cost_model.py",
        """    if workload.solver_cost.scores_in_one_sweep:
        return WorkItems()
    residual""",
        """    residual""",
        (_NUMBERS,),
    ),
    Mutant(
        "passes of several models as one's",
        "tasks/planning/cost_model.py",
        "visits / workload.train.rows / workload.model.count",
        "visits / workload.train.rows",
        (_NUMBERS,),
    ),
    Mutant(
        "a damping that is chosen again",
        "tasks/planning/cost_model.py",
        "if workload.prepared.has_damping or not",
        "if not",
        (_NUMBERS,),
    ),
    Mutant(
        "more queries in a shard than there are",
        "tasks/planning/memory.py",
        "shard, batch = min(sizes.shard_size, queries),",
        "shard, batch = sizes.shard_size,",
        (_NUMBERS,),
    ),
    Mutant(
        "memory of one of several models",
        "tasks/planning/memory.py",
        "workload.model.count * workload.model.nbytes",
        "workload.model.nbytes",
        (_NUMBERS,),
    ),
    Mutant(
        "texts of a training table that is there",
        "tasks/planning/disk.py",
        "if not workload.prepared.has_train_table:",
        "if True:",
        (_NUMBERS,),
    ),
    Mutant(
        "sums of a run that keeps none",
        "tasks/planning/disk.py",
        "workload.candidates.has_totals * shards",
        "shards",
        (_NUMBERS,),
    ),
    Mutant(
        "an index that is forecast although it is there",
        "tasks/run/index_kinds.py",
        "PendingIndex(0 if is_built else len(context.train_examples), has_list=is_built)",
        "PendingIndex(len(context.train_examples), has_list=is_built)",
        (_NUMBERS,),
    ),
    Mutant(
        "sketches longer than the curvature has directions",
        "tasks/study/index_sections.py",
        "return min(self.dimensions, factor_rows)",
        "return self.dimensions",
        (_NUMBERS,),
    ),
    Mutant(
        "a disk that is filled with hidden states",
        "tasks/planning/batch_sizing.py",
        "    if megabytes * MEGABYTE > DISK_FRACTION * free_bytes:\n        return 0\n",
        "",
        (_SIZES + "::test_no_disk_cache_on_a_nearly_full_disk_or_for_a_single_pass",),
    ),
    Mutant(
        "candidates without a check",
        "tasks/study/candidate_section.py",
        'return getattr(self, "check", 0)',
        "return 0",
        (_NEW_KIND,),
    ),
    Mutant(
        "a kind of candidates that studies do not know",
        "tasks/study/any_candidates.py",
        "tuple(CANDIDATES.values())",
        'tuple(CANDIDATES[k] for k in ("knn", "sketch", "union", "full", "auto"))',
        (_NEW_KIND,),
    ),
    Mutant(
        "sketches without a damping",
        "tasks/study/candidate_section.py",
        "return bool(self.index_fields)",
        "return False",
        (_BAD_VALUES,),
    ),
)
