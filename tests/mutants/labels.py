"""Mutants of mislabel detection: random audit samples, and columns of a table."""

from tests.mutants.mutant import Mutant

_SAMPLE = "tests/fastif/mislabels/test_random_audit.py"
_DRAWS = "tests/fastif/mislabels/test_audit_draws.py"
_SCALE = (
    "tests/fastif/mislabels/test_features.py::test_no_column_takes_weight_from_another_at_any_scale",
    "tests/fastif/mislabels/test_features.py::test_an_outlier_does_not_silence_its_own_column",
)
_MEASUREMENTS = "tests/tasks/data/test_tabular.py"

LABELS = (
    Mutant(
        "an estimate without the rows that are known to be wrong",
        "fastif/mislabels/betting_bounds.py",
        "terms.append(draw.known + float(draw.rows @ p) + difference)",
        "terms.append(float(draw.rows @ p) + difference)",
        (_DRAWS,),
    ),
    Mutant(
        "an estimate without the difference on the sample",
        "fastif/mislabels/betting_bounds.py",
        "terms.append(draw.known + float(draw.rows @ p) + difference)",
        "terms.append(draw.known + float(draw.rows @ p))",
        (_DRAWS,),
    ),
    Mutant(
        "a sampled row is drawn again by a later sample",
        "fastif/mislabels/audit_draws.py",
        "        drawn[sample.order.numpy()] = True\n",
        "",
        (_DRAWS,),
    ),
    Mutant(
        "bets that gain under the hypothesis",
        "fastif/mislabels/betting_bounds.py",
        "    mean = left - draw.rows @ p\n",
        "    mean = 0.9 * left - draw.rows @ p\n",
        (_DRAWS,),
    ),
    Mutant(
        "recalibration that may reverse the ranking",
        "fastif/mislabels/recalibration.py",
        "max(point[1] - scale * move[1], 0.0)",
        "point[1] - scale * move[1]",
        (_SAMPLE,),
    ),
    Mutant(
        "a sample covers rows that were added later",
        "fastif/mislabels/random_audit.py",
        "return ~self.reviewed & (self.audited.unit == NO_UNIT)",
        "return torch.zeros_like(self.reviewed)",
        (_SAMPLE, "tests/tasks/mislabels/test_random_sample.py"),
    ),
    Mutant(
        "sampled rows without a verdict count as right",
        "fastif/mislabels/random_audit.py",
        "fillings = (0.0,) if is_complete else (0.0, 1.0)",
        "fillings = (0.0,)",
        (_SAMPLE,),
    ),
    Mutant(
        "rows removed for an unknown reason are in no interval",
        "fastif/mislabels/random_audit.py",
        "            explanations.append(removed * ~unclear)\n",
        "            pass\n",
        ("tests/tasks/mislabels/test_random_sample.py",),
    ),
    Mutant(
        "columns of a table keep their scale",
        "fastif/mislabels/features.py",
        "return torch.where(scale > 0, centred / spread.clamp_min(1e-30), 0.0).float()",
        "return torch.where(scale > 0, centred * scale, 0.0).float()",
        _SCALE,
    ),
    Mutant(
        "one far number takes the weight of its column",
        "fastif/mislabels/features.py",
        "deviation = (deviation / scale.where(scale > 0, 1.0)).clamp(-WINSOR_LIMIT, WINSOR_LIMIT)",
        "deviation = deviation / scale.where(scale > 0, 1.0)",
        _SCALE,
    ),
    Mutant(
        "whole numbers that would be rounded are read",
        "tasks/data/tabular.py",
        "    if size.any():\n",
        "    if False:\n",
        (_MEASUREMENTS,),
    ),
)
