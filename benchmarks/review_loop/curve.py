"""Accuracy after so many verdicts, the verdicts needed for an accuracy, and their intervals."""

from collections.abc import Mapping

import numpy as np
from torch import Tensor, stack

RESAMPLES = 1000
LEVELS = (0.025, 0.975)
"""Quantiles of the 95 % bootstrap intervals over test rows."""


def count_needed(counts: np.ndarray, accuracy: np.ndarray, goal: np.ndarray) -> np.ndarray:
    """Return the verdicts at which each curve first reaches its goal, interpolated; inf if never.

    Args:
        counts: Numbers of verdicts, ascending from 0, [k].
        accuracy: Accuracies of some curves, [s k].
        goal: Goal of each curve, [s].

    Examples:
        >>> curve = np.array([[0.8, 0.9, 1.0], [0.8, 0.8, 0.8]])
        >>> count_needed(np.array([0, 100, 200]), curve, np.array([0.95, 0.9]))
        array([150.,  inf])
    """
    reached = accuracy >= goal[:, None]
    needed = np.full(len(accuracy), np.inf)
    for place in np.flatnonzero(reached.any(1)):
        k = int(reached[place].argmax())
        if k == 0:
            needed[place] = counts[0]
            continue
        low, high = accuracy[place, k - 1], accuracy[place, k]
        share = (goal[place] - low) / (high - low)
        needed[place] = counts[k - 1] + share * (counts[k] - counts[k - 1])
    return needed


def resample_rows(hits: Tensor, seed: int = 0) -> np.ndarray:
    """Return mean accuracies of bootstrap samples of the test rows, [s k], from [k m]."""
    table, random = hits.double().numpy(), np.random.default_rng(seed)
    m = table.shape[1]
    return np.stack([table[:, random.integers(0, m, m)].mean(1) for _ in range(RESAMPLES)])


def summarize(samples: np.ndarray, value: float) -> dict[str, float | None]:
    """Return a value with the bootstrap interval of its samples; None stands for infinity."""
    low, high = np.quantile(samples, LEVELS, method="nearest")
    names = {"value": value, "low": float(low), "high": float(high)}
    return {name: number if np.isfinite(number) else None for name, number in names.items()}


def compare_orders(
    orders: Mapping[str, Mapping[int, Tensor]], first: str, count: int
) -> dict[str, dict[str, float | None]]:
    """Return how much more accurate an order is than each other one after so many verdicts.

    Args:
        orders: Share of correct trainings of each test row, [m], by order and count.
        first: Order that is compared with the others.
        count: Number of verdicts; orders without it are left out.
    """
    out = {}
    for name, by_count in orders.items():
        if name != first and count in by_count and count in orders[first]:
            gain = orders[first][count] - by_count[count]
            out[name] = summarize(resample_rows(gain[None])[:, 0], float(gain.mean()))
    return out


def summarize_curves(
    baselines: Mapping[str, Tensor],
    orders: Mapping[str, Mapping[int, Tensor]],
    given: str,
    goal: str,
) -> dict:
    """Return accuracies, gains over the given labels and verdicts needed, with intervals.

    All intervals are of the same bootstrap samples of the test rows.

    Args:
        baselines: Share of correct trainings of each test row, [m], by baseline.
        orders: Share of correct trainings of each test row, [m], by order and count.
        given: Baseline without verdicts.
        goal: Baseline whose accuracy is to be reached.
    """
    out: dict = {"baselines": {}, "orders": {}}
    start, target = baselines[given], baselines[goal]
    for name, hits in baselines.items():
        gain = resample_rows((hits - start)[None])[:, 0]
        out["baselines"][name] = {
            "accuracy": float(hits.mean()),
            "gain": summarize(gain, float((hits - start).mean())),
        }
    for name, by_count in orders.items():
        counts = np.array([0, *by_count])
        hits = stack([start, *by_count.values(), target])
        samples = resample_rows(hits)
        values = hits.double().mean(1).numpy()
        needed = count_needed(counts, values[None, :-1], values[-1:])[0]
        out["orders"][name] = {
            "needed": summarize(
                count_needed(counts, samples[:, :-1], samples[:, -1]), float(needed)
            ),
            "accuracy": {
                str(count): {
                    "value": float(values[k]),
                    "gain": summarize(samples[:, k] - samples[:, 0], float(values[k] - values[0])),
                }
                for k, count in enumerate(counts)
            },
        }
    return out
