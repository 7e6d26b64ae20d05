"""Both sides of the speed benchmark compute equal scores. No time is asserted."""

import copy
import json
from pathlib import Path

import pytest
import reference as truth
import torch
from cases import text_problem, token_examples, transformer
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from benchmarks import reference
from benchmarks.example import QUICK, Singles, open_example
from benchmarks.page import write_pages
from benchmarks.report import build_pages
from benchmarks.sides import SIDES
from benchmarks.speed import problem
from benchmarks.summary import summarise
from fastif import Gradients, TransformerObjective, influence
from fastif.candidates import Candidates
from fastif.models.transformer import select_attributed_names


@pytest.fixture
def tiny():
    """Tiny BERT, six texts, its attributed names, and the problem of the dense reference."""
    model = transformer("bert", hidden_size=4, intermediate_size=2, num_hidden_layers=2)
    names = select_attributed_names(model, "last:1")
    examples = token_examples(6, segments=True)
    return model, names, examples, text_problem(model, names, examples)


@pytest.mark.long
def test_lissa_reaches_the_closed_fixed_point(tiny):
    model, names, examples, problem = tiny
    H = truth.hessian(problem, [1])  # one example sampled in each step: no noise
    v = truth.gradients(problem)[0]
    curvature = torch.linalg.eigvalsh(H)
    damping = float(0.5 * curvature[-1] - curvature[0])
    assert curvature[0] < 0 < curvature[-1]
    scale = float(curvature[-1]) + damping
    setting = reference.Setting(damp=damping / scale, scale=scale, depth=150)
    assert setting.damping == pytest.approx(damping)

    singles = Singles(examples)
    params = reference.attribute(model, names)
    draws = reference.shuffled([singles[1]], seed=0)
    solved = reference.row(reference.s_test(model, params, singles[0], draws, setting))

    expected = torch.linalg.solve(H + damping * torch.eye(len(H), dtype=H.dtype), v)
    torch.testing.assert_close(solved, expected, rtol=1e-8, atol=1e-10)
    assert torch.cosine_similarity(solved, v, dim=0) < 0.999  # the curvature matters


@pytest.mark.long
def test_every_step_samples_one_example(tiny):
    model, names, examples, problem = tiny
    matrices = [truth.hessian(problem, [i]) for i in range(len(examples))]
    v = truth.gradients(problem)[2]
    setting = reference.Setting(damp=0.02, scale=7.0, depth=8, repeats=2)
    order = torch.Generator().manual_seed(5)
    drawn = [i for _ in range(3) for i in torch.randperm(6, generator=order).tolist()]
    means = []
    for first in (0, 8):
        e = v
        for i in drawn[first : first + 8]:
            e = v + (1 - 0.02) * e - matrices[i] @ e / 7.0
        means.append(e / 7.0)

    singles = Singles(examples)
    params = reference.attribute(model, names)
    draws = reference.shuffled(singles, seed=5)
    solved = reference.row(reference.s_test(model, params, singles[2], draws, setting))

    torch.testing.assert_close(solved, (means[0] + means[1]) / 2, rtol=1e-9, atol=1e-12)


def test_candidate_scores_equal_ours_for_the_same_s_test(tiny):
    model, names, examples, problem = tiny
    generator = torch.Generator().manual_seed(1)
    gradients = truth.gradients(problem)
    s_test = torch.randn(2, gradients.shape[1], generator=generator, dtype=torch.float64)
    objective = TransformerObjective(model, "last:1")
    everyone = Candidates(torch.arange(6).expand(2, -1), torch.zeros(2, 6))
    ours = influence(Gradients(objective), examples, s_test, everyone)
    by_position = torch.empty_like(ours.removal_effect)
    by_position.scatter_(1, ours.ids, ours.removal_effect)

    params, singles = reference.attribute(model, names), Singles(examples)
    published = [
        [
            reference.removal_effect(model, params, reference.pieces(row, params), single, 6)
            for single in singles
        ]
        for row in s_test
    ]

    expected = s_test @ gradients.T / 6
    torch.testing.assert_close(torch.tensor(published, dtype=torch.float64), expected)
    torch.testing.assert_close(by_position, expected)


STUDY = """
name = "tiny"
labels = ["neg", "pos"]
[model]
path = "model"
max_length = 12
[train]
table = "train.csv"
text = "text"
label = "label"
[queries]
table = "queries.csv"
text = "text"
label = "label"
[curvature]
damping = 0.01
[candidates]
kind = "full"
[run]
shard_size = 4
batch_size = 4
[store]
path = "store"
"""
WORDS = ("good", "bad", "film", "plot", "actor", "great", "awful", "fine", "dull", "the", "was")


