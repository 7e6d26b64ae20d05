"""Every experiment by name."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from tasks.experiments.amazon_correction import reviews
from tasks.experiments.frozen_features import MADE_OF
from tasks.experiments.hans_correction import correction
from tasks.experiments.influence_graph import visualisation
from tasks.experiments.knn_recall import recall
from tasks.experiments.label_noise import labels
from tasks.experiments.layerwise import parts
from tasks.experiments.lissa_settings import settings
from tasks.experiments.mnist_1_vs_7 import digits
from tasks.experiments.outlier_regression import outliers
from tasks.experiments.proximal_bregman import response
from tasks.experiments.removal_retraining import removal
from tasks.experiments.result import Outcome
from tasks.experiments.runtime import table1
from tasks.experiments.simulatability import simulatability
from tasks.experiments.smooth_hinge import hinge
from tasks.experiments.workspace import Place

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
        needs: the public data sets that it reads.
    """

    title: str
    source: str
    stands_in: str
    run: Callable[[Place], Outcome]
    needs: tuple[str, ...] = ()


CATALOGUE: Mapping[str, Experiment] = {
    "outliers": Experiment("A line with two outliers", BLOG, "", outliers),
    "digits": Experiment(
        "1 against 7: the inverse, LiSSA, and training again", BLOG, "", digits, ("mnist",)
    ),
    "hinge": Experiment(
        "A support vector machine with a smooth hinge", BLOG, "", hinge, ("mnist",)
    ),
    "labels": Experiment(
        "Wrong labels by influence over all test points", BLOG, "", labels, ("mnist",)
    ),
    "response": Experiment(
        "A network, and the question that influence answers", SLIDES, "", response, ("mnist",)
    ),
    "table1": Experiment(
        "How long an explanation takes (Table 1)",
        PAPER,
        NLI,
        table1,
        ("hans", "multinli", "lingnli"),
    ),
    "recall": Experiment(
        "What nearest neighbours find of the influential rows",
        PAPER,
        NLI,
        recall,
        ("hans", "multinli", "lingnli"),
    ),
    "settings": Experiment(
        "LiSSA's settings, and the fast mode against the full one (Table 2)",
        PAPER,
        f"{MADE_OF} {NLI}",
        settings,
        ("hans", "multinli", "lingnli"),
    ),
    "removal": Experiment(
        "Rows removed, and the model trained again",
        PAPER,
        NLI,
        removal,
        ("hans", "multinli", "lingnli"),
    ),
    "simulatability": Experiment(
        "Influential rows as explanations: a simulator learns from them",
        PAPER,
        f"{MADE_OF} {NLI}",
        simulatability,
        ("hans", "multinli", "lingnli"),
    ),
    "visualisation": Experiment(
        "Wrong predictions and the rows that act on them (Figure 5, Tables 5 and 6)",
        PAPER,
        NLI,
        visualisation,
        ("hans", "multinli", "lingnli"),
    ),
    "parts": Experiment(
        "Influence by parts of the model",
        BLOG,
        NLI,
        parts,
        ("hans", "multinli", "lingnli"),
    ),
    "correction": Experiment(
        "HANS: a model repaired by influential rows",
        PAPER,
        NLI,
        correction,
        ("hans", "multinli", "lingnli"),
    ),
    "reviews": Experiment(
        "Reviews of products: a model repaired towards anchors like everything else",
        PAPER,
        "Amazon reviews without reviewers stand in for Amazon-WILDS, MiniLM for BERT-base.",
        reviews,
        ("amazon_reviews5",),
    ),
}

ALSO: Mapping[str, str] = {"table2": "settings", "tradeoff": "settings", "retraining": "removal"}
"""Other names of experiments, by which their sources speak of them."""


def named(name: str) -> str:
    """The name of an experiment in the catalogue.

    >>> named("tradeoff")
    'settings'
    """
    return ALSO.get(name, name)
