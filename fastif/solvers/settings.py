"""Hyper-parameters of the solvers: the records of a study, without the algorithms and torch."""

from dataclasses import dataclass, field, fields, replace
from typing import Any, ClassVar, Literal

from fastif.errors import InputError
from fastif.solvers.check_positive import check_positive

Preconditioner = Literal["none", "ekfac", "eigen", "drawn"]
Products = Literal["single", "tf32", "bf16"]
"""Precision of products before the residual: single, TF32 on a GPU, or bfloat16 on a CPU."""

MEGABYTE = 10**6

PRESETS: dict[str, dict[str, object]] = {
    "fastif": {"depth": 1000, "repeats": 1, "batch": 1, "scale": 1e4, "preconditioner": "none"}
}
EFFECTIVE_DAMPING = {"fastif": 5e-3 * 1e4}


class SolverSettings:
    """Hyper-parameters of a solver, and the requirements that a study is checked against.

    A subclass is a frozen dataclass. `fastif.solvers.build.build_solver` makes the solver. A field
    with the metadata `is_new` is left out of the identity of a run at its default, so that old
    runs keep it.

    Attributes:
        requires_damping: Whether a study needs λ > 0 for this solver.
        requires_factored: Whether the curvature must have a factor, G = VᵀV / n.
        kind: Name of the solver in a study file and in the store, see `SOLVERS`.
    """

    requires_damping: ClassVar[bool] = True
    requires_factored: ClassVar[bool] = False
    kind: Any  # a string, which each solver narrows to its own literal
    __pydantic_config__: ClassVar[dict] = {"extra": "forbid"}

    @property
    def effective_damping(self) -> float | None:
        """Effective damping λ fixed by the hyper-parameters; None for most solvers."""
        return None


@dataclass(frozen=True)
class DualSettings(SolverSettings):
    """Hyper-parameters of `Dual`, which describes them."""

    requires_factored: ClassVar[bool] = True

    block_rows: int = field(default=128, metadata={"changes_answers": False})
    rank: int | None = None
    memory_mb: int = field(default=3200, metadata={"changes_answers": False})
    products: Products = field(default="single", metadata={"is_new": True})
    kind: Literal["dual"] = "dual"

    def __post_init__(self) -> None:
        check_positive(self)
        if self.rank is not None and self.products != "single":
            raise InputError(
                "[solver] products",
                '"single" with a rank, whose factor is refined by passes in single precision',
                f'"{self.products}"',
                "Remove products, or the rank.",
            )

    def count_megabytes(self, rows: int) -> int:
        """Return the memory of the Gram matrix of so many factor rows, or of its columns, in MB."""
        return -(-8 * rows * min(rows, self.rank or rows) // MEGABYTE)


@dataclass(frozen=True)
class ConjugateGradientSettings(SolverSettings):
    """Hyper-parameters of `ConjugateGradient`, which describes them."""

    tolerance: float = 1e-3
    max_steps: int = 200
    preconditioner: Preconditioner = "none"
    rank: int = 100
    kind: Literal["cg"] = "cg"

    def __post_init__(self) -> None:
        check_positive(self)


@dataclass(frozen=True)
class SpectralSettings(SolverSettings):
    """Hyper-parameters of `Spectral`, which describes them."""

    requires_factored: ClassVar[bool] = True

    labels: Literal["auto", "exact", "sampled"] = "auto"
    negligible: float = 1e-3
    tolerance: float = 1.0
    seed: int = 0
    products: Products = field(default="single", metadata={"is_new": True})
    kind: Literal["spectral"] = "spectral"

    def __post_init__(self) -> None:
        check_positive(self)
        if not self.negligible < 1:
            raise InputError(
                "[solver] negligible",
                "a relative error below 1",
                f"{self.negligible}",
                "Remove it for the default, 0.001.",
            )


@dataclass(frozen=True)
class LissaSettings(SolverSettings):
    """Hyper-parameters of `Lissa`, which describes them."""

    depth: int | Literal["auto"] = "auto"
    repeats: int = 1
    batch: int = 32
    scale: float | Literal["auto"] = "auto"
    tolerance: float = 0.1
    max_steps: int = 10_000
    seed: int = 0
    preconditioner: Preconditioner = "none"
    rank: int = 100
    preset: Literal["fastif"] | None = None
    kind: Literal["lissa"] = "lissa"

    def __post_init__(self) -> None:
        check_positive(self)
        defaults = {item.name: item.default for item in fields(self)}
        for name, value in PRESETS.get(self.preset or "", {}).items():
            configured = getattr(self, name)
            if configured not in (defaults[name], value):
                raise InputError(
                    f"[solver] {name}",
                    f'{value}, the value of the preset "{self.preset}"',
                    f"{configured}",
                    f"Remove {name} or the preset.",
                )
            object.__setattr__(self, name, value)

    @property
    def effective_damping(self) -> float | None:
        """Effective damping λ of the preset: the paper's damping times its scale, or None."""
        return EFFECTIVE_DAMPING.get(self.preset or "")


@dataclass(frozen=True)
class DirectSettings(SolverSettings):
    """Hyper-parameters of `Direct`, which describes them."""

    requires_damping: ClassVar[bool] = False

    kind: Literal["direct"] = "direct"


def reset_sizes(settings: SolverSettings) -> SolverSettings:
    """Return the settings with the default of every field that changes only speed and memory.

    Examples:
        >>> reset_sizes(DualSettings(block_rows=7, rank=9))
        DualSettings(block_rows=128, rank=9, memory_mb=3200, products='single', kind='dual')
    """
    sizes = {
        item.name: item.default
        for item in fields(settings)  # type: ignore[arg-type]
        if not item.metadata.get("changes_answers", True)
    }
    return replace(settings, **sizes)  # type: ignore[type-var]
