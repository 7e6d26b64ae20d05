"""Mutants of mislabel detection: random audit samples, and columns of a table."""

from tests.mutants.mutant import Mutant

_SAMPLE = "tests/fastif/mislabels/test_random_audit.py"
_SCALE = (
    "tests/fastif/mislabels/test_features.py::test_no_column_takes_weight_from_another_at_any_scale",
    "tests/fastif/mislabels/test_features.py::test_an_outlier_does_not_silence_its_own_column",
)
_MEASUREMENTS = "tests/tasks/data/test_tabular.py"

LABELS = (
    Mutant(
        "an estimate without the reviewed wrong rows",
        "fastif/mislabels/random_audit.py",
        "known = float((self.reviewed & self.wrong & in_label).sum())",
        "known = 0.0",
        (_SAMPLE,),
    ),
    Mutant(
        "an estimate without the difference on the sample",
        "fastif/mislabels/random_audit.py",
        "share = min(max(float(probabilities.mean()) + difference, 0.0), 1.0)",
        "share = min(max(float(probabilities.mean()), 0.0), 1.0)",
        (_SAMPLE,),
    ),
    Mutant(
        "an interval of half the width",
        "fastif/mislabels/random_audit.py",
        "return middle - half, middle + half",
        "return middle - half / 2, middle + half / 2",
        (_SAMPLE,),
    ),
    Mutant(
        "recalibration that may reverse the ranking",
        "fastif/mislabels/random_audit.py",
        "bounds = [(None, None), (0.0, None)]",
        "bounds = [(None, None), (None, None)]",
        (_SAMPLE,),
    ),
    Mutant(
        "a sample covers rows that were added later",
        "fastif/mislabels/random_audit.py",
        "audited, unreviewed = self.audited, ~self.reviewed & self.audited.population",
        "audited, unreviewed = self.audited, ~self.reviewed",
        (_SAMPLE, "tests/tasks/mislabels/test_random_sample.py"),
    ),
    Mutant(
        "rows removed for an unknown reason are in no interval",
        "fastif/mislabels/random_audit.py",
        "            expected,\n"
        "            min(estimate.low for estimate in estimates),\n"
        "            max(estimate.high for estimate in estimates),\n",
        "            estimates[0].expected, estimates[0].low, estimates[0].high\n",
        (_SAMPLE, "tests/tasks/mislabels/test_random_sample.py"),
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
