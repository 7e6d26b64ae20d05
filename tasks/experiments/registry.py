"""Registry of the experiments by name."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from tasks.experiments.amazon_correction import reproduce_amazon_correction
from tasks.experiments.frozen_features import STAND_IN
from tasks.experiments.hans_correction import reproduce_hans_correction
from tasks.experiments.influence_graph import reproduce_influence_graph
from tasks.experiments.knn_recall import reproduce_knn_recall
from tasks.experiments.label_noise import reproduce_label_noise
from tasks.experiments.layerwise import reproduce_layerwise
from tasks.experiments.lissa_settings import reproduce_lissa_settings
from tasks.experiments.mnist_1_vs_7 import reproduce_mnist_1_vs_7
from tasks.experiments.outlier_regression import reproduce_outlier_regression
from tasks.experiments.proximal_bregman import reproduce_proximal_bregman
from tasks.experiments.removal_retraining import reproduce_removal_retraining
from tasks.experiments.result import ExperimentResult
from tasks.experiments.runtime import reproduce_runtime
from tasks.experiments.simulatability import reproduce_simulatability
from tasks.experiments.smooth_hinge import reproduce_smooth_hinge
from tasks.experiments.workspace import Workspace

BLOG = 'Source: "Influence functions from scratch".'
PAPER = "Source: FastIF (Guo et al., 2021)."
NLI = (
    "Substitutes: MiniLM for BERT-base; a sample of a subset of 27,446 MultiNLI pairs for all of "
    "MultiNLI."
)
SLIDES = "Source: slides of Koh and Liang."


@dataclass(frozen=True)
class Experiment:
    """One published experiment.

    Attributes:
        title: Short title.
        source: Publication that it is from.
        stands_in: Substitutes for data or models that are not available; empty if none.
        run: Function that runs it in a workspace.
        datasets: Names of the public data sets that it reads.
    """

    title: str
    source: str
    stands_in: str
    run: Callable[[Workspace], ExperimentResult]
    datasets: tuple[str, ...] = ()


EXPERIMENTS: Mapping[str, Experiment] = {
    "outliers": Experiment(
        "Linear regression with two outliers", BLOG, "", reproduce_outlier_regression
    ),
    "digits": Experiment(
        "MNIST 1 against 7: inverse, LiSSA and retraining",
        BLOG,
        "",
        reproduce_mnist_1_vs_7,
        ("mnist",),
    ),
    "hinge": Experiment(
        "Support vector machine with a smooth hinge", BLOG, "", reproduce_smooth_hinge, ("mnist",)
    ),
    "labels": Experiment(
        "Label errors by influence on all test points",
        BLOG,
        "",
        reproduce_label_noise,
        ("mnist",),
    ),
    "response": Experiment(
        "Network and proximal Bregman response",
        SLIDES,
        "",
        reproduce_proximal_bregman,
        ("mnist",),
    ),
    "table1": Experiment(
        "Time of an explanation (Table 1)",
        PAPER,
        NLI,
        reproduce_runtime,
        ("hans", "multinli", "lingnli"),
    ),
    "recall": Experiment(
        "Recall of influential rows by nearest neighbours",
        PAPER,
        NLI,
        reproduce_knn_recall,
        ("hans", "multinli", "lingnli"),
    ),
    "settings": Experiment(
        "LiSSA settings: fast mode against full mode (Table 2)",
        PAPER,
        f"{STAND_IN} {NLI}",
        reproduce_lissa_settings,
        ("hans", "multinli", "lingnli"),
    ),
    "removal": Experiment(
        "Retraining without influential rows",
        PAPER,
        NLI,
        reproduce_removal_retraining,
        ("hans", "multinli", "lingnli"),
    ),
    "simulatability": Experiment(
        "Simulatability: a simulator learns from influential rows",
        PAPER,
        f"{STAND_IN} {NLI}",
        reproduce_simulatability,
        ("hans", "multinli", "lingnli"),
    ),
    "visualisation": Experiment(
        "Influence graph of wrong predictions (Figure 5, Tables 5 and 6)",
        PAPER,
        NLI,
        reproduce_influence_graph,
        ("hans", "multinli", "lingnli"),
    ),
    "parts": Experiment(
        "Influence by layer",
        BLOG,
        NLI,
        reproduce_layerwise,
        ("hans", "multinli", "lingnli"),
    ),
    "correction": Experiment(
        "Error correction on HANS",
        PAPER,
        NLI,
        reproduce_hans_correction,
        ("hans", "multinli", "lingnli"),
    ),
    "reviews": Experiment(
        "Error correction on product reviews",
        PAPER,
        "Substitutes: Amazon reviews without reviewer ids for Amazon-WILDS; MiniLM for BERT-base.",
        reproduce_amazon_correction,
        ("amazon_reviews5",),
    ),
}

ALIASES: Mapping[str, str] = {"table2": "settings", "tradeoff": "settings", "retraining": "removal"}
"""Further names of experiments, those of their publications."""


def resolve_name(name: str) -> str:
    """Return the registered name of an experiment.

    >>> resolve_name("tradeoff")
    'settings'
    """
    return ALIASES.get(name, name)
