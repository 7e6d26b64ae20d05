"""What is said of a peer: its package, the call, its settings, and where it refuses."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import torch
from jaxtyping import Float
from torch import Tensor

from benchmarks.peers.package import find_version, load_function
from benchmarks.peers.plain import Plain
from benchmarks.peers.rows import has_mask

Options = Mapping[str, float | int | bool | None]
Scores = Callable[..., Float[Tensor, "q n"]]


@dataclass(frozen=True)
class Peer:
    """A method of another package with one setting.

    Attributes:
        name: as in tables.
        package: as in the package index.
        call: "file:function" beside this file, so that listing peers imports no package.
        settings: in words; {names} stand for options.
        options: the function's arguments; rows = None stands for all.
        text: other arguments for encoders, or the reason why it cannot do them.
        grid: the peer's name whose setting this one varies; "" for a peer's own setting.
    """

    name: str
    package: str
    call: str
    settings: str
    options: Options = field(default_factory=dict)
    text: Options | str = field(default_factory=dict)
    grid: str = ""

    @property
    def version(self) -> str | None:
        """The installed version; None if it is not installed."""
        return find_version(self.package)

    def explain_refusal(self, plain: Plain) -> str | None:
        """Why it cannot do this workload; None if it can."""
        is_refused = has_mask(plain.train_inputs) and isinstance(self.text, str)
        return str(self.text) if is_refused else None

    def select_options(self, plain: Plain) -> Options:
        """The arguments for this workload."""
        text = self.text if has_mask(plain.train_inputs) and not isinstance(self.text, str) else {}
        return {**self.options, **text}

    def describe(self, plain: Plain) -> str:
        """The settings in words, for this workload."""
        chosen, count = self.select_options(plain), len(plain.train_labels)
        return self.settings.format(**{**chosen, "rows": min(chosen.get("rows") or count, count)})

    @property
    def function(self) -> Scores:
        """Its function; from here on its package is imported."""
        return load_function("benchmarks.peers", self.call)

    def scores(self, plain: Plain, seed: int = 0) -> Float[Tensor, "q n"]:
        """Positive: the training row helps the query; without it the query's loss would rise."""
        torch.manual_seed(seed)
        return self.function(plain, seed, **self.select_options(plain))
