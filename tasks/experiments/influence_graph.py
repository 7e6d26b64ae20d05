"""How wrong predictions of several slices and the training rows hang together (Figure 5)."""

from itertools import combinations
from pathlib import Path

import polars as pl
import torch
from torch import Tensor

import fastif
from tasks.experiments.nli_data import MNLI, SLICE, written
from tasks.experiments.radial_plot import wheel
from tasks.experiments.result import Claim, Outcome
from tasks.experiments.trained_nli import Explained, Pick
from tasks.experiments.workspace import Place

DAMPING, NEAR, FEWEST = 0.1, 0.1, 5
SLICES = {
    "lexical_overlap": "HANS (L)",
    "subsequence": "HANS (S)",
    "constituent": "HANS (C)",
    "none": "MultiNLI",
}
HANS = [name for key, name in SLICES.items() if key != "none"]
PUBLISHED = {"HANS (L)": (8.66, 0.34, 0.05), "HANS (S)": (9.34, 0.66, 0.08),
             "HANS (C)": (4.65, 1.79, 0.29), "MultiNLI": (136.89, 44.19, 0.27)}  # fmt: skip
"""Table 5: mean size of helpful and of harmful influences, and the share of helpful ones."""
AGREED = {("HANS (L)", "HANS (S)"): 0.99, ("HANS (L)", "HANS (C)"): 0.99,
          ("HANS (S)", "HANS (C)"): 0.99, ("HANS (L)", "MultiNLI"): 0.92,
          ("HANS (S)", "MultiNLI"): 0.91, ("HANS (C)", "MultiNLI"): 0.67}  # fmt: skip
"""Table 6."""


def visualisation(place: Place) -> Outcome:
    """A model of MultiNLI and one of HANS: what acts on their wrong predictions."""
    size, each = place.sized(1_500, 3_500), place.sized(40, 100)
    mnli, hans = (
        _Seen(place, f"effects-{of}", written(place, size, size, of), each) for of in (MNLI, "hans")
    )
    five, six = mnli.sizes(), mnli.agreement()
    kinds = hans.by_kind()
    few = [row["helpful, share"] for row in five if row["slice"] in HANS]
    larger = [row["helpful, mean size"] / row["harmful, mean size"] for row in five
              if row["slice"] in HANS]  # fmt: skip
    among = [row["correlation"] for row in six if row["one"] in HANS and row["other"] in HANS]
    beyond = [row["correlation"] for row in six if "MultiNLI" in (row["one"], row["other"])]
    own = [row for row in kinds if row["queries"] in HANS]
    lexical = [row["HANS (L)"] > max(row["HANS (S)"], row["HANS (C)"]) for row in own]
    return Outcome(
        claims=[
            Claim("Few training rows help the wrong predictions of HANS, more harm them.",
                  "5 % to 29 % help", f"{min(few):.0%} to {max(few):.0%}", max(few) < 0.5),
            Claim("But those that help have larger influences.", "2.6 to 25 times as large",
                  f"{min(larger):.1f} to {max(larger):.1f} times", min(larger) > 2),
            Claim("A row's influence on one slice of HANS is like that on another.",
                  "correlation 0.99", f"{min(among):.2f} to {max(among):.2f}", min(among) > 0.9),
            Claim("And like that on MultiNLI.", "0.67 to 0.92",
                  f"{min(beyond):.2f} to {max(beyond):.2f}", min(beyond) > 0.5),
            Claim("In a model of HANS the rows of lexical overlap are the most influential to all "
                  "of its slices.", "noticeably", f"to {sum(lexical)} of {len(lexical)} slices",
                  bool(lexical) and all(lexical)),
        ],
        tables={
            "A model of MultiNLI: sizes of influences on its wrong predictions (Table 5)": five,
            "How alike a row's mean influences on two slices are (Table 6)": six,
            "A model of HANS: mean size of the influence of its training rows, by their kind":
                kinds,
        },
        plots={"wheel_mnli": mnli.drawn(), "wheel_hans": hans.drawn()},
        notes=[f"{size:,} training pairs each; wrong predictions, up to {each} of a slice "
               f"({mnli.counted} of the model of MultiNLI, {hans.counted} of that of HANS; a slice "
               f"of fewer than {FEWEST} is left out). Exact Gauss-Newton of all rows, last layer, "
               f"λ = {DAMPING:g}; shares and sizes over each query's nearest {NEAR:.0%} of the "
               "rows, as the paper takes its nearest thousand; correlations over rows that are "
               "near to some query of both slices. Sizes are not the paper's, whose influences are "
               "not divided by the number of rows.",
               "The wheels: queries outside, training rows inside, each where the queries that it "
               "acts on are. Blue helps, orange harms; the strongest effects are drawn."],
    )  # fmt: skip


