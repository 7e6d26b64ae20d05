"""All mutants, by what they spoil."""

from tests.mutants.curvature import CURVATURE
from tests.mutants.nights import NIGHTS
from tests.mutants.reading import READING
from tests.mutants.scoring import SCORING
from tests.mutants.solving import SOLVING

MUTANTS = (*READING, *CURVATURE, *SOLVING, *SCORING, *NIGHTS)
