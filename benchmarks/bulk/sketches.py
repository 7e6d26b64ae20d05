"""Sketches of several sizes: what they find, what they hold, and what they cost."""

import json
import time
from dataclasses import asdict, dataclass

from jaxtyping import Float
from torch import Tensor

from benchmarks.bulk.study import BATCH, Study
from fastif.candidates import GradientSketcher, compute_query_sketches, compute_train_sketches
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
class SketchScores:
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


def read_sketch_scores(study: Study, size: Size) -> SketchScores:
    """By sketches of this size; kept once they have been taken."""
    path = study.folder / f"{size.key}.json"
    if not path.is_file():
        scores = _compute_sketch_scores(study, size)
        study.cached_tensors(size.key, lambda: {"scores": scores.scores})
        path.write_text(json.dumps(scores.cost()))
    return SketchScores(**study.cached_tensors(size.key, dict), **json.loads(path.read_text()))


def _compute_sketch_scores(study: Study, size: Size) -> SketchScores:
    corpus, gradients = study.corpus, study.matrix.gradients
    start = time.perf_counter()
    sketcher = GradientSketcher.fit(study.matrix, study.choice.effective_damping, **asdict(size))
    fitted = time.perf_counter()
    rows = compute_train_sketches(sketcher, gradients, corpus.train.with_batch_size(BATCH))
    gradients_done = time.perf_counter()
    query_sketches = compute_query_sketches(
        sketcher, gradients, corpus.query_examples.with_batch_size(BATCH)
    )
    scores, seconds = products(query_sketches, rows)
    return SketchScores(
        scores / len(rows),
        rows.element_size() * rows.shape[1],
        fitted - start,
        (gradients_done - fitted) / len(rows),
        1000 * seconds / len(query_sketches),
    )


def products(
    queries: Float[Tensor, "q d"], rows: Float[Tensor, "n d"], rounds: int = 5
) -> tuple[Float[Tensor, "q n"], float]:
    """Inner products of all pairs, and the least seconds of some rounds.

    The rows are made single again before: that is how an index holds them.
    """
    single, seconds, scores = rows.float(), [], queries
    for _ in range(rounds):
        start = time.perf_counter()
        scores = queries @ single.T
        seconds.append(time.perf_counter() - start)
    return scores, min(seconds)
