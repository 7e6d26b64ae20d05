"""Time that outer products of linear layers save in an exact audit.

`python -m benchmarks.structure` audits a random network of the size of an MNIST classifier, with
per-example gradients as factors and with formed ones; Gram matrices of convolutional networks; and
a text encoder's last layer, for which gradients are formed either way. It writes
benchmarks/results/structure.json and docs/results/structure.md. Processor seconds of one thread are
counted, since they hardly depend on other work of the machine. With `networks`, the convolutional
networks alone are measured again.
"""

import sys
import time
from itertools import pairwise

import torch
from torch import nn
from transformers import BertConfig, BertForSequenceClassification

from benchmarks.machine import describe
from benchmarks.page import ResultPage, bullets, describe_machine, publish, read_result, table
from benchmarks.structured_networks import (
    FACTORS,
    FORMED,
    NETWORK_BATCH_SIZE,
    SOLVER,
    build_table,
    measure,
    measure_networks,
    representation,
)
from fastif import (
    Attributor,
    CrossEntropy,
    Dual,
    GaussNewton,
    Gradients,
    ModuleObjective,
    TensorExamples,
    TextExamples,
    TransformerObjective,
)
from fastif.curvature.operator import DampedOperator
from fastif.gradients.structured_tile import merge_columns

WIDTHS = (784, 256, 128, 10)
ROWS, QUERIES, BATCH_SIZE, MORE_ROWS = 500, 100, 32, 1000
TEXTS, LENGTH, TEXT_ROUNDS = 64, 24, 3
ROUNDS = 5
BLOCK = 1024


def main(parts: list[str]) -> None:
    """Measure everything or only the named parts, and write the result and its page."""
    torch.set_num_threads(1)
    if parts == ["networks"]:
        result = read_result("structure") | {"networks": measure_networks()}
    else:
        result = measure_all()
    publish("structure", result, build_pages(result))


def measure_all() -> dict:
    """Return all parts of the result."""
    torch.manual_seed(0)
    module = nn.Sequential(
        *(layer for pair in pairwise(WIDTHS) for layer in (nn.Linear(*pair), nn.ReLU()))
    )[:-1]
    objective = ModuleObjective(module, CrossEntropy())
    result = {
        "widths": WIDTHS,
        "rows": ROWS,
        "queries": QUERIES,
        "batch_size": BATCH_SIZE,
        "parameters": objective.space.size,
        "flops_per_second": measure_flops(),
        "audit": {name: audit(objective, ROWS, name) for name in (FACTORS, FORMED)},
        "larger": {"rows": MORE_ROWS, FACTORS: factorise(objective, MORE_ROWS)[1]},
        "pair": measure_pairs(objective),
        "text": measure_text(),
        "networks": measure_networks(),
        "machine": describe(),
    }
    result["agreement"] = compare(result["audit"])
    return result


def measure_flops() -> float:
    """Return the rate of a product of large matrices, in multiplications and additions a second."""
    matrix = torch.rand(BLOCK, BLOCK)
    return 2 * BLOCK**3 / measure(lambda: matrix @ matrix, ROUNDS)


def make_table(count: int, seed: int) -> TensorExamples:
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(WIDTHS[-1], (count,), generator=generator)
    pixels = torch.rand(count, WIDTHS[0], generator=generator)
    return TensorExamples(pixels, labels).with_batch_size(BATCH_SIZE)


def factorise(objective: ModuleObjective, rows: int) -> tuple[DampedOperator, float, dict]:
    """Return the operator, the processor seconds of its Gram matrix, and the factor."""
    operator = GaussNewton(objective, make_table(rows, 1)).with_damping(0.1)
    start = time.process_time()
    factor = SOLVER.factor(operator)
    return operator, time.process_time() - start, factor


def audit(objective: ModuleObjective, rows: int, name: str) -> dict:
    """Return the processor seconds of the Gram matrix and of all scores, and some scores."""
    with representation(name):
        operator, seconds, factor = factorise(objective, rows)
        train, queries = operator.operator.examples, make_table(QUERIES, 2)
        attributor = Attributor(objective, train, operator, SOLVER, factor=factor)
        start = time.process_time()
        influences = attributor(queries, torch.arange(QUERIES)).influences
        scores = time.process_time() - start
    order = influences.ids.argsort(1)
    return {
        "gram": seconds,
        "scores": scores,
        "effects": influences.removal_effect.gather(1, order)[:4].tolist(),
    }


