"""Description of a peer: package, function, settings, and unsupported workloads."""

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
        name: Name in tables.
        package: Name in the package index.
        call: Entry point "file:function" in this folder; a string, so that listing peers imports
            no package.
        settings: Settings in words; {names} are filled with options.
        options: Arguments of the function; rows = None stands for all rows.
        text: Other arguments for encoders, or the reason why they are not supported.
        grid: Name of the peer with recommended settings that this one varies; "" for that peer.
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
        """Installed version; None if the package is not installed."""
        return find_version(self.package)

    def explain_refusal(self, plain: Plain) -> str | None:
        """Return the reason why it does not support a workload; None if it does."""
        is_refused = has_mask(plain.train_inputs) and isinstance(self.text, str)
        return str(self.text) if is_refused else None

    def select_options(self, plain: Plain) -> Options:
        """Return the arguments for a workload."""
        text = self.text if has_mask(plain.train_inputs) and not isinstance(self.text, str) else {}
        return {**self.options, **text}

    def describe(self, plain: Plain) -> str:
        """Return the settings in words for a workload."""
        chosen, count = self.select_options(plain), len(plain.train_labels)
        return self.settings.format(**{**chosen, "rows": min(chosen.get("rows") or count, count)})

    @property
    def function(self) -> Scores:
        """Import its package and return its function."""
        return load_function("benchmarks.peers", self.call)

    def scores(self, plain: Plain, seed: int = 0) -> Float[Tensor, "q n"]:
        """Scores, positive if the row helps: without it the loss of the query would rise."""
        torch.manual_seed(seed)
        return self.function(plain, seed, **self.select_options(plain))
