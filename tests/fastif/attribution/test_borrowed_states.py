"""Hidden states of frozen layers in a scan by several devices."""

import threading
from contextlib import contextmanager, nullcontext
from dataclasses import replace

import pytest
import torch
from joining_devices import Joining
from pretended_device import DEVICE, Elsewhere
from transformers import BertConfig, BertForSequenceClassification

import fastif
from fastif import Attributor, ExhaustiveSearch, GaussNewton
from fastif.attribution.scan_device import ScanDevice
from fastif.models.prefix_cache import PrefixCache


class Texts:
    """A small BERT with frozen layers on a device, and its tables."""

    def __init__(self, device: torch.device, budget: int) -> None:
        config = BertConfig(
            vocab_size=30, hidden_size=8, num_hidden_layers=2, num_attention_heads=2,
            intermediate_size=12, num_labels=3, attn_implementation="eager",
        )  # fmt: skip
        with torch.random.fork_rng():
            torch.manual_seed(0)
            model = BertForSequenceClassification(config).eval()
        generator = torch.Generator().manual_seed(1)
        lengths = [3, 7, 5, 4] * 6
        tokens = [torch.randint(1, 30, (length,), generator=generator) for length in lengths]
        labels = torch.randint(3, (len(tokens),), generator=generator)
        cut = torch.zeros(len(tokens), dtype=torch.bool)
        self.objective = fastif.TransformerObjective(model.to(device), "last:1")
        texts = fastif.TextExamples(tokens, None, labels, cut, 0, device, batch_size=3)
        self.train, self.queries = PrefixCache(self.objective, texts, budget, 4), texts
        curvature = GaussNewton(self.objective, self.train).with_damping(0.1)
        self.attributor = Attributor(
            self.objective, self.train, curvature, fastif.Direct(),
            ExhaustiveSearch(5), certify_rows=8, leverage="off",
        )  # fmt: skip


class Counting(Joining):
    """Devices whose threads see the simulated device, and that tell when one has scanned."""

    def __init__(self, devices, mode):
        super().__init__(devices)
        self.mode, self.used, self.joined = mode, [], threading.Event()

    @contextmanager
    def lease(self):
        with self.mode(), super().lease() as device:
            if device is not None:
                self.used.append(device)
            yield None if device is None else replace(device, is_wanted=self._mark)

    def _mark(self) -> bool:
        """Called before each batch: the second time one is scanned."""
        if len(self.used) > 1:
            self.joined.set()
        self.used.append(None)
        return False


HERE = torch.device("cpu")
CASES = {
    "no cache": (HERE, HERE, 0),
    "some cached": (HERE, HERE, 2000),
    "all cached": (HERE, HERE, 10**6),
}
SLOW = {
    "to another device": (HERE, DEVICE, 2000),
    "from another device": (DEVICE, HERE, 2000),
}


@pytest.mark.default_cases("some cached")
@pytest.mark.parametrize(
    ("first", "second", "budget"),
    [*CASES.values(), *(pytest.param(*case, marks=pytest.mark.long) for case in SLOW.values())],
    ids=[*CASES, *SLOW],
)
def test_hidden_states_are_borrowed_and_tensors_stay_on_their_device(
    first, second, budget, monkeypatch
):
    mode = nullcontext if first == second else Elsewhere
    with mode():
        texts, other = Texts(first, budget), Texts(second, 0)
        expected = texts.attributor(texts.queries, torch.arange(4))
        computed = []
        run = other.objective.compute_prefix
        monkeypatch.setattr(
            other.objective, "compute_prefix", lambda batch: computed.append(batch) or run(batch)
        )
        devices = Counting([ScanDevice("second", [other.objective])], mode)
        take, main = texts.train.take, threading.get_ident()

        def take_together(ids):
            if devices.used and threading.get_ident() == main:
                devices.joined.wait(20)
            return take(ids)

        monkeypatch.setattr(texts.train, "take", take_together)
        actual = texts.attributor(texts.queries, torch.arange(4), further=devices)
    assert not devices.failures
    assert len(devices.used) > 2, "the second device took no part"
    assert actual.influences.ids.equal(expected.influences.ids)
    assert actual.influences.removal_effect.equal(expected.influences.removal_effect)
    assert (not computed) == (budget == 10**6), "states that are cached are not computed again"
