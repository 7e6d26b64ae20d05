"""Scores of other packages against dense influence on a convex problem, and their signs.

On a convex problem all methods agree. Scores on a real workload are not tested.
"""

import copy
import math
from dataclasses import replace

import pytest
import reference as truth
import torch
from cases import text_problem, token_examples, transformer
from torch import Tensor

import fastif
from benchmarks.fidelity.baselines import BASELINES, bm25
from benchmarks.peers import PEERS, Peer
from benchmarks.peers.plain import Mlp, Plain, Tail, load_plain, make_plain, save_plain
from benchmarks.peers.rows import by_length, restore_order
from benchmarks.peers.run import run_peer
from fastif.models.prefix_cache import PrefixCache

SMALL = {"width": 10, "rank": 12, "batch": 20, "krylov": 30}
"""Options for a problem of 15 parameters."""
SOLVERS = ("dattri CG", "pyDVL CG", "pyDVL Nystroem")
"""Peers that are exact at these sizes."""
PRODUCTS = ("dattri TracIn", "captum TracInCP")
"""Peers whose scores are gradient products."""
each_peer = pytest.mark.parametrize("peer", PEERS.values(), ids=lambda peer: peer.name)


def prepare_peer(peer: Peer) -> Peer:
    """Return the peer with these options, or skip the test."""
    if peer.version is None:
        pytest.skip(f"{peer.package} is not installed: the extra bench-peers")
    small = {k: v for k, v in SMALL.items() if k in peer.options}
    return replace(peer, options={**peer.options, **small}, text={})


@pytest.fixture(scope="module")
def convex() -> Plain:
    """Softmax regression with a little label noise, trained until the gradient is small."""
    generator = torch.Generator().manual_seed(0)
    points = torch.randn(60, 4, generator=generator)
    labels = (points @ torch.randn(4, 3, generator=generator)).argmax(1)
    labels[:6] = torch.randint(3, (6,), generator=generator)
    model = Mlp([4, 3]).eval()
    optimiser = torch.optim.LBFGS(model.parameters(), max_iter=200, line_search_fn="strong_wolfe")

    def closure() -> Tensor:
        optimiser.zero_grad()
        penalty = sum((p**2).sum() for p in model.parameters())
        loss = torch.nn.functional.cross_entropy(model(points[:50]), labels[:50]) + 1e-3 * penalty
        loss.backward()
        return loss

    optimiser.step(closure)
    return Plain(model, (points[:50],), labels[:50], (points[50:],), labels[50:])


def compute_dense(plain: Plain) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients of queries and rows, and the Hessian, by naive autograd in double precision."""

    def problem(inputs: Tensor, labels: Tensor) -> truth.Problem:
        model = Mlp([4, 3])
        model.load_state_dict(plain.model.state_dict())
        names = [name for name, _ in model.named_parameters()]
        rows = list(inputs.double().split(1))
        return truth.Problem(
            model.double(), names, rows, list(labels.split(1)), truth.cross_entropy
        )

    train = problem(plain.train_inputs[0], plain.train_labels)
    queries = problem(plain.query_inputs[0], plain.query_labels)
    return truth.gradients(queries), truth.gradients(train), truth.hessian(train)


def correlation(left: Tensor, right: Tensor) -> float:
    """The mean over queries of Pearson's correlation."""
    pairs = zip(left.double(), right.double(), strict=True)
    return sum(truth.pearson(a, b) for a, b in pairs) / len(left)


@each_peer
def test_scores_follow_the_dense_influence_with_its_sign(peer, convex):
    peer = prepare_peer(peer)
    queries, train, hessian = compute_dense(convex)
    damping = peer.options.get("damping") or 1e-2
    exact = truth.removal_effects(queries, train, hessian, damping)
    solves = peer.name in SOLVERS or peer.grid in SOLVERS
    assert correlation(peer.scores(convex), exact) > (0.999 if solves else 0.6)


@pytest.mark.parametrize("name", PRODUCTS)
def test_gradient_product_scores_are_gradient_products(name, convex):
    peer = prepare_peer(PEERS[name])
    queries, train, _ = compute_dense(convex)
    torch.testing.assert_close(peer.scores(convex), (queries @ train.T).float())


def test_baselines_match_their_definitions(convex):
    queries, train, _ = compute_dense(convex)
    objective = fastif.ModuleObjective(convex.model, fastif.CrossEntropy())
    rows = fastif.TensorExamples(convex.train_inputs[0], convex.train_labels)
    query_examples = fastif.TensorExamples(convex.query_inputs[0], convex.query_labels)
    actual = {name: scores(objective, rows, query_examples) for name, scores in BASELINES.items()}
    normed = [torch.nn.functional.normalize(g) for g in (queries, train)]
    points = [torch.nn.functional.normalize(e.inputs) for e in (query_examples, rows)]
    same = convex.query_labels[:, None] == convex.train_labels[None]
    alike = points[0] @ points[1].T
    torch.testing.assert_close(actual["gradient product"], (queries @ train.T).float())
    cosine = (normed[0] @ normed[1].T).float()  # in double; a gradient near zero costs digits
    torch.testing.assert_close(actual["gradient cosine"], cosine, rtol=1e-3, atol=1e-4)
    torch.testing.assert_close(actual["embedding cosine"], alike)
    signed = torch.where(same, alike, -alike)
    torch.testing.assert_close(actual["embedding cosine, signed by label"], signed)