def compare(audits: dict) -> float:
    """Return the largest difference of the effects, relative to the largest effect.

    The effects are removed from the result.
    """
    factors, formed = (torch.tensor(audits[name].pop("effects")) for name in (FACTORS, FORMED))
    return float((factors - formed).abs().max() / formed.abs().max())


def measure_pairs(objective: ModuleObjective) -> dict:
    """Return the processor seconds of forming a factor row, and of a product of two."""
    gradients, batch = (
        Gradients(objective),
        make_table(BATCH_SIZE, 3).take(torch.arange(BATCH_SIZE)),
    )
    (tile,) = merge_columns(gradients.compute_sqrt_hessian_tiles(batch))
    matrix = torch.empty(len(tile), objective.space.size)
    layers = list(tile.layers.values())

    def form() -> None:
        for layer in layers:
            layer.write(matrix)

    form()
    pairs = len(tile) ** 2
    return {
        "form": measure(form, ROUNDS) / len(tile),
        "factors": measure(lambda: tile.products(tile), ROUNDS) / pairs,
        "formed": measure(lambda: matrix @ matrix.T, ROUNDS) / pairs,
        "dot": measure(lambda: tile.dot(matrix[:QUERIES]), ROUNDS) / len(tile) / QUERIES,
        "formed_dot": measure(lambda: matrix[:QUERIES] @ matrix.T, ROUNDS) / len(tile) / QUERIES,
    }


def measure_text() -> dict:
    """Return the processor seconds of the Gram matrix of an encoder's last layer, either way."""
    torch.manual_seed(1)
    config = BertConfig(
        hidden_size=384, num_hidden_layers=2, num_attention_heads=12, intermediate_size=1536
    )
    objective = TransformerObjective(BertForSequenceClassification(config).eval(), "last:1")
    tokens = [torch.randint(5, 1000, (LENGTH,)) for _ in range(TEXTS)]
    labels = torch.arange(TEXTS) % config.num_labels
    examples = TextExamples(tokens, None, labels, torch.zeros(TEXTS, dtype=torch.bool), 0)
    operator = GaussNewton(objective, examples.with_batch_size(BATCH_SIZE)).with_damping(0.1)
    seconds: dict[str, list[float]] = {FACTORS: [], FORMED: []}
    for _ in range(TEXT_ROUNDS):
        for name, values in seconds.items():
            with representation(name):
                values.append(measure(lambda: Dual().factor(operator), 1))
    return {name: min(values) for name, values in seconds.items()}


def count_flops(result: dict) -> float:
    """Return the operations of the factor products in a Gram matrix, half of it by symmetry.

    A product of two factor rows takes the widths of the outputs, and those of the inputs once for
    all columns.
    """
    rows, columns = result["rows"], result["widths"][-1] - 1
    outputs, inputs = sum(result["widths"][1:]), sum(result["widths"][:-1])
    return (rows * columns) ** 2 * outputs + rows**2 * inputs


def build_pages(result: dict) -> list[ResultPage]:
    """Return the page of a result."""
    factors, formed = (result["audit"][name] for name in (FACTORS, FORMED))
    gram = formed["gram"] / factors["gram"]
    totals = [side["gram"] + side["scores"] for side in (formed, factors)]
    limit = count_flops(result) / result["flops_per_second"]
    widths = "-".join(map(str, result["widths"]))
    page = ResultPage(
        name="structure",
        title="Gradients as factors",
        question="How much time does it save not to form the gradients of linear layers?",
        answer=f"The Gram matrix of a {widths} network takes {_times(gram)} less time, and an "
        f"exact audit {_times(totals[0] / totals[1])} less. The operations alone would take "
        f"{limit:.2g} s of its {factors['gram']:.2g} s.",
        headline=f"Gram matrix {_times(gram)} faster, exact audit {_times(totals[0] / totals[1])}",
        tables=[
            table(["", FORMED, FACTORS, "ratio"], _make_rows(result)),
            "The last row of products compares forming a row with a product of two rows by "
            "factors. The scores include the Cholesky factorization of the Gram matrix and the "
            "leverage, which take as long either way.",
            _describe_limit(result),
            "**Convolutions** are linear layers of patches, one at each position of their output. "
            "Gram matrices in processor seconds; the layers in factors are chosen by counts, so "
            "with many positions all gradients are formed either way, and the two differ by noise.",
            build_table(result["networks"]),
        ],
        measured=_describe(result, widths),
    )
    return [page]


