"""Trial of a model on a sample of rows: predictions, and lengths of the texts in tokens."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from transformers import PreTrainedTokenizerBase

import fastif
from fastif.models.adapter import get_adapter
from fastif.models.max_positions import find_max_length
from tasks.runtime.devices import resolve_devices
from tasks.study.device_names import AUTO

MAX_TRIAL_TOKENS = 256
"""Largest number of tokens of a text in a trial, which is only about labels and columns."""
NO_LIMIT = 10**6
"""Length from which the tokenizer's limit means that there is none."""


@dataclass(frozen=True, eq=False)
class ModelTrial:
    """Loaded model that predicts a sample of rows.

    Attributes:
        objective: Classifier with its loss.
        tokenizer: Tokenizer of the classifier.
        longest: Largest number of tokens that model and tokenizer allow; None without a limit.
    """

    objective: fastif.TransformerObjective
    tokenizer: PreTrainedTokenizerBase
    longest: int | None

    def predict(self, texts: Sequence[str], pairs: Sequence[str] | None) -> np.ndarray:
        """Return the log probability of every output for each text, or pair of texts, [n, c]."""
        length = min(self.longest or MAX_TRIAL_TOKENS, MAX_TRIAL_TOKENS)
        examples = fastif.encode(
            self.tokenizer,
            texts,
            pairs,
            [0] * len(texts),
            length,
            self.objective.like.device,
        )
        if self.objective.padding.side is None:
            examples = examples.with_equal_lengths()
        with torch.no_grad():
            outputs, _ = fastif.predict(self.objective, examples)
        return outputs.double().log_softmax(1).cpu().numpy()

    def count_tokens(self, texts: Sequence[str], pairs: Sequence[str] | None) -> np.ndarray:
        """Return the number of tokens of each text, or pair of texts, with special tokens."""
        second = None if pairs is None else list(pairs)
        encoded = self.tokenizer(list(texts), second, verbose=False)
        return np.array([len(row) for row in encoded["input_ids"]])


def load_trial(folder: Path) -> ModelTrial:
    """Load the model and the tokenizer of a folder.

    Raises:
        InputError: They cannot be loaded, or do not fit each other.
    """
    model = fastif.load_model(folder)
    limits = [find_max_length(model)]
    tokenizer = fastif.load_tokenizer(folder, model)
    limits.append(int(min(tokenizer.model_max_length, NO_LIMIT)))
    limits = [limit for limit in limits if limit is not None and limit < NO_LIMIT]
    model.to(resolve_devices(AUTO)[0].torch)  # type: ignore[arg-type]
    objective = fastif.TransformerObjective(
        model,
        "adapter" if get_adapter(model) else "last:1",
        fastif.CrossEntropy(),
        fastif.CrossEntropy(),
    )
    return ModelTrial(objective, tokenizer, min(limits, default=None))
