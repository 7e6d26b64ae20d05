"""Agreement of the scores of both sides, and of the published setting with a converged solve."""

from dataclasses import dataclass, replace
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from scipy.stats import spearmanr
from torch import Tensor

import fastif
from benchmarks import reference
from benchmarks.example import Singles, Sizes, published_model, timed_query
from fastif.candidates import Candidates
from fastif.gradients.per_example import compute_loss_gradients
from tasks.run.context import RunContext
from tasks.run.curvature import make_operator
from tasks.run.hidden_states import get_query_examples, get_train_examples

SMALL_DAMPING_SCALE = 1e3
"""Scale of the published recursion when it runs at the damping of the study."""


@dataclass(frozen=True, eq=False)
class Rows:
    """The queries of all rounds, one vector each.

    Attributes:
        ids: Positions of the queries, [r].
        gradient: Gradients v = ∇L(query), [r p].
        exact: s_test of fastif, with the curvature and damping of the study, [r p].
        published: s_test of the published setting, [r p].
    """

    ids: Tensor
    gradient: Tensor
    exact: Tensor
    published: Tensor


def agreement(context: RunContext, sizes: Sizes, turn: int, folder: Path) -> dict:
    """Compare the sides on the queries with a published s_test in `folder`."""
    rows = _rows(context, sizes, folder)
    setting = reference.Setting(depth=sizes.depth)
    return {
        "scores": compare_scores(context, rows.exact, sizes.compared),
        "published": {
            "damping": setting.damping,
            "cosine_with_gradient": _cosine(rows.published, rows.gradient),
            "cosine_with_ours": _cosine(rows.published, rows.exact),
            "length_over_gradient_by_damping": (
                rows.published.norm(dim=1) * setting.damping / rows.gradient.norm(dim=1)
            ).tolist(),
        },
        "ours": {
            "damping": make_operator(context).damping,
            "cosine_with_gradient": _cosine(rows.exact, rows.gradient),
        },
        "rank_correlation_of_scores": _rank_correlations(context, rows),
        "published_recursion_at_our_damping": _small_damping(context, rows, sizes),
    }


def compare_scores(context: RunContext, s_test: Tensor, count: int) -> dict:
    """Compare the scores of the published method with those of fastif, for equal s_test."""
    n = len(context.train_examples)
    sampled_ids = torch.randperm(n, generator=torch.Generator().manual_seed(0))[:count]
    candidates = Candidates(sampled_ids.expand(len(s_test), -1), torch.zeros(len(s_test), count))
    influences = fastif.influence(
        fastif.Gradients(context.objective), get_train_examples(context), s_test, candidates
    )
    model, params = published_model(context)
    train = Singles(context.train_examples)
    published_scores = torch.tensor(
        [
            [
                reference.removal_effect(
                    model, params, reference.pieces(row, params), train[int(i)], n
                )
                for i in ids
            ]
            for row, ids in zip(s_test, influences.ids, strict=True)
        ],
        dtype=s_test.dtype,
    )
    difference = (influences.removal_effect - published_scores).abs()
    return {
        "pairs": difference.numel(),
        "max_relative_difference": float((difference / published_scores.abs()).max()),
        "max_difference_over_largest_score": float(difference.max() / published_scores.abs().max()),
    }


def _rows(context: RunContext, sizes: Sizes, folder: Path) -> Rows:
    turns = range(sizes.rounds)
    ids = torch.tensor([timed_query(context, turn, sizes.rounds) for turn in turns])
    gradient = compute_loss_gradients(
        fastif.Gradients(context.objective), get_query_examples(context), ids
    )
    published = torch.stack(
        [load_file(folder / f"s_test-{t}.safetensors")["s_test"] for t in turns]
    )
    exact = context.solver.solve(make_operator(context), gradient).value
    return Rows(ids, gradient, exact, published.to(gradient.device))


def _cosine(left: Tensor, right: Tensor) -> list[float]:
    """Cosines of pairs of rows, in double precision: a sum of millions of floats loses digits."""
    rows = zip(left, right, strict=True)
    return [float(F.cosine_similarity(a.double(), b.double(), dim=0)) for a, b in rows]


def _rank_correlations(context: RunContext, rows: Rows) -> dict[str, list[float]]:
    """Return Spearman's correlation over the whole training set for each query."""
    stacked = torch.cat([rows.gradient, rows.exact, rows.published])
    influences = fastif.influence(
        fastif.Gradients(context.objective), get_train_examples(context), stacked
    )
    scores = torch.empty_like(influences.removal_effect).scatter_(
        1, influences.ids, influences.removal_effect
    )
    gradient, exact, published = scores.chunk(3)

    def ranks(left: Tensor, right: Tensor) -> list[float]:
        return [float(spearmanr(a, b).statistic) for a, b in zip(left, right, strict=True)]

    return {
        "published_with_gradient_product": ranks(published, gradient),
        "published_with_ours": ranks(published, exact),
    }


def _small_damping(context: RunContext, rows: Rows, sizes: Sizes) -> dict:
    """Run the published recursion at the damping of the study, for the first query."""
    model, params = published_model(context)
    damping = make_operator(context).damping
    setting = replace(
        reference.Setting(depth=sizes.depth),
        damp=damping / SMALL_DAMPING_SCALE,
        scale=SMALL_DAMPING_SCALE,
    )
    query = Singles(context.query_examples)[int(rows.ids[0])]
    draws = reference.shuffled(Singles(context.train_examples), seed=0)
    solved = reference.row(reference.s_test(model, params, query, draws, setting))[None]
    finite = bool(torch.isfinite(solved).all())
    return {
        "damping": damping,
        "scale": setting.scale,
        "finite": finite,
        "share_of_the_way": 1 - (1 - setting.damp) ** setting.depth,
        "cosine_with_gradient": _cosine(solved, rows.gradient[:1])[0] if finite else None,
        "cosine_with_ours": _cosine(solved, rows.exact[:1])[0] if finite else None,
        "length_over_ours": float(solved.norm() / rows.exact[0].norm()) if finite else None,
    }
