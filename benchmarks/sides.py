"""Run one side for one round in a separate process, so that its peak memory is measured alone.

    python -m benchmarks.sides published|ours|agreement|floor STUDY SIZES TURN FOLDER

It writes FOLDER/<side>-<turn>.json; SIZES is the JSON of a `Sizes` record.
"""

import json
import sys
from pathlib import Path
from statistics import mean, stdev

from safetensors.torch import save_file
from torch import Tensor

import fastif
from benchmarks import reference
from benchmarks.agreement import agreement
from benchmarks.example import (
    Singles,
    Sizes,
    candidate_count,
    open_example,
    peak_megabytes,
    published_model,
    shard,
    timed_query,
)
from benchmarks.floor import floor
from benchmarks.stopwatch import faster_threads, time_call
from fastif.gradients.per_example import compute_loss_gradients
from fastif.solvers import Factor
from tasks.run.context import RunContext
from tasks.run.curvature import make_operator
from tasks.run.hidden_states import get_query_examples, get_train_examples
from tasks.study.candidates import FullScanSection

KEEP = 100
"""Top-k and bottom-k rows of a full scan, unless the study sets another number."""
WARM_UP = 10
"""Steps of the published recursion before the timing starts."""


def run_published(context: RunContext, sizes: Sizes, turn: int, folder: Path) -> dict:
    """Return the seconds of a whole s_test and of some candidates by the published method."""
    loaded = peak_megabytes()
    model, params = published_model(context)
    train, queries = Singles(context.train_examples), Singles(context.query_examples)
    setting = reference.Setting(depth=sizes.depth)
    draws = reference.shuffled(train, seed=turn)
    query = queries[timed_query(context, turn, sizes.rounds)]
    threads = faster_threads(
        lambda: reference.s_test(model, params, query, draws, reference.Setting(depth=WARM_UP))
    )
    solved, solve_seconds = time_call(
        lambda: reference.s_test(model, params, query, draws, setting)
    )
    candidates = [next(draws) for _ in range(sizes.scored)]
    each = [
        time_call(
            lambda example=example: reference.removal_effect(
                model, params, solved, example, len(train)
            )
        )[1]
        for example in candidates
    ]
    save_file({"s_test": reference.row(solved)}, folder / f"s_test-{turn}.safetensors")
    return {
        "s_test": solve_seconds,
        "score": mean(each),
        "score_deviation": stdev(each),
        "threads": threads,
        "tokens": mean(example["input_ids"].shape[1] for example in candidates),
        "loaded_mb": loaded,
        "peak_mb": peak_megabytes(),
    }


def run_ours(context: RunContext, sizes: Sizes, turn: int, folder: Path) -> dict:
    """Time the once-a-study work and a shard of queries, by parts and as one call of fastif."""
    loaded, k = peak_megabytes(), candidate_count(context)
    _, prefix = time_call(lambda: (get_train_examples(context), get_query_examples(context)))
    factor, factoring = time_call(lambda: context.solver.factor(make_operator(context)))
    index, indexing = time_call(lambda: _index(context))
    searches = {
        "full": fastif.ExhaustiveSearch(_keep(context)),
        "knn": fastif.NearestNeighbors(index, k),
    }
    ids = shard(context, turn, sizes.rounds)
    parts = _parts(context, searches, factor, ids)
    influences, seconds = {}, {}
    for name, search in searches.items():
        call = _attributor(context, search, factor)
        influences[name], seconds[name] = time_call(
            lambda call=call: call(get_query_examples(context), ids)
        )
    return {
        "prefix": prefix,
        "factor": factoring,
        "index": indexing,
        "queries": len(ids),
        "candidates": k,
        **parts,
        **seconds,
        "distinct": len(influences["knn"].influences.ids.unique()),
        "residual": float(influences["full"].certificate.residual.max()),
        "loaded_mb": loaded,
        "peak_mb": peak_megabytes(),
    }


def _attributor(
    context: RunContext,
    search: fastif.ExhaustiveSearch | fastif.NearestNeighbors,
    factor: Factor,
) -> fastif.Attributor:
    settings = (
        context.objective,
        get_train_examples(context),
        make_operator(context),
        context.solver,
    )
    return fastif.Attributor(*settings, search, factor)


def _parts(context: RunContext, searches: dict, factor: Factor, ids: Tensor) -> dict[str, float]:
    """Return the seconds of the parts of an attributor: gradients, solve, scoring."""
    train = get_train_examples(context)
    gradients = getattr(make_operator(context).operator, "gradients", None) or fastif.Gradients(
        context.objective
    )
    rhs, first = time_call(
        lambda: compute_loss_gradients(gradients, get_query_examples(context), ids)
    )
    solution, solve = time_call(
        lambda: context.solver.solve(make_operator(context), rhs, factor)  # noqa: F821
    )
    del rhs
    rows, keep, near = solution.value, searches["full"].keep, searches["knn"]

    def score_near() -> fastif.Influences:
        candidates = near.index.search(
            fastif.compute_embeddings(context.objective, get_query_examples(context), ids), near.k
        )
        return fastif.influence(gradients, train, rows, candidates)

    _, full = time_call(lambda: fastif.influence(gradients, train, rows, keep=keep))
    _, knn = time_call(score_near)
    return {"gradients": first, "solve": solve, "score_full": full, "score_knn": knn}


def _index(context: RunContext) -> fastif.CandidateIndex:
    rows = fastif.compute_embeddings(
        context.objective, get_train_examples(context), fastif.all_ids(get_train_examples(context))
    )
    return fastif.CandidateIndex.build(rows, "Flat")


def _keep(context: RunContext) -> int | None:
    candidates = context.study.candidates
    return candidates.keep if isinstance(candidates, FullScanSection) else KEEP


SIDES = {"published": run_published, "ours": run_ours, "agreement": agreement, "floor": floor}


def main(arguments: list[str]) -> None:
    side, study, sizes, turn, folder = arguments
    record = SIDES[side](
        open_example(Path(study)), Sizes(**json.loads(sizes)), int(turn), Path(folder)
    )
    (Path(folder) / f"{side}-{turn}.json").write_text(json.dumps(record))


if __name__ == "__main__":
    main(sys.argv[1:])
