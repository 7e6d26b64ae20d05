"""Text embeddings: mean-pooled hidden states of an encoder that was not trained on the labels."""

import torch
from jaxtyping import Float, Int
from torch import Tensor
from transformers import PreTrainedModel

from fastif.data.examples import (
    FORWARD_BATCH_SIZE,
    Batch,
    Examples,
)
from fastif.errors import InputError
from fastif.models.model_inputs import select_model_inputs
from fastif.models.padding import (
    Padding,
    align_padding,
    iterate_rows,
    run_by_length,
    select_padding,
)
from fastif.models.probe_batch import select_probe_rows
from fastif.models.single_precision import is_within_rounding

PADDING_TRIALS = 4
"""Number of texts on which padding is verified."""


@torch.no_grad()
def mean_pool(
    encoder: PreTrainedModel,
    examples: Examples,
    ids: Int[Tensor, " m"],
    batch_size: int = FORWARD_BATCH_SIZE,
) -> Float[Tensor, "m 2 d"]:
    """Embed texts by mean pooling: mean hidden state over the tokens, middle and last layer.

    Batches are padded only if padding leaves the hidden states of each text unchanged. In a causal
    decoder the first token has read no other, and its state often has the largest norm of all. So
    it is left out there, if there are others.

    Args:
        encoder: Transformer without a classification head.
        examples: Tokenized texts.
        ids: Positions of the texts to embed, [m].
        batch_size: Texts in a forward pass without gradients; overrides that of `examples`.

    Returns:
        Embeddings in the order of `ids`, [m, 2, d]: middle layer, last layer.
    """
    probe = examples.take(ids[select_probe_rows(examples.subset(ids), PADDING_TRIALS)])
    causal = _is_causal(encoder, probe)
    padding = _select_padding(encoder, probe, causal)
    position_batches, embeddings = [], []
    for positions, batch in examples.batches(ids, batch_size):
        position_batches.append(positions)
        hidden_means = run_by_length(
            padding,
            align_padding(batch, padding),
            lambda padded: _mean_pool_batch(encoder, padded, causal),
        )
        embeddings.append(hidden_means.float().cpu())
    return torch.cat(embeddings)[torch.cat(position_batches).argsort()]


def _mean_pool_batch(
    encoder: PreTrainedModel, batch: Batch, causal: bool
) -> Float[Tensor, "b 2 d"]:
    outputs = encoder(**select_model_inputs(encoder, batch), output_hidden_states=True)
    middle = outputs.hidden_states[(len(outputs.hidden_states) - 1) // 2]
    hidden = torch.stack([middle, outputs.last_hidden_state], 1)
    mask = batch["attention_mask"]
    if causal:
        first = torch.zeros_like(mask).scatter(1, (mask != 0).long().argmax(1, keepdim=True), 1)
        mask = mask - first * (mask.sum(1, keepdim=True) > 1)
    mask = mask[:, None, :, None].to(hidden)
    return (hidden * mask).sum(2) / mask.sum(2).clamp_min(1)


def _is_causal(encoder: PreTrainedModel, batch: Batch) -> bool:
    """Whether the first token has the same hidden state with and without the tokens after it."""
    row = max(iterate_rows(batch), key=lambda row: row["input_ids"].shape[1])
    length = row["input_ids"].shape[1]
    alone = {name: t[:, :1] if t.shape[:2] == (1, length) else t for name, t in row.items()}
    try:
        states = [
            encoder(**select_model_inputs(encoder, part)).last_hidden_state[:, 0]
            for part in (row, alone)
        ]
    except Exception:  # a model may need several tokens
        return False
    return length > 1 and is_within_rounding(states[0], states[1])


def _select_padding(encoder: PreTrainedModel, batch: Batch, causal: bool) -> Padding:
    """Return the padding side that leaves the pooled hidden states unchanged, or no padding."""

    def run(part: Batch) -> Tensor:
        return _mean_pool_batch(encoder, part, causal)

    try:
        unpadded = torch.cat([run(row) for row in iterate_rows(batch)])
    except Exception as error:  # the code of a model may raise anything
        raise InputError(
            f"encoder {encoder.config._name_or_path or type(encoder).__name__}",
            "a model with hidden states for each token of a text",
            f"{type(error).__name__}: {error}".splitlines()[0],
            "Set [mislabels] encoder to a text encoder, such as a sentence transformer.",
        ) from error
    token = getattr(encoder.config.get_text_config(), "pad_token_id", None)
    candidate = Padding("right", -1 if token is None else token)
    return select_padding(candidate, batch, unpadded, run) or Padding(None, candidate.token)


def make_pair_features(
    first: Float[Tensor, "n d"], second: Float[Tensor, "n d"]
) -> Float[Tensor, "n w"]:
    """Return features of text pairs, [u, v, |u - v|, u ∘ v] (Conneau et al., 2017).

    Args:
        first: Embeddings u of the first texts, [n, d].
        second: Embeddings v of the second texts, [n, d].

    Returns:
        Features, [n, 4 d].

    Examples:
        >>> make_pair_features(torch.tensor([[1.0]]), torch.tensor([[3.0]]))
        tensor([[1., 3., 2., 3.]])
    """
    return torch.cat([first, second, (first - second).abs(), first * second], 1)