class _Seen:
    """Effects of all training rows on the wrong predictions of one model.

    Attributes:
        effects: removal effects, [q n]; positive helps.
        near: which rows are near which query, [q n].
        slices: the name of each query's slice.
        kinds: of each training row.
    """

    def __init__(self, place: Place, step: str, study: Path, each: int) -> None:
        asked = pl.read_parquet(study.parent / "queries.parquet")[SLICE].to_list()
        made = place.kept(step, lambda: _effects(study, _wrong(asked, each)))
        names = [SLICES[asked[i]] for i in made["picked"].tolist()]
        kept = torch.tensor([names.count(name) >= FEWEST for name in names])
        self.effects = made["effects"][kept]
        distances = made["distances"][kept]
        k = max(1, round(NEAR * distances.shape[1]))
        nearest = distances.topk(k, dim=1, largest=False).indices
        self.near = torch.zeros_like(distances, dtype=torch.bool).scatter_(1, nearest, value=True)
        self.slices = [name for name, keep in zip(names, kept.tolist(), strict=True) if keep]
        train = pl.read_parquet(study.parent / "train.parquet")
        own = train[SLICE].to_list() if SLICE in train.columns else ["none"] * len(train)
        self.kinds = [SLICES[kind] for kind in own]
        self.counted = ", ".join(
            f"{names.count(name)} {name}" for name in SLICES.values() if name in names
        )

    def of(self, name: str) -> Tensor:
        """Positions of a slice's queries."""
        return torch.tensor([i for i, one in enumerate(self.slices) if one == name])

    @property
    def named(self) -> list[str]:
        """Slices that have queries."""
        return [name for name in SLICES.values() if name in self.slices]

    def sizes(self) -> list[dict]:
        """Table 5: a row a slice."""
        rows = []
        for name in self.named:
            some = self.effects[self.of(name)][self.near[self.of(name)]]
            helps, harms = some[some > 0], -some[some < 0]
            told = PUBLISHED[name]
            rows.append({
                "slice": name,
                "helpful, mean size": float(helps.mean()), "harmful, mean size":
                float(harms.mean()), "helpful, share": len(helps) / len(some),
                "published: ratio of the sizes": told[0] / told[1], "published: share": told[2],
            })  # fmt: skip
        return rows

    def agreement(self) -> list[dict]:
        """Table 6: a row a pair of slices."""
        rows = []
        for one, other in combinations(self.named, 2):
            both, means = torch.ones(self.effects.shape[1], dtype=torch.bool), []
            for name in (one, other):
                near = self.near[self.of(name)]
                means.append((self.effects[self.of(name)] * near).sum(0) / near.sum(0).clamp_min(1))
                both &= near.any(0)
            pair = torch.stack([mean[both] for mean in means]).double()
            every = torch.stack([self.effects[self.of(name)].mean(0) for name in (one, other)])
            rows.append({"one": one, "other": other, "rows near to both": int(both.sum()),
                         "correlation": float(torch.corrcoef(pair)[0, 1]),
                         "over all rows": float(torch.corrcoef(every.double())[0, 1]),
                         "published": AGREED[one, other]})  # fmt: skip
        return rows

    def by_kind(self) -> list[dict]:
        """Mean size of all effects of each kind of training rows, on each slice."""
        rows = []
        for name in self.named:
            some = self.effects[self.of(name)].abs().mean(0)
            rows.append({"queries": name} | {
                kind: float(some[torch.tensor([k == kind for k in self.kinds])].mean())
                for kind in SLICES.values() if kind in self.kinds
            })  # fmt: skip
        return rows

    def drawn(self) -> str:
        """The wheel as SVG."""
        return wheel(self.effects, self.slices, self.kinds)


def _wrong(slices: list[str], each: int) -> Pick:
    """The first wrong predictions of each slice."""

    def pick(right: Tensor) -> Tensor:
        found = []
        for name in SLICES:
            of = torch.tensor([one == name for one in slices])
            found.append((of & ~right).nonzero()[:each, 0])
        return torch.cat(found)

    return pick


def _effects(study: Path, pick: Pick) -> dict[str, Tensor]:
    world = Explained(study, "last:1", pick)
    solved = fastif.Dual().solve(world.matrix.damped(DAMPING), world.gradients)
    rows, asked = (
        fastif.embeddings(world.objective, some, fastif.every(some))
        for some in (world.train, world.asked)
    )
    return {
        "effects": world.scores(solved.value),
        "distances": torch.cdist(asked, rows),
        "picked": world.picked,
    }
