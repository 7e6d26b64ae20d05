"""Time and memory of an audit of decoders next to BERT of the same size.

`python -m benchmarks.decoders.cost` measures the models in turns, and writes
benchmarks/results/decoder-cost.json with its page; with "last:1" or "all" it measures with these
attributed parameters alone and keeps the others. Weights and tokens are random. Processor seconds
of one thread are counted, since they hardly depend on other work of the machine.
"""

import sys
import time
from collections.abc import Callable

import torch
from transformers import (
    BertConfig,
    BertForSequenceClassification,
    GPT2Config,
    GPT2ForSequenceClassification,
    LlamaConfig,
    LlamaForSequenceClassification,
    PreTrainedModel,
)

import fastif
from benchmarks.decoders.cost_report import NAME, build_pages
from benchmarks.fidelity.memory import MemoryMonitor
from benchmarks.machine import describe
from benchmarks.page import publish, read_result
from fastif.models.prefix_cache import PrefixCache
from fastif.models.trial import try_table

CUTS = {"last:1": (64, 16), "all": (24, 8)}
"""Number of rows and queries by attributed parameters: all of them make large gradients."""

LAYERS, WIDTH, HEADS, WORDS, POSITIONS = 4, 192, 4, 1000, 64
INNER, GATED_INNER = 4 * WIDTH, 8 * WIDTH // 3
"""Width of a feed-forward block of two matrices, and of a gated one with as many weights."""
SHORTEST, LONGEST, BATCH_SIZE = 16, 48, 16
ROUNDS = 2
CACHE_BYTES = 2**30


def main() -> None:
    """Measure, and write the result and its page."""
    torch.set_num_threads(1)
    cuts = sys.argv[1:] or list(CUTS)
    result = (read_result(NAME) if sys.argv[1:] else {}) or {"models": {}}
    result |= {"sizes": describe_sizes(), "machine": describe()}
    for cut in cuts:
        objectives = {name: make_objective(name, cut) for name in MAKERS}
        for objective in objectives.values():  # warm up
            run_audit(objective, make_rows(BATCH_SIZE, 3), make_rows(2, 4))
        rounds: dict[str, list] = {name: [] for name in MAKERS}
        for _ in range(ROUNDS):
            for name, objective in objectives.items():
                rounds[name].append(measure(objective, *CUTS[cut]))
                print(cut, name, rounds[name][-1], flush=True)
        result["models"][cut] = rounds
        publish(NAME, result, build_pages(result))  # a stopped run keeps what it has measured


def make_objective(name: str, cut: str) -> fastif.TransformerObjective:
    """Return a model with random weights, and its attributed parameters."""
    torch.manual_seed(0)
    return fastif.TransformerObjective(MAKERS[name]().eval(), cut)


def measure(objective: fastif.TransformerObjective, count: int, queries_count: int) -> dict:
    """Return the processor seconds of the parts of an audit, and its peak memory."""
    train, queries = make_rows(count, 1), make_rows(queries_count, 2)
    for rows in (train, queries):
        try_table(objective, rows, "rows")  # on a few rows, of any table
    with MemoryMonitor() as watch:
        seconds = run_audit(objective, train, queries)
    return {
        "rows": count,
        "queries": queries_count,
        "parameters": sum(parameter.numel() for parameter in objective.full_model.parameters()),
        "attributed": objective.space.size,
        "frozen_layers": objective.num_frozen_layers,
        "megabytes": watch.megabytes,
        "seconds": seconds,
        "training": measure_seconds(lambda: run_training_pass(objective, train)),
    }


def run_audit(
    objective: fastif.TransformerObjective, train: fastif.Examples, queries: fastif.Examples
) -> dict[str, float]:
    """Return the processor seconds of frozen layers, Gram matrix and scores."""
    cached: list[PrefixCache] = []
    frozen = measure_seconds(
        lambda: cached.extend(PrefixCache(objective, e, CACHE_BYTES) for e in (train, queries))
    )
    operator, solver = fastif.GaussNewton(objective, cached[0]).with_damping(0.1), fastif.Dual()
    factors: list = []
    gram = measure_seconds(lambda: factors.append(solver.factor(operator)))
    attribute = fastif.Attributor(
        objective, cached[0], operator, solver, fastif.ExhaustiveSearch(), factors[0]
    )
    scores = measure_seconds(lambda: attribute(cached[1]))
    return {"frozen layers": frozen, "Gram matrix": gram, "scores": scores}


def run_training_pass(objective: fastif.TransformerObjective, rows: fastif.Examples) -> None:
    """Run all rows forward and backward as a step of training does: one gradient a batch."""
    for _, batch in rows.batches():
        params = {name: p.detach().requires_grad_() for name, p in objective.params.items()}
        outputs = objective.outputs(params, batch)
        objective.loss(outputs, batch["labels"]).mean().backward()


def measure_seconds(work: Callable[[], object]) -> float:
    """Return the processor seconds of a call."""
    start = time.process_time()
    work()
    return time.process_time() - start


def make_rows(count: int, seed: int) -> fastif.Examples:
    """Return rows of random tokens and lengths, the same for all models."""
    generator = torch.Generator().manual_seed(seed)
    lengths = torch.randint(SHORTEST, LONGEST + 1, (count,), generator=generator)
    tokens = [torch.randint(5, WORDS, (int(n),), generator=generator) for n in lengths]
    labels = torch.randint(2, (count,), generator=generator)
    examples = fastif.TextExamples(tokens, None, labels, torch.zeros(count, dtype=torch.bool), 0)
    return examples.with_batch_size(BATCH_SIZE)


def make_bert() -> PreTrainedModel:
    config = BertConfig(
        vocab_size=WORDS, hidden_size=WIDTH, num_hidden_layers=LAYERS, num_attention_heads=HEADS,
        intermediate_size=INNER, max_position_embeddings=POSITIONS, attn_implementation="eager",
    )  # fmt: skip
    return BertForSequenceClassification(config)


def make_gpt2() -> PreTrainedModel:
    config = GPT2Config(
        vocab_size=WORDS, n_embd=WIDTH, n_layer=LAYERS, n_head=HEADS, n_positions=POSITIONS,
        pad_token_id=0, bos_token_id=None, eos_token_id=None, attn_implementation="eager",
    )  # fmt: skip
    return GPT2ForSequenceClassification(config)


def make_llama() -> PreTrainedModel:
    config = LlamaConfig(
        vocab_size=WORDS, hidden_size=WIDTH, num_hidden_layers=LAYERS, num_attention_heads=HEADS,
        num_key_value_heads=HEADS, intermediate_size=GATED_INNER, pad_token_id=0,
        max_position_embeddings=POSITIONS, bos_token_id=None, eos_token_id=None,
        attn_implementation="eager",
    )  # fmt: skip
    return LlamaForSequenceClassification(config)


MAKERS: dict[str, Callable[[], PreTrainedModel]] = {
    "BERT": make_bert,
    "GPT-2": make_gpt2,
    "Llama": make_llama,
}


def describe_sizes() -> dict[str, int]:
    """Return the sizes of models and rows for the page."""
    return {
        "layers": LAYERS,
        "width": WIDTH,
        "heads": HEADS,
        "words": WORDS,
        "shortest": SHORTEST,
        "longest": LONGEST,
        "batch_size": BATCH_SIZE,
        "rounds": ROUNDS,
    }


if __name__ == "__main__":
    main()
