"""Registry of the compared sides: fastif, the published method and other packages."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from torch import Tensor

from benchmarks.bulk.sides.clock import Clock
from benchmarks.bulk.sides.problem import Problem
from benchmarks.bulk.sides.result import SideResult
from benchmarks.bulk.sides.sizes import Sizes
from benchmarks.peers.package import find_version, load_function
from benchmarks.peers.rows import by_length


@dataclass(frozen=True)
class Side:
    """One implementation that scores all queries.

    Attributes:
        title: Name in tables.
        call: Entry point "file:function" in this folder or in `benchmarks.peers`; a string, so
            that listing sides imports no package.
        description: Method and settings in words; {names} are filled with fields of `Sizes`.
        package: Name of the package that the side needs.
        against: Names of the fastif sides that it is compared with.
        goal: Speed-up over this side that the fastif sides should reach.
        every_round: Whether it runs in each round, or in the first alone.
        peer: Fields of `Sizes` that a function of `benchmarks.peers` takes after workload and
            seed; None for a function in this folder.
    """

    title: str
    call: str
    description: str
    package: str = "fastif"
    against: tuple[str, ...] = ()
    goal: float = 0.0
    every_round: bool = False
    peer: tuple[str, ...] | None = None

    @property
    def version(self) -> str | None:
        """Return the installed version of the package; None if it is not installed."""
        return find_version(self.package)

    @property
    def function(self) -> Callable[[Problem, Sizes, int, Clock], SideResult]:
        """Return the function of the side; imports its package."""
        if self.peer is None:
            return load_function("benchmarks.bulk.sides", self.call)
        return partial(answer_by_peer, load_function("benchmarks.peers", self.call), self.peer)


def answer_by_peer(
    function: Callable[..., Tensor],
    options: tuple[str, ...],
    problem: Problem,
    sizes: Sizes,
    turn: int,
    clock: Clock,
) -> SideResult:
    """Compute all scores with a function of another package, timed as a whole."""
    plain = by_length(problem.plain)[0]
    clock.time("answer", lambda: function(plain, turn, *(getattr(sizes, o) for o in options)))
    return SideResult()


SIDES: dict[str, Side] = {
    "published": Side(
        "the published method",
        "published:published",
        "LiSSA with J = {depth}, B = 1, damp 0.005, scale 10,000, then a backward pass a candidate"
        " through the whole model",
        against=("exact",),
        goal=100,
        every_round=True,
    ),
    "exact": Side(
        "fastif, exact",
        "ours:exact",
        "`Dual` over all {rows:,} rows at λ = {damping:g}, a full scan that keeps the top {keep}"
        " and bottom {keep} rows, and the whole certificate",
        every_round=True,
    ),
    "ekfac": Side(
        "fastif, EK-FAC",
        "ours:ekfac",
        "EK-FAC of the linear layers at λ = {ekfac_damping:g}, to a relative error of 0.001, every"
        " score, no certificate; batches of {batch} rows, {scan_batch} to score",
        every_round=True,
    ),
    "kronfluence": Side(
        "kronfluence, EK-FAC",
        "kronfluence:kronfluence",
        "EK-FAC of the linear layers at λ = {ekfac_damping:g}, labels sampled, every score;"
        " batches of {fit_batch} rows to fit and {train_batch} to score, all queries in one pass"
        " over the training rows, no low rank",
        "kronfluence",
        ("ekfac",),
        2,
        every_round=True,
    ),
    "dattri-arnoldi": Side(
        "dattri, Arnoldi",
        "dattri:arnoldi",
        "{krylov} Arnoldi steps and eigenvalues of the Hessian of {curvature} rows",
        "dattri",
        ("exact", "ekfac", "ekfac-rounded"),
        10,
        peer=("curvature", "krylov", "damping"),
    ),
    "dattri-cg": Side(
        "dattri, CG",
        "dattri:cg",
        "10 CG steps on the Hessian of {curvature} rows, each query separately",
        "dattri",
        ("exact", "ekfac"),
        10,
    ),
    "captum-arnoldi": Side(
        "captum, Arnoldi",
        "captum:arnoldi",
        "{krylov} Arnoldi steps and eigenvalues of the Hessian of {curvature} rows",
        "captum",
        ("exact", "ekfac", "ekfac-rounded"),
        10,
        peer=("curvature", "krylov", "krylov", "damping"),
    ),
    "captum-tracin": Side(
        "captum, TracInCP",
        "captum:tracin",
        "gradient products over all attributed parameters, no curvature",
        "captum",
        ("products", "products-rounded", "products-ranked", "ekfac"),
        10,
        peer=(),
    ),
    "captum-fast": Side(
        "captum, TracInCPFast",
        "captum:tracin_fast",
        "gradient products over the last linear layer, no curvature",
        "captum",
        ("last-products", "last-layer"),
        10,
        peer=(),
    ),
    "products": Side(
        "fastif, gradient products",
        "ours:products",
        "gradient products over all attributed parameters, every score; batches of {scan_batch}"
        " rows",
    ),
    "products-rounded": Side(
        "fastif, gradient products in bfloat16",
        "ours:products_rounded",
        "as gradient products, but gradients rounded to bfloat16 and their products summed in"
        " single precision",
    ),
    "products-ranked": Side(
        "fastif, gradient products of low rank",
        "ours:products_ranked",
        "as gradient products, but each query gradient of a linear layer has rank {rank}, and no"
        " training gradient is formed",
    ),
    "ekfac-rounded": Side(
        "fastif, EK-FAC in bfloat16",
        "ours:ekfac_rounded",
        "as fastif's EK-FAC, scored in bfloat16",
    ),
    "last-products": Side(
        "fastif, last layer's products",
        "ours:last_products",
        "gradient products over the last linear layer alone",
    ),
    "certified": Side(
        "fastif, EK-FAC certified",
        "ours:certified",
        "`Spectral` at λ = {ekfac_damping:g}, a full scan that keeps the top {keep} and bottom"
        " {keep} rows, and the whole certificate: the residual on the exact curvature of all rows",
    ),
    "last-layer": Side(
        "fastif, last layer",
        "ours:last_layer",
        "as fastif's EK-FAC, but only the last linear layer is attributed",
    ),
}
"""Sides by name, in the order of the rounds and of the tables."""
