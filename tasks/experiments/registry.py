"""Every experiment by name."""

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

BLOG = 'From "Influence functions from scratch".'
PAPER = "From the FastIF paper (Guo and others, 2021)."
NLI = (
    "MiniLM stands in for BERT-base, and 27,446 MultiNLI pairs for the whole of it, of which some "
    "are taken."
)
SLIDES = "From the slides of Koh and Liang."


@dataclass(frozen=True)
class Experiment:
    """One experiment of a source.

    Attributes:
        title: in a few words.
        source: where it is from.
        stands_in: for what of it could not be had; empty if nothing.
        run: does it, at a place.
        datasets: the public data sets that it reads.
    """

    title: str
    source: str
    stands_in: str
    run: Callable[[Workspace], ExperimentResult]
    datasets: tuple[str, ...] = ()


EXPERIMENTS: Mapping[str, Experiment] = {
    "outliers": Experiment("A line with two outliers", BLOG, "", reproduce_outlier_regression),
    "digits": Experiment(
        "1 against 7: the inverse, LiSSA, and training again",
        BLOG,
        "",
        reproduce_mnist_1_vs_7,
        ("mnist",),
    ),
    "hinge": Experiment(
        "A support vector machine with a smooth hinge", BLOG, "", reproduce_smooth_hinge, ("mnist",)
    ),
    "labels": Experiment(
        "Wrong labels by influence over all test points",
        BLOG,
        "",
        reproduce_label_noise,
        ("mnist",),
    ),
    "response": Experiment(
        "A network, and the question that influence answers",
        SLIDES,
        "",
        reproduce_proximal_bregman,
        ("mnist",),
    ),
    "table1": Experiment(
        "How long an explanation takes (Table 1)",
        PAPER,
        NLI,
        reproduce_runtime,
        ("hans", "multinli", "lingnli"),
    ),
    "recall": Experiment(
        "What nearest neighbours find of the influential rows",
        PAPER,
        NLI,
        reproduce_knn_recall,
        ("hans", "multinli", "lingnli"),
    ),
    "settings": Experiment(
        "LiSSA's settings, and the fast mode against the full one (Table 2)",
        PAPER,
        f"{STAND_IN} {NLI}",
        reproduce_lissa_settings,
        ("hans", "multinli", "lingnli"),
    ),
    "removal": Experiment(
        "Rows removed, and the model trained again",
        PAPER,
        NLI,
        reproduce_removal_retraining,
        ("hans", "multinli", "lingnli"),
    ),
    "simulatability": Experiment(
        "Influential rows as explanations: a simulator learns from them",
        PAPER,
        f"{STAND_IN} {NLI}",
        reproduce_simulatability,
        ("hans", "multinli", "lingnli"),
    ),
    "visualisation": Experiment(
        "Wrong predictions and the rows that act on them (Figure 5, Tables 5 and 6)",
        PAPER,
        NLI,
        reproduce_influence_graph,
        ("hans", "multinli", "lingnli"),
    ),
    "parts": Experiment(
        "Influence by parts of the model",
        BLOG,
        NLI,
        reproduce_layerwise,
        ("hans", "multinli", "lingnli"),
    ),
    "correction": Experiment(
        "HANS: a model repaired by influential rows",
        PAPER,
        NLI,
        reproduce_hans_correction,
        ("hans", "multinli", "lingnli"),
    ),
    "reviews": Experiment(
        "Reviews of products: a model repaired towards anchors like everything else",
        PAPER,
        "Amazon reviews without reviewers stand in for Amazon-WILDS, MiniLM for BERT-base.",
        reproduce_amazon_correction,
        ("amazon_reviews5",),
    ),
}

ALIASES: Mapping[str, str] = {"table2": "settings", "tradeoff": "settings", "retraining": "removal"}
"""Other names of experiments, by which their sources speak of them."""


def resolve_name(name: str) -> str:
    """The name of an experiment in the catalogue.

    >>> resolve_name("tradeoff")
    'settings'
    """
    return ALIASES.get(name, name)
