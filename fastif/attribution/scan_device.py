"""Devices that join a full scan, each with its own copies of the models and of their scorers."""

import copy
import logging
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field, replace

import torch
from jaxtyping import Int
from torch import Tensor

from fastif.attribution.low_rank_scorer import LowRankFactors, LowRankScorer
from fastif.attribution.ranking import GradientCosines, Ranking
from fastif.attribution.row_parts import WHOLE, RowParts
from fastif.attribution.scorers import GradientScorer, Scorer
from fastif.data.examples import Batch, Examples, WrappedExamples
from fastif.errors import InputError
from fastif.gradients.gradient_tile import aligned_rows
from fastif.gradients.per_example import Gradients
from fastif.gradients.route import get_route
from fastif.models.batch_invariance import get_full_objective
from fastif.models.objective import Objective
from fastif.models.padding import add_padding
from fastif.models.parameter_subset import ParameterSubset
from fastif.models.prefix_cache import PrefixCache
from fastif.numerics.out_of_memory import is_out_of_memory

logger = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class ScanDevice:
    """Device with a copy of each model of the scan.

    A copy is needed for each device, also for several of one processor, because a model in a pass
    cannot take another one.

    Attributes:
        name: Name for messages.
        objectives: Copy of the objective of each scorer, in their order, all on one device.
        is_wanted: Function that returns whether other work waits for the device, which then leaves
            the scan after its batch.
    """

    name: str
    objectives: Sequence[Objective]
    is_wanted: Callable[[], bool] = field(default=lambda: False)

    @property
    def torch(self) -> torch.device:
        """Device as a torch object."""
        return self.objectives[0].like.device


class FurtherDevices(ABC):
    """Devices that join a full scan while nothing else needs them.

    Attributes:
        count: Largest number of devices that join at once.
        parts: Part of the training rows that the scan covers.
    """

    count: int
    parts: RowParts = WHOLE

    @abstractmethod
    def lease(self) -> AbstractContextManager[ScanDevice | None]:
        """Context manager that yields a free device to this thread alone; None if none is free.

        It never waits, so that two scans cannot wait for each other.
        """

    def report_failure(self, error: Exception) -> None:
        """Tell that a device left the scan with an error, and that the others scan its rows."""
        logger.warning("A device left the scan: %s. The others scan its rows.", error)


class FixedDevices(FurtherDevices):
    """Given devices, each of which joins one scan at a time.

    Args:
        devices: Devices next to that of the attributor's own models.

    Raises:
        InputError: Two devices have the same copy of a model.
    """

    def __init__(self, devices: Sequence[ScanDevice]) -> None:
        copies = [id(objective) for device in devices for objective in device.objectives]
        if len(set(copies)) < len(copies):
            raise InputError(
                "devices of a scan",
                "a copy of each model for each device",
                "one model for several devices",
                "Make a copy for each device, such as copy.deepcopy(model).to(device).",
            )
        self.count = len(devices)
        self._free = list(devices)

    @contextmanager
    def lease(self) -> Iterator[ScanDevice | None]:
        try:
            device = self._free.pop()  # atomic
        except IndexError:
            yield None
            return
        is_gpu = device.torch.type == "cuda"
        with torch.cuda.device(device.torch) if is_gpu else nullcontext():
            yield device
        self._free.append(device)  # not after an error: it has left


def is_device_error(error: BaseException | None) -> bool:
    """Whether an error, or what caused it, is of a device: out of memory, or an error of CUDA."""
    if error is None:
        return False
    is_of_cuda = isinstance(error, torch.AcceleratorError) or "CUDA error" in str(error)
    return is_out_of_memory(error) or is_of_cuda or is_device_error(error.__cause__)


def can_copy(scorers: Sequence[Scorer]) -> bool:
    """Whether all scorers compute training gradients, which a copy on another device can do too."""
    return all(isinstance(scorer, GradientScorer | LowRankScorer) for scorer in scorers)


def copy_scorers(
    scorers: Sequence[Scorer], ranking: Ranking | None, device: ScanDevice
) -> tuple[list[Scorer], Ranking | None]:
    """Return the scorers and the ranking for the models on another device.

    They hold s_test there. Hidden states of frozen layers stay with the first device, from which
    they are copied batch by batch; those that are not cached are computed on the other device.

    Raises:
        InputError: The device has other models.
    """
    originals = [_get_objective(scorer) for scorer in scorers]
    if len(device.objectives) != len(originals):
        raise _device_error(device, len(originals), f"{len(device.objectives)} models")
    for original, objective in zip(originals, device.objectives, strict=True):
        if not _has_equal_weights(original, objective):
            raise _device_error(device, len(originals), "a model with other weights")
    copies = dict(zip(map(id, originals), device.objectives, strict=True))
    ranking = _copy_ranking(ranking, copies) if isinstance(ranking, GradientCosines) else ranking
    return [_copy_scorer(scorer, copies) for scorer in scorers], ranking


def _device_error(device: ScanDevice, count: int, got: str) -> InputError:
    return InputError(
        f"device {device.name} of a scan",
        f"a copy of each of {count} models",
        got,
        "Give every device a copy of each model in the mean, in the same order.",
    )