def _make_rows(result: dict) -> list[list[str]]:
    """Return the rows of the table, from the parts of the audit to the text encoder."""
    factors, formed = (result["audit"][name] for name in (FACTORS, FORMED))
    totals = [side["gram"] + side["scores"] for side in (formed, factors)]
    pair, text = result["pair"], result["text"]
    names = {"gram": "Gram matrix, s", "scores": "scores of all queries, s"}
    rows = [
        [title, f"{formed[key]:,.3g}", f"{factors[key]:,.3g}", _times(formed[key] / factors[key])]
        for key, title in names.items()
    ]
    rows += [["audit, s", *(f"{total:,.3g}" for total in totals), _times(totals[0] / totals[1])]]
    rows += [
        [title, _micro(pair[old]), _micro(pair[new]), _times(pair[old] / pair[new])]
        for title, old, new in (
            ("product of two factor rows, µs", "formed", "factors"),
            ("product of a factor row with a vector, µs", "formed_dot", "dot"),
            ("forming a factor row, µs", "form", "factors"),
        )
    ]
    encoder = [f"{text[name]:.3g}" for name in (FORMED, FACTORS)]
    ratio = text[FACTORS] / text[FORMED]
    return [*rows, ["text encoder, last layer, Gram matrix, s", *encoder, _times(1 / ratio)]]


def _describe_limit(result: dict) -> str:
    """Return the time that the operations alone would take."""
    factors, formed = (result["audit"][name] for name in (FACTORS, FORMED))
    flops = count_flops(result)
    dense_limit = (result["rows"] * (result["widths"][-1] - 1)) ** 2 * result["parameters"]
    limit = flops / result["flops_per_second"]
    return (
        f"**Physical limit.** The products of factors take {flops / 1e9:,.3g} "
        f"GFLOP, those of formed gradients {dense_limit / 1e9:,.3g} GFLOP. At the "
        f"{result['flops_per_second'] / 1e9:,.0f} GFLOP/s of a large matrix product that is "
        f"{limit:.2g} s and {dense_limit / result['flops_per_second']:,.3g} s; measured: "
        f"{_times(factors['gram'] / limit)} and "
        f"{_times(formed['gram'] * result['flops_per_second'] / dense_limit)} that. With "
        f"{result['larger']['rows']:,} rows the Gram matrix takes "
        f"{result['larger'][FACTORS]:.3g} s by factors."
    )


def _describe(result: dict, widths: str) -> str:
    return bullets(
        "Command: `python -m benchmarks.structure`.",
        f"Hardware, {describe_machine(result)}; processor seconds of one thread. Each audit "
        "ran once, with factors first; other work on a machine slows both through the caches.",
        f"Network {widths} with ReLU and random weights, {result['parameters']:,} parameters; "
        f"{result['rows']:,} random rows, {result['queries']} queries, batches of "
        f"{result['batch_size']}, `Dual` without a rank, λ = 0.1, effects of all rows with "
        "leverage.",
        f"Largest difference of the effects: {result['agreement']:.1g} of the largest effect.",
        f"Text encoder: BERT of width 384 with random weights, last layer and head, {TEXTS} "
        f"rows of {LENGTH} tokens. Its gradients are formed either way, by count.",
        "Convolutional networks: random weights and inputs, batches of "
        f"{NETWORK_BATCH_SIZE}, the second of two Gram matrices; factor rows are examples x "
        "columns of the loss's root. `python -m benchmarks.structure networks` measured them, "
        "in a run of their own.",
    )


def _times(ratio: float) -> str:
    return f"{ratio:,.0f} x" if ratio >= 10 else f"{ratio:.2g} x"


def _micro(seconds: float) -> str:
    return f"{1e6 * seconds:,.3g}"


if __name__ == "__main__":
    main(sys.argv[1:])
