"""Influence graph of wrong predictions and training rows (Guo et al., 2021, Figure 5)."""

from itertools import combinations
from pathlib import Path

import polars as pl
import torch
from torch import Tensor

import fastif
from tasks.experiments.nli_data import MNLI, SLICE, write_nli_study
from tasks.experiments.radial_plot import render_radial_plot
from tasks.experiments.result import Claim, ExperimentResult
from tasks.experiments.trained_nli import QueryPicker, TrainedNli
from tasks.experiments.workspace import Workspace

DAMPING, NEIGHBOUR_SHARE, MIN_QUERIES = 0.1, 0.1, 5
SLICES = {
    "lexical_overlap": "HANS (L)",
    "subsequence": "HANS (S)",
    "constituent": "HANS (C)",
    "none": "MultiNLI",
}
HANS = [name for key, name in SLICES.items() if key != "none"]
PUBLISHED = {
    "HANS (L)": (8.66, 0.34, 0.05),
    "HANS (S)": (9.34, 0.66, 0.08),
    "HANS (C)": (4.65, 1.79, 0.29),
    "MultiNLI": (136.89, 44.19, 0.27),
}
"""Table 5: mean size of helpful and of harmful influences, and the share of helpful ones."""
PUBLISHED_CORRELATIONS = {
    ("HANS (L)", "HANS (S)"): 0.99,
    ("HANS (L)", "HANS (C)"): 0.99,
    ("HANS (S)", "HANS (C)"): 0.99,
    ("HANS (L)", "MultiNLI"): 0.92,
    ("HANS (S)", "MultiNLI"): 0.91,
    ("HANS (C)", "MultiNLI"): 0.67,
}
"""Table 6: correlation of the influences of a row on two slices."""


def reproduce_influence_graph(workspace: Workspace) -> ExperimentResult:
    """Compute the influences on wrong predictions of a MultiNLI model and of a HANS model."""
    size, each = workspace.select_size(1_500, 3_500), workspace.select_size(40, 100)
    mnli, hans = (
        _WrongPredictions(
            workspace, f"effects-{dataset}", write_nli_study(workspace, size, size, dataset), each
        )
        for dataset in (MNLI, "hans")
    )
    table5, table6 = mnli.compare_sizes(), mnli.correlate_slices()
    kinds = hans.compare_kinds()
    return ExperimentResult(
        claims=_make_claims(table5, table6, kinds),
        tables={
            "Model trained on MultiNLI: size of influences on its wrong predictions "
            "(Table 5)": table5,
            "Correlation of the mean influences of a row on two slices (Table 6)": table6,
            "Model trained on HANS: mean size of the influence of its training rows, "
            "by their slice": kinds,
        },
        plots={"wheel_mnli": mnli.render(), "wheel_hans": hans.render()},
        notes=[
            f"{size:,} training pairs each; wrong predictions, up to {each} of a slice "
            f"({mnli.count_text} of the MultiNLI model, {hans.count_text} of the HANS model; a "
            f"slice of fewer than {MIN_QUERIES} is left out).",
            f"Exact Gauss-Newton of all rows, last layer, λ = {DAMPING:g}.",
            f"Shares and sizes: over the nearest {NEIGHBOUR_SHARE:.0%} of the rows of each query. "
            "The paper takes its nearest thousand. Correlations: over rows near to some query of "
            "both slices.",
            "Sizes differ from those of the paper, where influences are not divided by the number "
            "of rows.",
            "Radial plots: queries on the outer circle; each training row inside, in the mean "
            "direction of the queries on which it acts. Blue helps, orange harms; only the "
            "strongest effects are shown.",
        ],
    )


def _make_claims(table5: list[dict], table6: list[dict], kinds: list[dict]) -> list[Claim]:
    """Return the published claims with the results of this run."""
    return [*_make_size_claims(table5), *_make_correlation_claims(table6, kinds)]


def _make_size_claims(table5: list[dict]) -> list[Claim]:
    """Return the claims about Table 5, over the slices of HANS."""
    helpful_shares = [row["helpful, share"] for row in table5 if row["slice"] in HANS]
    size_ratios = [
        row["helpful, mean size"] / row["harmful, mean size"]
        for row in table5
        if row["slice"] in HANS
    ]
    return [
        Claim(
            "Few training rows help the wrong predictions of HANS, more harm them.",
            "5 % to 29 % help",
            f"{min(helpful_shares):.0%} to {max(helpful_shares):.0%}",
            max(helpful_shares) < 0.5,
        ),
        Claim(
            "The rows that help have larger influences.",
            "2.6 to 25 times as large",
            f"{min(size_ratios):.1f} to {max(size_ratios):.1f} times",
            min(size_ratios) > 2,
        ),
    ]


def _make_correlation_claims(table6: list[dict], kinds: list[dict]) -> list[Claim]:
    """Return the claims about Table 6 and about the slices of the training rows of HANS."""
    within_hans = [
        row["correlation"] for row in table6 if row["one"] in HANS and row["other"] in HANS
    ]
    with_mnli = [row["correlation"] for row in table6 if "MultiNLI" in (row["one"], row["other"])]
    hans_kinds = [row for row in kinds if row["queries"] in HANS]
    is_lexical_largest = [
        row["HANS (L)"] > max(row["HANS (S)"], row["HANS (C)"]) for row in hans_kinds
    ]
    return [
        Claim(
            "The influence of a row on one slice of HANS correlates with that on another.",
            "correlation 0.99",
            f"{min(within_hans):.2f} to {max(within_hans):.2f}",
            min(within_hans) > 0.9,
        ),
        Claim(
            "It correlates with that on MultiNLI.",
            "0.67 to 0.92",
            f"{min(with_mnli):.2f} to {max(with_mnli):.2f}",
            min(with_mnli) > 0.5,
        ),
        Claim(
            "In a model trained on HANS the rows of lexical overlap are the most influential for "
            "all of its slices.",
            "noticeably",
            f"for {sum(is_lexical_largest)} of {len(is_lexical_largest)} slices",
            bool(is_lexical_largest) and all(is_lexical_largest),
        ),
    ]


