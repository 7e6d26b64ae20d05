"""Scores, size and cost of sketches of several sizes."""

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
    """Size of a sketch, width of the count sketch before it, and explained variance ratio kept."""

    dimensions: int
    width: int
    energy: float = ENERGY

    @property
    def name(self) -> str:
        whole = ", nothing narrowed" if self.energy == 1 else ""
        return f"sketch {self.dimensions:,}, width {self.width:,}{whole}"

    @property
    def key(self) -> str:
        """Return the name of the cached files."""
        return f"sketch-{self.dimensions}-{self.width}-{self.energy:g}"


SIZES = (
    Size(1_024, 16_384),
    Size(2_048, 16_384),
    Size(4_096, 16_384),
    Size(4_096, 32_768),
    Size(4_096, 16_384, energy=1.0),
)
MOST_BYTES = 8_192
"""Limit of the bytes of a training row."""


@dataclass(frozen=True, eq=False)
class SketchScores:
    """Scores by sketches and their cost.

    Attributes:
        scores: Removal effects estimated from the sketches, [q n].
        bytes_a_row: Bytes of the sketch of a training row in half precision.
        fit_seconds: Seconds of the fit of the basis, once.
        row_seconds: Seconds of the gradient and the sketch of a training row.
        score_milliseconds: Milliseconds to score all rows for a query, 64 queries together.
    """

    scores: Float[Tensor, "q n"]
    bytes_a_row: int
    fit_seconds: float
    row_seconds: float
    score_milliseconds: float

    def cost(self) -> dict[str, float]:
        """Return all fields but the scores."""
        return {name: value for name, value in asdict(self).items() if name != "scores"}


def read_sketch_scores(study: Study, size: Size) -> SketchScores:
    """Return the scores by sketches of this size; cached."""
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
    """Return the inner products of all pairs, and the minimum seconds of some rounds.

    The rows are converted to single precision before, as in an index.
    """
    single, seconds, scores = rows.float(), [], queries
    for _ in range(rounds):
        start = time.perf_counter()
        scores = queries @ single.T
        seconds.append(time.perf_counter() - start)
    return scores, min(seconds)
