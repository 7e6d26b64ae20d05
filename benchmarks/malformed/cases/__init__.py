"""Lists of cases, one a kind of input."""

from benchmarks.malformed.case import Case
from benchmarks.malformed.cases.models import MODELS
from benchmarks.malformed.cases.odd_files import ODD_FILES
from benchmarks.malformed.cases.options import OPTIONS
from benchmarks.malformed.cases.results import RESULTS
from benchmarks.malformed.cases.rights import RIGHTS
from benchmarks.malformed.cases.stores import STORES
from benchmarks.malformed.cases.studies import STUDIES
from benchmarks.malformed.cases.tables import TABLES

CASES: tuple[Case, ...] = (
    *TABLES,
    *MODELS,
    *STUDIES,
    *STORES,
    *RESULTS,
    *OPTIONS,
    *ODD_FILES,
    *RIGHTS,
)
