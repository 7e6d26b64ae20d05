"""Mutants of certificates, of scores and what is kept of them, and of the choice of the damping."""

from tests.mutants.mutant import Mutant

_KERNEL = "tests/fastif/solvers/test_dual_scores.py"
_CERTIFICATE = "tests/fastif/attribution/test_certificate.py"
_RESIDUAL = "tests/fastif/attribution/test_full_residual.py"
_INFLUENCE = "tests/fastif/attribution/test_influence.py"
_ENDS = "tests/fastif/numerics/test_top_bottom_k.py"
_ENSEMBLE = "tests/fastif/attribution/test_ensemble.py"
_RANKING = "tests/fastif/attribution/test_ranking_score.py"
_QUARANTINE = "tests/fastif/solvers/test_quarantine.py"
_DAMPING = "tests/fastif/evaluation/test_select_damping.py"

SCORING = (
    Mutant(
        "a certificate of the best member",
        "fastif/attribution/certificate.py",
        'converged: Bool[Tensor, " q"] = field(metadata=per_query(take_all))',
        'converged: Bool[Tensor, " q"] = field(metadata=per_query(take_first))',
        (_ENSEMBLE,),
    ),
    Mutant(
        "a certificate of the least residual",
        "fastif/attribution/certificate.py",
        ' residual: Float[Tensor, " q"] = field(metadata=per_query(take_max',
        ' residual: Float[Tensor, " q"] = field(metadata=per_query(take_mean',
        (_ENSEMBLE,),
    ),
    Mutant(
        "a score that resembles the gradient product is not reported",
        "fastif/attribution/certificate.py",
        "return self.score_correlation.abs() > MAX_PRODUCT_CORRELATION",
        "return self.score_correlation.abs() > 1.0",
        (_CERTIFICATE, "tests/flows/test_audit.py"),
    ),
    Mutant(
        "quarantined queries are converged",
        "fastif/attribution/certificate.py",
        "return replace(final, converged=self.converged & valid)",
        "return final",
        (_QUARANTINE,),
    ),
    Mutant(
        "the residual on all rows counts its own noise",
        "fastif/attribution/full_residual.py",
        "return squared_norm - _bilinear_form(third, value, rhs)",
        "return _row_dots(rhs, rhs)",
        (_RESIDUAL,),
    ),
    Mutant(
        "the residual on all rows without damping",
        "fastif/attribution/full_residual.py",
        "    rhs.sub_(value, alpha=operator.damping)\n",
        "",
        (_RESIDUAL,),
    ),
    Mutant(
        "effects of another sign",
        "fastif/attribution/scorers.py",
        "effects = tile.dot(self.s_test).div_(len(self.train))",
        "compute_effects = compute_tile.dot(self.s_test).div_(-len(self.train))",
        (_INFLUENCE,),
    ),
    Mutant(
        "effects in another unit",
        "fastif/attribution/scorers.py",
        "values = self.scores[:, send(ids, self.scores.device)] / len(self.train)",
        "values = self.scores[:, send(ids, self.scores.device)]",
        (_KERNEL,),
    ),
    Mutant(
        "the spread of a population",
        "fastif/attribution/scorers.py",
        "deviations.std(0).to(first.dtype)",
        "deviations.std(0, correction=0).to(first.dtype)",
        (_ENSEMBLE,),
    ),
    Mutant(
        "candidates scored in the order of their ids",
        "fastif/attribution/influence.py",
        "column.view(-1)[cells] = values[query_index[cells], position]",
        "column.view(-1)[cells] = values[query_index[cells.sort(descending=True).values], "
        "position]",
        (_INFLUENCE,),
    ),
    Mutant(
        "a full scan that keeps the extremes of the effects, not of the ranking score",
        "fastif/attribution/full_scan.py",
        "columns = (effects.ranking, effects.values, effects.spread)",
        "columns = (effects.values, effects.ranking, effects.spread)",
        (_RANKING,),
    ),
    Mutant(
        "ranking scores by the scale of another row",
        "fastif/attribution/ranking.py",
        "effects * send(self.scale[ids], effects.device)",
        "effects * send(self.scale[ids.flip(0)], effects.device)",
        (_RANKING,),
    ),
    Mutant(
        "ranking scores that overflow are kept",
        "fastif/attribution/finalize_certificate.py",
        "torch.isfinite(influences.removal_effect) & torch.isfinite(influences.ranking)",
        "torch.isfinite(influences.removal_effect)",
        (_RANKING,),
    ),
    Mutant(
        "recall against the effects where ranking scores are stored",
        "fastif/evaluation/recall.py",
        "ranking = scanned.ranking.masked_fill",
        "ranking = scanned.removal_effect.masked_fill",
        ("tests/fastif/evaluation/test_recall.py",),
    ),
    Mutant(
        "bounds of unstored effects by the scale of other rows",
        "storage/run_comparison.py",
        'scaled * pl.col("ratio").fill_null(math.inf)',
        'scaled * pl.col("ratio").fill_null(1.0)',
        ("tests/storage/test_run_comparison.py",),
    ),
    Mutant(
        "a broken training row is scored",
        "fastif/attribution/full_scan.py",
        "        finite = effects.finite\n",
        "        finite = torch.ones_like(effects.finite)\n",
        (_QUARANTINE,),
    ),
    Mutant(
        "ends that ties decide",
        "fastif/numerics/top_bottom_k.py",
        "if bool((num_within != k).any()):",
        "if bool((num_within < k).any()):",
        (_ENDS, _INFLUENCE),
    ),
    Mutant(
        "one row too few at the helpful end",
        "fastif/numerics/top_bottom_k.py",
        "order = torch.cat([order[:, :k], order[:, -k:]], dim=1)",
        "order = torch.cat([order[:, : k + 1], order[:, 1 - k :]], dim=1)",
        (_ENDS, _INFLUENCE),
    ),
    Mutant(
        "sums in which one slice overwrites another",
        "fastif/attribution/slice_totals.py",
        "sums.index_add_(0, send(self.slices, sums.device), finite_scores)",
        "sums.index_copy_(0, send(self.slices, sums.device), finite_scores)",
        (_ENDS,),
    ),
    Mutant(
        "long products summed in one piece",
        "fastif/numerics/blocked_dot.py",
        "BLOCK_SIZE = 2**16",
        "BLOCK_SIZE = 2**30",
        ("tests/fastif/numerics/test_blocked_dot.py",),
    ),
    Mutant(
        "the damping where the curve is lowest",
        "fastif/evaluation/select_damping.py",
        "return max(finite, key=curve.__getitem__)",
        "return min(finite, key=curve.__getitem__)",
        (_DAMPING,),
    ),
    Mutant(
        "the agreement of the halves that were left out",
        "fastif/evaluation/select_damping.py",
        "        row[half] = 1\n",
        "        row[:] = 1\n        row[half] = 0\n",
        (_DAMPING,),
    ),
)