def test_bm25_ranks_texts_with_common_words_first():
    pytest.importorskip("bm25s", reason="the extra bench-peers")
    scores = bm25(["a good film", "a bad cake", "a cake"], ["Good film!", "the cake"])
    assert scores.argmax(1).tolist() == [0, 2]
    assert scores[0, 1:].tolist() == [0, 0]


@pytest.fixture(scope="module")
def texts() -> tuple[Plain, truth.Problem, truth.Problem]:
    """Tiny encoder with frozen layers below the last, texts of unequal length, whole model."""
    model = transformer("bert", dtype=torch.float32)
    objective = fastif.TransformerObjective(model, "last:1")
    train, queries = token_examples(12), token_examples(5, seed=6)
    names = objective.space.names
    whole = transformer("bert")
    cached = [PrefixCache(objective, e, 2**20) for e in (train, queries)]
    plain = make_plain(Tail.of(objective), *cached)
    return plain, text_problem(whole, names, queries), text_problem(whole, names, train)


def test_a_plain_encoder_has_the_logits_of_the_whole_one(texts):
    plain, queries, _ = texts
    row = truth.flatten_params(queries)
    expected = torch.stack([truth.output(queries, row, i) for i in range(len(queries))])
    torch.testing.assert_close(plain.model(*plain.query_inputs), expected.float())
    wanted = [name for name, p in plain.model.named_parameters() if p.requires_grad]
    assert [name.removeprefix("module.") for name in wanted] == list(queries.names)


@each_peer
def test_an_encoder_has_scores_or_a_reason(peer, texts):
    plain, queries, train = texts
    refusal = peer.explain_refusal(plain)
    peer = prepare_peer(peer)
    if refusal is not None and "EK-FAC" not in refusal:
        pytest.skip(f"works, but {refusal}")
    if refusal is not None:
        spare = replace(plain, model=copy.deepcopy(plain.model))  # its hooks are not removed
        with pytest.raises(Exception, match=r"LayerNorm|a_prev"):
            peer.scores(spare)
        return
    ordered, *places = by_length(plain)
    actual = restore_order(peer.scores(ordered), *places)
    product = truth.gradients(queries) @ truth.gradients(train).T
    assert actual.shape == product.shape
    assert actual.isfinite().all()
    if peer.name in PRODUCTS:
        torch.testing.assert_close(actual, product.float(), rtol=1e-4, atol=1e-6)
    assert correlation(actual, product) > 0.1


def test_settings_are_described_in_words(convex, texts):
    for peer in PEERS.values():
        for plain in (convex, texts[0]):
            assert "{" not in peer.describe(plain)
    assert "of 50 rows" in PEERS["dattri CG"].describe(convex)


def test_a_saved_workload_is_loaded_unchanged(texts, convex, tmp_path):
    for number, plain in enumerate((convex, texts[0])):
        save_plain(plain, tmp_path / str(number))
        back = load_plain(tmp_path / str(number))
        assert not back.model.training
        for name, tensor in plain.model.state_dict().items():
            assert torch.equal(back.model.state_dict()[name], tensor), name
        torch.testing.assert_close(
            back.model(*back.query_inputs), plain.model(*plain.query_inputs), rtol=1e-4, atol=1e-6
        )  # not to the bit: a product's order of summing depends on where a tensor lies in memory
        assert torch.equal(back.train_labels, plain.train_labels)
        kept = [p.requires_grad for p in plain.model.parameters()]
        assert [p.requires_grad for p in back.model.parameters()] == kept


@pytest.mark.long
def test_a_separate_process_gives_equal_scores(texts, tmp_path):
    peer = PEERS["captum TracInCPFast"]
    save_plain(texts[0], tmp_path)
    outcome = run_peer(peer.name, tmp_path, tmp_path / "results", threads=1)
    if peer.version is None:
        assert outcome.failure == "captum is not installed: the extra bench-peers"
        return
    assert outcome.failure is None
    assert outcome.seconds
    assert outcome.peak_mb
    assert outcome.peak_mb >= (outcome.loaded_mb or math.inf)
    torch.testing.assert_close(outcome.scores(), peer.scores(texts[0]))


@pytest.mark.long
def test_a_peer_that_fails_is_an_outcome(convex, texts, tmp_path):
    prepare_peer(PEERS["captum TracInCPFast"])
    save_plain(convex, tmp_path)
    slow = run_peer("captum TracInCPFast", tmp_path, tmp_path, limit_seconds=0.1)
    assert slow.failure == "ended after 0.1 seconds"
    tight = run_peer("captum TracInCPFast", tmp_path, tmp_path, memory_gb=0.01)
    assert tight.failure
    assert tight.path is None
    save_plain(texts[0], tmp_path)
    prepare_peer(PEERS["pyDVL EK-FAC"])
    refused = run_peer("pyDVL EK-FAC", tmp_path, tmp_path)
    assert (refused.failure or "").startswith("not run: ")