@pytest.fixture(scope="module")
def study(tmp_path_factory) -> Path:
    """Study of 40 training texts and 9 queries, with its model saved next to it."""
    folder = tmp_path_factory.mktemp("study")
    vocabulary = {word: i for i, word in enumerate(["[PAD]", "[UNK]", *WORDS])}
    raw = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    raw.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=raw, pad_token="[PAD]", unk_token="[UNK]")
    model = transformer("bert", torch.float32, vocab_size=len(vocabulary), num_labels=2)
    tokenizer.save_pretrained(folder / "model")
    model.save_pretrained(folder / "model")
    generator = torch.Generator().manual_seed(0)
    for name, count in (("train", 40), ("queries", 9)):
        lines = ["text,label"]
        for i in range(count):
            length = int(torch.randint(3, 10, (1,), generator=generator))
            picked = torch.randint(len(WORDS), (length,), generator=generator).tolist()
            lines.append(f"{' '.join(WORDS[j] for j in picked)},{('neg', 'pos')[i % 2]}")
        (folder / f"{name}.csv").write_text("\n".join(lines) + "\n")
    (folder / "study.toml").write_text(STUDY)
    return folder / "study.toml"


@pytest.fixture(scope="module")
def result(study) -> dict:
    """Result of a quick measurement in this process."""
    raw = {side: SIDES[side](open_example(study), QUICK, 0, study.parent) for side in SIDES}
    raw |= {side: [{**raw[side], "load": 1.0}] for side in ("published", "ours")}
    machine = {
        "date": "today",
        "processor": "some",
        "cores": 1,
        "threads": 1,
        "versions": {"torch": torch.__version__},
    }
    plan = open_example(study).plan
    return json.loads(
        json.dumps(
            {
                "machine": machine,
                "problem": problem(plan),
                "sizes": vars(QUICK),
                **summarise(raw, 40, 9),
                "raw": raw,
            }
        )
    )


@pytest.mark.long
def test_a_quick_measurement_agrees_and_adds_up(result):
    answers = result["raw"]["agreement"]
    assert answers["scores"]["pairs"] == QUICK.compared
    assert answers["scores"]["max_difference_over_largest_score"] < 1e-4
    assert answers["published"]["damping"] == pytest.approx(50)

    published, ours = result["raw"]["published"][0], result["raw"]["ours"][0]
    assert ours["residual"] < 1e-2
    assert ours["candidates"] == 2  # 5 % of 40
    assert 2 <= ours["distinct"] <= 18
    full, near = result["lines"]["query_full"], result["lines"]["query_knn"]
    assert full["published"] == pytest.approx(published["s_test"] + 40 * published["score"])
    assert near["published"] == pytest.approx(published["s_test"] + 2 * published["score"])
    assert full["ours"] == pytest.approx(ours["full"] / 9)
    once = result["lines"]["query_full_once"]
    assert once["ours"] == pytest.approx(ours["full"] / 9 + (ours["prefix"] + ours["factor"]) / 9)
    pair = result["lines"]["pair_full"]
    assert pair["ratio"] == pytest.approx(published["score"] / (ours["score_full"] / 9 / 40))


@pytest.mark.long
def test_multiply_adds_of_a_gradient_are_those_of_its_layers(result, study):
    floor = result["raw"]["floor"]
    # hidden 8, inner 12; attention's three projections need no gradient of their input
    position = 3 * 2 * 8 * 8 + 3 * 8 * 8 + 2 * 3 * 8 * 12
    head = 3 * 8 * 8 + 3 * 8 * 2
    length = float(open_example(study).train_examples.lengths.float().mean())
    assert floor["gradient"] == pytest.approx(length * position + head)


@pytest.mark.long
def test_the_page_has_the_machine_and_is_replaced(result, tmp_path):
    result = copy.deepcopy(result)
    write_pages(tmp_path, build_pages(result))
    result["machine"]["processor"] = "another"
    pages = build_pages(result)
    write_pages(tmp_path, pages)

    assert (tmp_path / "speed.md").read_text() == pages[0].render()
    assert "another, 1 cores" in pages[0].render()
    assert (tmp_path / "index.md").read_text().count("(speed.md)") == 1
