"""Identity of runs and factors from before a solver had products of low precision."""

from fastif import Dual
from fastif.solvers.settings import DualSettings
from tasks.run.fingerprint_inputs import _select_answer_fields


def test_factors_and_runs_of_older_versions_keep_their_keys():
    assert Dual().factor_fields == ("rank",)
    assert Dual(products="bf16").factor_fields == ("rank", "products")
    assert "products" not in _select_answer_fields(DualSettings())
    assert _select_answer_fields(DualSettings(products="bf16"))["products"] == "bf16"
