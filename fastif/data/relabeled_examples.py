"""Other examples with replaced labels."""

from jaxtyping import Int, Shaped
from torch import Tensor

from fastif.data.arrays import check_label_count
from fastif.data.examples import Batch, Examples, WrappedExamples


class RelabeledExamples(WrappedExamples):
    """Other examples with replaced labels.

    Raises:
        InputError: The number of labels differs from that of the examples.
    """

    def __init__(self, examples: Examples, labels: Shaped[Tensor, "n *t"]) -> None:
        check_label_count(len(examples), len(labels), "RelabeledExamples")
        super().__init__(examples)
        self.labels = labels

    def take(self, ids: Int[Tensor, " b"]) -> Batch:
        return self._relabel(self.examples.take(ids), ids)

    def take_targets(self, ids: Int[Tensor, " b"]) -> Batch:
        return self._relabel(self.examples.take_targets(ids), ids)

    def _relabel(self, batch: Batch, ids: Int[Tensor, " b"]) -> Batch:
        return {**batch, "labels": self.labels[ids].to(batch["labels"].device)}
