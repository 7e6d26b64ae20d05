"""Mutants of the search for wrong labels: random samples, and columns of a table."""

from tests.mutants.mutant import Mutant

_SAMPLE = "tests/fastif/test_sample.py"
_SCALE = (
    "tests/fastif/test_mislabels.py::test_no_column_takes_weight_from_another",
    "tests/fastif/test_mislabels.py::test_one_far_number_does_not_silence_its_own_column",
)
_MEASUREMENTS = "tests/tasks/test_measurements.py"

LABELS = (
    Mutant(
        "a count that forgets what was seen to be wrong",
        "fastif/mislabels/random_audit.py",
        "known = float((self.seen & self.wrong & of).sum())",
        "known = 0.0",
        (_SAMPLE,),
    ),
    Mutant(
        "a count without the difference that drawn rows show",
        "fastif/mislabels/random_audit.py",
        "share = min(max(float(told.mean()) + gap, 0.0), 1.0)",
        "share = min(max(float(told.mean()), 0.0), 1.0)",
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
        "recalibration that may turn the order",
        "fastif/mislabels/random_audit.py",
        "bounds = [(None, None), (0.0, None)]",
        "bounds = [(None, None), (None, None)]",
        (_SAMPLE,),
    ),
    Mutant(
        "a sample stands for rows that came after it",
        "fastif/mislabels/random_audit.py",
        "drawn, rest = self.drawn, ~self.seen & self.drawn.population",
        "drawn, rest = self.drawn, ~self.seen",
        (_SAMPLE, "tests/tasks/test_random_sample.py"),
    ),
    Mutant(
        "rows that are gone for an unknown reason are in no interval",
        "fastif/mislabels/random_audit.py",
        "return Errors(middle, min(way.low for way in ways), max(way.high for way in ways))",
        "return ways[0]",
        (_SAMPLE, "tests/tasks/test_random_sample.py"),
    ),
    Mutant(
        "columns of a table keep their scale",
        "fastif/mislabels/features.py",
        "return torch.where(step > 0, centred / spread.clamp_min(1e-30), 0.0).float()",
        "return torch.where(step > 0, centred * step, 0.0).float()",
        _SCALE,
    ),
    Mutant(
        "one far number takes the weight of its column",
        "fastif/mislabels/features.py",
        "away = (away / step.where(step > 0, 1.0)).clamp(-FENCE, FENCE)",
        "away = away / step.where(step > 0, 1.0)",
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
