"""`fastif doctor` compares the stated loss with the gradient at the trained weights."""

import command_line
import own_package
import polars as pl
import pytest
import tiny
import torch
from safetensors.torch import save_file
from target_worlds import WORLDS, make_world

from fastif import InputError
from fastif.losses import CrossEntropy
from tasks.planning.open_run import load_run
from tasks.run.spec import plan_run
from tasks.terminal.stated_loss import check_stated_loss


@pytest.fixture
def folder(tmp_path, monkeypatch):
    own_package.install(tmp_path, monkeypatch)
    return tmp_path


def train_smoothed(folder) -> None:
    """Replace the tables by larger ones, and the weights by a minimum with label smoothing."""
    rows = own_package.write_rows(folder / "train.parquet", 300, 0)
    encoded = [own_package.encode(row) for row in rows]
    inputs = {name: torch.cat([row[name] for row in encoded]) for name in encoded[0]}
    labels = torch.tensor([own_package.LABELS.index(row["label"]) for row in rows])
    torch.manual_seed(0)
    network = own_package.Network(2).double()
    optimiser = torch.optim.LBFGS(
        network.parameters(), max_iter=2000, line_search_fn="strong_wolfe", tolerance_change=1e-14
    )

    def closure():
        optimiser.zero_grad()
        loss = CrossEntropy(0.1)(network(**inputs).logits, labels).mean()
        loss.backward()
        return loss

    optimiser.step(closure)
    tensors = {name: tensor.float() for name, tensor in network.state_dict().items()}
    save_file(tensors, folder / "weights" / "weights.safetensors")


def run_doctor(study) -> tuple[int, str]:
    code, out, message = command_line.run("doctor", "--study", study)
    assert "Traceback" not in out + message
    return code, " ".join((out + message).split())


def test_a_wrong_statement_of_the_loss_is_told(folder):
    study = own_package.make_study(folder)[0]
    code, text = run_doctor(study)
    assert code == 0
    assert "not compared with others: 60 training rows only" in text
    train_smoothed(folder)
    assert len(pl.read_parquet(folder / "train.parquet")) == 300
    code, text = run_doctor(study)
    assert code == 2
    assert "fail stated loss: [loss]" in text
    assert "smaller under another: label smoothing of 0.1" in text
    stated = study.read_text() + "\n[loss]\nlabel_smoothing = 0.1\n"
    study.write_text(stated)
    text = run_doctor(study)[1]
    assert "ok stated loss: mean gradient" in text
    assert "it is not 4 times smaller under no label smoothing" in text


@pytest.mark.long
@pytest.mark.parametrize("name", WORLDS)
def test_every_target_is_compared_with_other_losses(name, tmp_path):
    folder, world = tmp_path / "made", WORLDS[name]
    make_world(folder, world)
    rows = pl.read_csv(folder / "train.csv")
    parts = [rows.with_columns(pl.col("id") + f"-{part}") for part in range(2)]
    pl.concat(parts).write_csv(folder / "train.csv")
    study = tiny.write_study(folder, **world.study)
    context = load_run(plan_run(study))
    assert len(context.train_examples) >= 64
    try:
        text = check_stated_loss(context)
    except InputError as error:  # the models of these worlds are hardly trained
        text = str(error)
    has_others = context.study.loss.kind != "ordinal"
    assert ("times smaller under" in text) == has_others, text
    assert ("no other loss to compare" in text) != has_others, text
