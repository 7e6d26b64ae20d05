"""Tables whose labels are regarded as right, as a base for injected label noise."""

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import polars as pl
import torch
from scipy.sparse import csr_matrix
from sklearn import datasets
from torch import Tensor

from benchmarks.fidelity.titanic import TitanicMlp
from benchmarks.mislabels.corpora import Reader, digits
from benchmarks.mislabels.noise_kinds import NoisyLabels
from fastif.mislabels.feature_views import TEXT_WEIGHTS, FeatureViews
from fastif.mislabels.features import compute_lsa, concat_views, make_tabular_features
from fastif.mislabels.labeled_data import LabeledData
from fastif.mislabels.text_embeddings import make_pair_features
from fastif.mislabels.tfidf import char_trigrams, tf_idf

ROWS = 800
"""Maximum number of rows of a table."""


@dataclass(frozen=True, eq=False)
class CleanTable:
    """Rows with right labels.

    Attributes:
        views: Feature views of the rows.
        labels: Right label of each row, [n].
        classes: Number of classes.
        determined: Whether equal rows have equal classes: texts and images, not measured columns.
    """

    views: FeatureViews
    labels: Tensor
    classes: int
    determined: bool = True

    def with_noise(self, noisy: NoisyLabels) -> tuple[LabeledData, Tensor]:
        """Return the noisy rows as input of the detection, and the mask of wrong labels."""
        rows = noisy.rows
        views = FeatureViews(
            tuple(view[rows] for view in self.views.views),
            self.views.weight_options,
            tuple(csr_matrix(terms[rows.numpy()]) for terms in self.views.terms),
        )
        ids = torch.arange(len(rows))
        weights = views.select_weights(ids, noisy.labels, self.classes, rows)
        features = views.concat_weighted(weights)
        data = LabeledData(
            features,
            noisy.labels,
            self.classes,
            rows,
            terms=views.terms,
            contents=rows if self.determined else None,
        )
        return data, noisy.labels != self.labels[rows]


def read_texts(reader: Reader, name: str, text: str = "text", label: str = "label") -> CleanTable:
    """Return a random sample of a table of single texts."""
    frame = _sample(reader.frame(name).drop_nulls(label))
    texts = frame[text].to_list()
    embeddings = reader.encode(f"grid-{name}-{label}", texts)
    words = tf_idf([reader.tokens(texts).tokens])
    views = FeatureViews.from_features(
        [embeddings[:, 0], embeddings[:, 1], compute_lsa(words)],
        TEXT_WEIGHTS,
        terms=(words, char_trigrams(texts)),
    )
    return CleanTable(views, *_number(frame[label]))


def read_pairs(reader: Reader, name: str) -> CleanTable:
    """Return a random sample of a table of sentence pairs."""
    frame = _sample(reader.frame(name))
    columns = [frame[column].to_list() for column in ("premise", "hypothesis")]
    read = [reader.encode(f"grid-{name}-{i}", column) for i, column in enumerate(columns)]
    layers = [make_pair_features(*(encoding[:, layer] for encoding in read)) for layer in range(2)]
    words = tf_idf([reader.tokens(column).tokens for column in columns])
    views = FeatureViews.from_features([*layers, compute_lsa(words)], TEXT_WEIGHTS)
    return CleanTable(views, *_number(frame["label"]))


def read_digits(reader: Reader) -> CleanTable:
    """Return a random sample of the digits of MNIST."""
    frame = _sample(reader.frame("mnist/train"))
    return CleanTable(_single_view(concat_views([digits(frame)])), *_number(frame["label"]))


def read_numbers(load: Callable) -> CleanTable:
    """Return a table of scikit-learn with numeric columns."""
    bunch = load()
    order = torch.randperm(len(bunch.target), generator=torch.Generator().manual_seed(0))[:ROWS]
    features = make_tabular_features(torch.from_numpy(bunch.data).double(), [])
    labels = torch.from_numpy(bunch.target).long()
    classes = len(bunch.target_names)
    return CleanTable(_single_view(features[order]), labels[order], classes, determined=False)


def read_titanic() -> CleanTable:
    """Return the passengers of the Titanic with their survival."""
    workload = TitanicMlp(Path(os.environ["FASTIF_DATA"]), rows=1_309, queries=0)
    examples = workload._encode(0, 1_309)
    views = _single_view(concat_views([examples.inputs]))
    return CleanTable(views, examples.labels, 2, determined=False)


def split_into_clusters(table: CleanTable, classes: int) -> CleanTable:
    """Return a table with the clusters of its last encoder layer as right labels (k-means)."""
    from sklearn.cluster import KMeans

    fitted = KMeans(classes, n_init=1, random_state=0).fit(table.views.views[1].numpy())
    return CleanTable(table.views, torch.from_numpy(fitted.labels_).long(), classes)


def list_tables(reader: Reader) -> dict[str, Callable[[], CleanTable]]:
    """Return readers of the tables on which the ranking was developed."""
    return {
        "sst2": lambda: read_texts(reader, "sst2/train"),
        "ag_news": lambda: read_texts(reader, "ag_news/test"),
        "amazon_reviews5": lambda: read_texts(reader, "amazon_reviews5/test"),
        "snli": lambda: read_pairs(reader, "snli/dev"),
        "breast_cancer": lambda: read_numbers(datasets.load_breast_cancer),
        "mnist": lambda: read_digits(reader),
    }


def list_held_out_tables(reader: Reader) -> dict[str, Callable[[], CleanTable]]:
    """Return readers of the tables that had no part in the development."""
    return {
        "imdb": lambda: read_texts(reader, "imdb/test"),
        "hausa": lambda: read_texts(reader, "hausa_newsclass/train", label="label_clean"),
        "genres": lambda: read_texts(reader, "multinli/dev_matched", "premise", "genre"),
        "clusters77": lambda: split_into_clusters(read_texts(reader, "ag_news/test"), 77),
        "hans": lambda: read_pairs(reader, "hans/train"),
        "titanic": read_titanic,
        "digits": lambda: read_numbers(datasets.load_digits),
        "wine": lambda: read_numbers(datasets.load_wine),
    }


def _sample(frame: pl.DataFrame) -> pl.DataFrame:
    return frame.sample(min(ROWS, len(frame)), seed=0, shuffle=True)


def _number(column: pl.Series) -> tuple[Tensor, int]:
    names = sorted(column.unique().to_list())
    numbers = {name: i for i, name in enumerate(names)}
    return torch.tensor([numbers[name] for name in column]), len(names)


def _single_view(features: Tensor) -> FeatureViews:
    return FeatureViews((features,), ((1.0,),))
