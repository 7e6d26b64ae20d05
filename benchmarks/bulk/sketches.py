"""Sketches of several sizes: what they find, what they hold, and what they cost."""

import json
import time
from dataclasses import asdict, dataclass

from jaxtyping import Float
from torch import Tensor

import fastif
from benchmarks.bulk.study import BATCH, Study
from fastif.candidates.layer_projection import ENERGY


@dataclass(frozen=True)
class Size:
    """Numbers a sketch, the width that gradients are folded to before, and what of them is kept."""

    dimensions: int
    width: int
    energy: float = ENERGY

    @property
    def name(self) -> str:
        whole = ", nothing narrowed" if self.energy == 1 else ""
        return f"sketch {self.dimensions:,}, width {self.width:,}{whole}"

    @property
    def key(self) -> str:
        """Names the files."""
        return f"sketch-{self.dimensions}-{self.width}-{self.energy:g}"


SIZES = (
    Size(1_024, 16_384),
    Size(2_048, 16_384),
    Size(4_096, 16_384),
    Size(4_096, 32_768),
    Size(4_096, 16_384, energy=1.0),
)
MOST_BYTES = 8_192
"""A training row may take so many."""


@dataclass(frozen=True, eq=False)
class Sketched:
    """Scores by sketches and their price.

    Attributes:
        scores: removal effects as the sketches have them.
        bytes_a_row: of a training row's sketch, in half precision.
        fit_seconds: once, to find the basis.
        row_seconds: to take a training row's gradient and sketch it.
        score_milliseconds: a query against all rows, 64 queries together.
    """

    scores: Float[Tensor, "q n"]
    bytes_a_row: int
    fit_seconds: float
    row_seconds: float
    score_milliseconds: float

    def cost(self) -> dict[str, float]:
        """Everything but the scores."""
        return {name: value for name, value in asdict(self).items() if name != "scores"}


def sketched(study: Study, size: Size) -> Sketched:
    """By sketches of this size; kept once they have been taken."""
    path = study.folder / f"{size.key}.json"
    if not path.is_file():
        made = _sketched(study, size)
        study.kept(size.key, lambda: {"scores": made.scores})
        path.write_text(json.dumps(made.cost()))
    return Sketched(**study.kept(size.key, dict), **json.loads(path.read_text()))


def _sketched(study: Study, size: Size) -> Sketched:
    corpus, gradients = study.corpus, study.matrix.gradients
    start = time.perf_counter()
    sketcher = fastif.Sketcher.fit(study.matrix, study.choice.effective, **asdict(size))
    fitted = time.perf_counter()
    rows = fastif.train_sketches(
        sketcher, gradients, corpus.train, fastif.every(corpus.train), BATCH
    )
    taken = time.perf_counter()
    asked = fastif.query_sketches(
        sketcher, gradients, corpus.asked, fastif.every(corpus.asked), BATCH
    )
    scores, seconds = products(asked, rows)
    return Sketched(
        scores / len(rows),
        rows.element_size() * rows.shape[1],
        fitted - start,
        (taken - fitted) / len(rows),
        1000 * seconds / len(asked),
    )


def products(
    asked: Float[Tensor, "q d"], rows: Float[Tensor, "n d"], rounds: int = 5
) -> tuple[Float[Tensor, "q n"], float]:
    """Inner products of all pairs, and the least seconds of some rounds.

    The rows are made single again before: that is how an index holds them.
    """
    single, took, found = rows.float(), [], asked
    for _ in range(rounds):
        start = time.perf_counter()
        found = asked @ single.T
        took.append(time.perf_counter() - start)
    return found, min(took)
