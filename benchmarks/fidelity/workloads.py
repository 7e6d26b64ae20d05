"""All workloads of the fidelity benchmark, by name."""

from collections.abc import Callable
from pathlib import Path

from benchmarks.fidelity.mnist import MnistMlp
from benchmarks.fidelity.texts import MultiNli, NoisyNews, Sst2
from benchmarks.fidelity.titanic import TitanicMlp
from benchmarks.fidelity.workload import Workload

WORKLOADS: dict[str, Callable[[Path], Workload]] = {
    make.name: make for make in (MnistMlp, Sst2, NoisyNews, TitanicMlp, MultiNli)
}