def _has_equal_weights(original: Objective, objective: Objective) -> bool:
    """Whether the attributed parameters are equal."""
    first, second = original.params, objective.params
    return first.keys() == second.keys() and all(
        torch.equal(first[name].to(tensor.device), tensor) for name, tensor in second.items()
    )


def _copy_scorer(scorer: Scorer, copies: dict[int, Objective]) -> Scorer:
    assert isinstance(scorer, GradientScorer | LowRankScorer), "see can_copy"
    objective = copies[id(_get_objective(scorer))]
    device = objective.like.device
    gradients = _copy_gradients(scorer.gradients, objective)
    train = copy_examples(scorer.train, copies, device)
    if isinstance(scorer, GradientScorer):
        s_test = scorer.s_test.to(device)
        return replace(scorer, gradients=gradients, train=train, s_test=s_test)
    factors = {
        name: LowRankFactors(layer.left.to(device), layer.right.to(device))
        for name, layer in scorer.factors.items()
    }
    full_rank = {name: block.to(device) for name, block in scorer.full_rank.items()}
    return replace(scorer, gradients=gradients, train=train, factors=factors, full_rank=full_rank)


def _copy_ranking(ranking: GradientCosines, copies: dict[int, Objective]) -> GradientCosines:
    objective = copies[id(get_full_objective(ranking.gradients.objective))]
    device = objective.like.device
    return replace(
        ranking,
        gradients=_copy_gradients(ranking.gradients, objective),
        train=copy_examples(ranking.train, copies, device),
        directions=ranking.directions.to(device),
    )


def _get_objective(scorer: Scorer) -> Objective:
    assert isinstance(scorer, GradientScorer | LowRankScorer), "see can_copy"
    return get_full_objective(scorer.gradients.objective)


def _copy_gradients(gradients: Gradients, objective: Objective) -> Gradients:
    """Return gradients of a copy of the objective, with the same settings and route."""
    original = gradients.objective
    if isinstance(original, ParameterSubset):
        objective = ParameterSubset(objective, original.space.names)
    copied = copy.copy(gradients)
    copied.objective, copied.route = objective, get_route(objective)
    dtype = gradients._workspace.dtype
    copied._workspace = aligned_rows(objective.like, 0, objective.space.size, dtype)
    if gradients.per_example_backward:
        copied.per_example_backward = True
    return copied


def copy_examples(
    examples: Examples, copies: dict[int, Objective], device: torch.device
) -> Examples:
    """Return a view of examples with batches on another device.

    Args:
        examples: Examples, as such or wrapped.
        copies: Copies of objectives on the device, by the `id` of the original.
        device: Device of the batches.
    """
    if not isinstance(examples, WrappedExamples):
        return MovedExamples(examples, device)
    inner = copy_examples(examples.examples, copies, device)
    if isinstance(examples, PrefixCache) and id(examples.objective) in copies:
        return BorrowedStates(examples, inner, copies[id(examples.objective)])
    if isinstance(examples, PrefixCache):
        return MovedExamples(examples, device)
    view = copy.copy(examples)
    view.examples = inner
    return view


class MovedExamples(WrappedExamples):
    """Examples with batches on another device."""

    def __init__(self, examples: Examples, device: torch.device) -> None:
        super().__init__(examples.to_device(device))
        self.device = device

    def take(self, ids: Int[Tensor, " b"]) -> Batch:
        return _move(self.examples.take(ids), self.device)

    def take_targets(self, ids: Int[Tensor, " b"]) -> Batch:
        return _move(self.examples.take_targets(ids), self.device)


class BorrowedStates(WrappedExamples):
    """Examples with hidden states from the cache of another device, as far as it holds them.

    Args:
        cache: Cache on the other device.
        examples: Equal examples without hidden states, with batches on this device.
        objective: Copy of the model on this device, for hidden states that are not cached.
    """

    def __init__(self, cache: PrefixCache, examples: Examples, objective: Objective) -> None:
        super().__init__(examples)
        self.cache, self.objective = cache, objective

    def take(self, ids: Int[Tensor, " b"]) -> Batch:
        cache, device = self.cache, self.objective.like.device
        in_table = cache.table.contains(ids)
        is_in_file = cache.file is not None and all(
            place in cache.file for place in ids[~in_table].tolist()
        )
        if not (is_in_file or bool(in_table.all())):
            return self.objective.compute_prefix(self.examples.take(ids))
        batch = self.objective.align_padding(self.examples.take_targets(ids))
        if bool(in_table.all()):
            on_first = _move(batch, cache.objective.like.device)
            return {**batch, "hidden": cache.table.gather(ids, on_first).to(device)}
        assert cache.file is not None
        rows = [row.to(device) for row in cache._read_rows(cache.file, ids)]
        return {**batch, "hidden": add_padding(rows, batch)}


def _move(batch: Batch, device: torch.device) -> Batch:
    return {name: tensor.to(device) for name, tensor in batch.items()}
