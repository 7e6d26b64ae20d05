"""All mutants, by what they spoil."""

from tests.mutants.choices import CHOICES
from tests.mutants.curvature import CURVATURE
from tests.mutants.labels import LABELS
from tests.mutants.leverage import LEVERAGE
from tests.mutants.nights import NIGHTS
from tests.mutants.planning import PLANNING
from tests.mutants.reading import READING
from tests.mutants.reviews import REVIEWS
from tests.mutants.scoring import SCORING
from tests.mutants.solving import SOLVING
from tests.mutants.taking import TAKING

MUTANTS = (
    *READING,
    *TAKING,
    *CURVATURE,
    *SOLVING,
    *SCORING,
    *LEVERAGE,
    *NIGHTS,
    *CHOICES,
    *PLANNING,
    *LABELS,
    *REVIEWS,
)