class _WrongPredictions:
    """Effects of all training rows on the wrong predictions of one model.

    Attributes:
        effects: Removal effects, [q n]; positive if the row helps.
        is_near: Mask of the nearest rows of each query, [q n].
        slices: Slice of each query.
        kinds: Slice of each training row.
    """

    def __init__(self, workspace: Workspace, step: str, study: Path, max_per_slice: int) -> None:
        query_slices = pl.read_parquet(study.parent / "queries.parquet")[SLICE].to_list()
        computed = workspace.cache_tensors(
            step, lambda: _compute_effects(study, _make_wrong_picker(query_slices, max_per_slice))
        )
        names = [SLICES[query_slices[i]] for i in computed["picked"].tolist()]
        is_kept = torch.tensor([names.count(name) >= MIN_QUERIES for name in names])
        self.effects = computed["effects"][is_kept]
        distances = computed["distances"][is_kept]
        k = max(1, round(NEIGHBOUR_SHARE * distances.shape[1]))
        nearest = distances.topk(k, dim=1, largest=False).indices
        self.is_near = torch.zeros_like(distances, dtype=torch.bool).scatter_(
            1, nearest, value=True
        )
        self.slices = [name for name, keep in zip(names, is_kept.tolist(), strict=True) if keep]
        train = pl.read_parquet(study.parent / "train.parquet")
        train_slices = train[SLICE].to_list() if SLICE in train.columns else ["none"] * len(train)
        self.kinds = [SLICES[kind] for kind in train_slices]
        self.count_text = ", ".join(
            f"{names.count(name)} {name}" for name in SLICES.values() if name in names
        )

    def find_queries(self, name: str) -> Tensor:
        """Return the positions of the queries of a slice."""
        return torch.tensor([i for i, slice_name in enumerate(self.slices) if slice_name == name])

    @property
    def slice_names(self) -> list[str]:
        """Slices with queries."""
        return [name for name in SLICES.values() if name in self.slices]

    def compare_sizes(self) -> list[dict]:
        """Return Table 5, one row a slice."""
        rows = []
        for name in self.slice_names:
            effects = self.effects[self.find_queries(name)][self.is_near[self.find_queries(name)]]
            helps, harms = effects[effects > 0], effects[effects < 0].abs()
            published = PUBLISHED[name]
            rows.append(
                {
                    "slice": name,
                    "helpful, mean size": float(helps.mean()),
                    "harmful, mean size": float(harms.mean()),
                    "helpful, share": len(helps) / len(effects),
                    "published: ratio of the sizes": published[0] / published[1],
                    "published: share": published[2],
                }
            )
        return rows

    def correlate_slices(self) -> list[dict]:
        """Return Table 6, one row a pair of slices."""
        rows = []
        for first, second in combinations(self.slice_names, 2):
            near_both, means = torch.ones(self.effects.shape[1], dtype=torch.bool), []
            for name in (first, second):
                is_near = self.is_near[self.find_queries(name)]
                means.append(
                    (self.effects[self.find_queries(name)] * is_near).sum(0)
                    / is_near.sum(0).clamp_min(1)
                )
                near_both &= is_near.any(0)
            near_means = torch.stack([mean[near_both] for mean in means]).double()
            all_means = torch.stack(
                [self.effects[self.find_queries(name)].mean(0) for name in (first, second)]
            )
            rows.append(
                {
                    "one": first,
                    "other": second,
                    "rows near to both": int(near_both.sum()),
                    "correlation": float(torch.corrcoef(near_means)[0, 1]),
                    "over all rows": float(torch.corrcoef(all_means.double())[0, 1]),
                    "published": PUBLISHED_CORRELATIONS[first, second],
                }
            )
        return rows

    def compare_kinds(self) -> list[dict]:
        """Return the mean size of the effects on each slice, by slice of the training rows."""
        rows = []
        for name in self.slice_names:
            mean_sizes = self.effects[self.find_queries(name)].abs().mean(0)
            rows.append(
                {"queries": name}
                | {
                    kind: float(mean_sizes[torch.tensor([k == kind for k in self.kinds])].mean())
                    for kind in SLICES.values()
                    if kind in self.kinds
                }
            )
        return rows

    def render(self) -> str:
        """Return the radial plot as SVG."""
        return render_radial_plot(self.effects, self.slices, self.kinds)


def _make_wrong_picker(slices: list[str], max_per_slice: int) -> QueryPicker:
    """Return a picker of the first wrong predictions of each slice."""

    def pick(right: Tensor) -> Tensor:
        positions = []
        for name in SLICES:
            in_slice = torch.tensor([slice_name == name for slice_name in slices])
            positions.append((in_slice & ~right).nonzero()[:max_per_slice, 0])
        return torch.cat(positions)

    return pick


def _compute_effects(study: Path, pick: QueryPicker) -> dict[str, Tensor]:
    world = TrainedNli(study, "last:1", pick)
    solved = fastif.Dual().solve(world.curvature.with_damping(DAMPING), world.query_gradients)
    train_embeddings, query_embeddings = (
        fastif.compute_embeddings(world.objective, dataset)
        for dataset in (world.train, world.queries)
    )
    return {
        "effects": world.compute_removal_effects(solved.value),
        "distances": torch.cdist(query_embeddings, train_embeddings),
        "picked": world.positions,
    }
