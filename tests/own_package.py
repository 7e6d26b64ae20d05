"""A package with a torch module of its own, as an editable install leaves it."""

import json
import sys
from pathlib import Path
from types import SimpleNamespace

import polars as pl
import pytest
import torch
from safetensors.torch import save_file
from tiny import write_study
from torch import Tensor, nn

NAME = "loan_model"
SOURCE = """
import torch
from pathlib import Path
from safetensors.torch import load_file
from torch import nn

JOBS = ["clerk", "cook", None]


class Network(nn.Module):
    def __init__(self, outputs):
        super().__init__()
        self.job = nn.Embedding(len(JOBS), 2)
        self.body = nn.Linear(4, 3)
        self.head = nn.Linear(3, outputs)

    def forward(self, numbers, job):
        return self.head(torch.tanh(self.body(torch.cat([numbers, self.job(job)], 1))))


def collate(rows):
    numbers = torch.tensor([[row["age"] / 50, row["income"]] for row in rows])
    jobs = torch.tensor([JOBS.index(row["job"]) for row in rows])
    return {"numbers": numbers.float(), "job": jobs}


def collate_with_labels(rows):
    return {**collate(rows), "labels": torch.zeros(len(rows))}


def load(folder, outputs=2, loss=None, collate=collate):
    network = Network(outputs)
    network.load_state_dict(load_file(Path(folder) / "weights.safetensors"))
    return network, loss, collate


def load_binary(folder):
    return load(folder, 1, nn.BCEWithLogitsLoss())


def load_number(folder):
    return load(folder, 1)


def load_several(folder):
    return load(folder, 2, nn.BCEWithLogitsLoss())


def load_several_sum(folder):
    return load(folder, 2, nn.BCEWithLogitsLoss(reduction="sum"))


def load_several_sigmoid(folder):
    network, loss, function = load_several(folder)
    network.head = nn.Sequential(network.head, nn.Sigmoid())
    return network, loss, function


def load_softmax(folder):
    network, loss, function = load(folder)
    network.head = nn.Sequential(network.head, nn.Softmax(1))
    return network, loss, function


def load_log_softmax(folder):
    network, loss, function = load(folder)
    network.head = nn.Sequential(network.head, nn.LogSoftmax(1))
    return network, loss, function


def load_sigmoid(folder):
    network, loss, function = load_binary(folder)
    network.head = nn.Sequential(network.head, nn.Sigmoid())
    return network, loss, function


def load_hinge(folder):
    return load(folder, 2, nn.MultiMarginLoss())


def load_smoothed(folder):
    return load(folder, 2, nn.CrossEntropyLoss(label_smoothing=0.1))


def load_random(folder):
    return Network(2), None, collate


def load_labels(folder):
    return load(folder, collate=collate_with_labels)


def load_alone(folder):
    return load(folder)[0]


def load_failing(folder):
    return load(Path(folder) / "nowhere")


def load_dropout(folder):
    network, loss, function = load(folder)
    network.body.register_forward_hook(lambda *args: torch.dropout(args[2], 0.5, True))
    return network, loss, function
"""
LABELS = ["refused", "granted"]


class Network(nn.Module):
    """The same module, written here again."""

    def __init__(self, outputs: int) -> None:
        super().__init__()
        self.job = nn.Embedding(3, 2)
        self.body = nn.Linear(4, 3)
        self.head = nn.Linear(3, outputs)

    def forward(self, numbers: Tensor, job: Tensor) -> SimpleNamespace:
        """Logits [n outputs]."""
        hidden = torch.tanh(self.body(torch.cat([numbers, self.job(job)], 1)))
        return SimpleNamespace(logits=self.head(hidden))


def encode(row: dict) -> dict[str, Tensor]:
    """The inputs of one row of a table, in double precision."""
    job = ["clerk", "cook", None].index(row["job"])
    numbers = torch.tensor([[float(row["age"]) / 50, float(row["income"])]], dtype=torch.float64)
    return {"numbers": numbers, "job": torch.tensor([job])}


def install(folder: Path, patch: pytest.MonkeyPatch) -> None:
    """Write the package and the record of an editable install, and put both on the path."""
    source, site = folder / "source", folder / "site"
    (source / NAME).mkdir(parents=True)
    (source / NAME / "__init__.py").write_text(SOURCE)
    record = site / f"{NAME}-1.2.dist-info"
    record.mkdir(parents=True)
    (record / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {NAME}\nVersion: 1.2\n")
    (record / "direct_url.json").write_text(
        json.dumps({"url": source.as_uri(), "dir_info": {"editable": True}})
    )
    for path in (site, source):
        patch.syspath_prepend(path)
    patch.delitem(sys.modules, NAME, raising=False)


def write_rows(path: Path, count: int, seed: int) -> list[dict]:
    """Write a table of applicants whose label follows from the numbers, up to noise."""
    generator = torch.Generator().manual_seed(seed)
    ages = torch.randint(20, 70, (count,), generator=generator).tolist()
    incomes = torch.randn(count, generator=generator).tolist()
    jobs = torch.randint(0, 3, (count,), generator=generator).tolist()
    noise = torch.randn(count, generator=generator).tolist()
    rows = [
        {
            "id": f"{path.stem}-{i}",
            "age": ages[i],
            "income": round(incomes[i], 3),
            "job": ["clerk", "cook", None][jobs[i]],
            "label": LABELS[incomes[i] + 0.5 * noise[i] + (jobs[i] == 1) > 0],
        }
        for i in range(count)
    ]
    pl.DataFrame(rows).write_parquet(path)
    return rows


def make_study(folder: Path, function: str = "load", outputs: int = 2, **changes: dict | None):
    """Train the module, write its weights, tables and study; return study, rows and queries."""
    train = write_rows(folder / "train.parquet", 60, 0)
    queries = write_rows(folder / "queries.parquet", 6, 1)
    network = fit(train, outputs)
    (folder / "weights").mkdir()
    tensors = {name: tensor.float() for name, tensor in network.state_dict().items()}
    save_file(tensors, folder / "weights" / "weights.safetensors")
    section = {"features": ["age", "income", "job"], "label": "label", "id": "id", "text": None}
    sections: dict = {
        "top": {"labels": LABELS},
        "model": {
            "path": "weights",
            "factory": f"{NAME}:{function}",
            "max_length": None,
        },
        "train": {"table": "train.parquet", **section},
        "queries": {"table": "queries.parquet", **section, "groups": None},
        "parameters": {"attributed": None},
        "candidates": {"kind": "full", "keep": 60},
    }
    for name, keys in changes.items():
        sections[name] = None if keys is None else {**sections.get(name, {}), **keys}
    return write_study(folder, **sections), train, queries


def fit(rows: list[dict], outputs: int) -> Network:
    """Fit the module to the rows by full-batch Adam."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = Network(outputs).double()
    inputs = [encode(row) for row in rows]
    batch = {key: torch.cat([given[key] for given in inputs]) for key in inputs[0]}
    targets = torch.tensor([LABELS.index(row["label"]) for row in rows])
    optimizer = torch.optim.Adam(network.parameters(), lr=0.05)
    for _ in range(60):
        optimizer.zero_grad()
        logits = network(**batch).logits
        if outputs == 1:
            logits = torch.cat([torch.zeros_like(logits), logits], 1)
        nn.functional.cross_entropy(logits, targets).backward()
        optimizer.step()
    return network
