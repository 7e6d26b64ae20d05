"""How often a class is labelled as another, and what a label says when this is known.

noise[t, y] is the probability that a row of class t is labelled y. With a classifier's p(t | x) and
labels that depend on x through t alone, p(t | x, y) is proportional to p(t | x) noise[t, y].
"""

import torch
from jaxtyping import Float, Int
from torch import Tensor

from fastif.mislabels.linear_head import calibrated

TRUST = 0.7
"""Share of right labels that is assumed before anything is known."""

LARGEST = 10.0
"""Of the logarithm of the number that logits are multiplied by."""

PRIOR, ANY = 2.0, 0.1
"""Rows that are counted in advance: rightly labelled ones of each class, and of each other kind."""

STEPS = 30

SUREST, FEWEST = (0.02, 0.05, 0.1, 0.25), 20
"""Shares of the rows predicted to be of a class, and least number, that are taken for certain."""

ALIKE = 5.0
"""Rows that are counted in advance at each class's anchors, with the noise of all classes."""

ENOUGH = 0.3
"""Of the labels' uncertainty, that features take away where every class has a noise of its own."""

PENALTY = 1e-4
"""Of the squared numbers that calibrate logits: without it a class without rows has none."""


def assumed(classes: int) -> Float[Tensor, "c c"]:
    """Noise before anything is known: the same for all classes."""
    noise = torch.full((classes, classes), (1 - TRUST) / (classes - 1))
    return noise.fill_diagonal_(TRUST)


def posterior(
    p: Float[Tensor, "n c"], labels: Int[Tensor, " n"], noise: Float[Tensor, "c c"]
) -> Float[Tensor, "n c"]:
    """p(t | x, y) for each row.

    >>> posterior(torch.tensor([[0.5, 0.5]]), torch.tensor([0]), assumed(2))
    tensor([[0.7000, 0.3000]])
    """
    joint = p * noise[:, labels].T
    return joint / joint.sum(1, keepdim=True)


def estimated(
    p: Float[Tensor, "n c"],
    labels: Int[Tensor, " n"],
    noise: Float[Tensor, "c c"],
    steps: int = STEPS,
    known: Float[Tensor, "n c"] | None = None,
    temper: float = 1.0,
) -> Float[Tensor, "c c"]:
    """The noise under which the labels are likeliest, by expectation maximisation from `noise`.

    Args:
        p: the classifier's belief in each row's class.
        labels: as given.
        noise: to start from.
        steps: of the iteration.
        known: one-hot rows for those whose class is certain, zeros for the others.
        temper: how far classes may differ; see `tempered_noise`.
    """
    given = torch.nn.functional.one_hot(labels, len(noise)).to(p)
    for _ in range(steps):
        belief = posterior(p, labels, tempered_noise(noise, temper))
        if known is not None:
            belief = torch.where(known.sum(1, keepdim=True) > 0, known, belief)
        counts = belief.T @ given + PRIOR * torch.eye(len(noise)).to(p) + ANY
        noise = counts / counts.sum(1, keepdim=True)
    return noise


def tempered_noise(noise: Float[Tensor, "c c"], by: float) -> Float[Tensor, "c c"]:
    """Noise between that which is the same for all classes (0) and itself (1), geometrically."""
    if by == 1:
        return noise
    classes = len(noise)
    off = noise.clone().fill_diagonal_(0)
    alike = off.sum() / (classes * (classes - 1))
    mixed = off.clamp_min(1e-6) ** by * alike.clamp_min(1e-6) ** (1 - by)
    mixed.fill_diagonal_(0)
    return mixed + torch.diag(1 - mixed.sum(1))


def likeliest(
    logits: Float[Tensor, "n c"],
    labels: Int[Tensor, " n"],
    known: Float[Tensor, "n c"] | None = None,
) -> tuple[Float[Tensor, "n c"], Float[Tensor, "c c"]]:
    """p(t | x) and the noise that together make the labels likeliest.

    p(t | x) = softmax(a · logits + b), and a label has the probability sum over t of p(t | x)
    noise[t, y]: a head that was fitted to noisy labels is calibrated through the noise, which it
    would else count twice. Where a row's certainty hardly differs from another's, little noise and
    unsure logits explain as much as much noise and sure ones; so of two answers that with more
    noise is taken, class by class: this, and what the surest rows of a class say (`anchored`).
    Where features say little of labels, classes' noises cannot be told apart, and are the more
    alike the less they say: with the square of it, for doubt that is taken for the noise of some
    classes moves all of their rows.

    Args:
        logits: of heads that have not seen the row.
        labels: as given.
        known: one-hot rows for those whose class is certain, zeros for the others.
    """
    joint = jointly(logits, labels, known)[1]
    anchors = anchored(logits, labels)
    more = anchors.diagonal() < joint.diagonal()
    noise = torch.where(more[:, None], anchors, joint)
    noise = tempered_noise(noise, sureness(skill_of(logits, labels)) ** 2)
    return _fitted(logits, labels, noise, known)[0], noise


def jointly(
    logits: Float[Tensor, "n c"],
    labels: Int[Tensor, " n"],
    known: Float[Tensor, "n c"] | None = None,
) -> tuple[Float[Tensor, "n c"], Float[Tensor, "c c"]]:
    """The same by likelihood alone, every class with the noise of its own."""
    return _fitted(logits, labels, None, known)


def explained(logits: Float[Tensor, "n c"], labels: Int[Tensor, " n"]) -> Float[Tensor, " n"]:
    """Log-likelihood of each label under `jointly`."""
    p, noise = jointly(logits, labels)
    return (p * noise[:, labels].T).sum(1).log()


def sureness(skill: float) -> float:
    """1 where features take enough of the labels' uncertainty away to tell noise from doubt."""
    return min(1.0, skill / ENOUGH)


def skill_of(logits: Float[Tensor, "n c"], labels: Int[Tensor, " n"]) -> float:
    """Share of the labels' uncertainty that logits of heads that have not seen them take away."""
    return skill(calibrated(logits, labels).log_softmax(1), labels)


def skill(told: Float[Tensor, "n c"], labels: Int[Tensor, " n"]) -> float:
    """The same of log-probabilities as they are."""
    own = told.gather(1, labels[:, None])
    share = labels.bincount().double() / len(labels)
    uncertain = float(-(share[share > 0] * share[share > 0].log()).sum())
    return max(0.0, 1 + float(own.mean()) / uncertain)


def anchored(logits: Float[Tensor, "n c"], labels: Int[Tensor, " n"]) -> Float[Tensor, "c c"]:
    """The labels of the surest rows of each class, as if they were certainly of it.

    Anchor points (Liu and Tao, 2016; Patrini and others, 2017), but a share of each class. Of
    several shares that with the fewest other labels is taken: where a smaller one has fewer, what
    the larger one has is doubt and not noise.
    """
    told = logits.log_softmax(1)
    predicted, classes = told.argmax(1), logits.shape[1]
    counts = torch.zeros(classes, classes)
    for t in range(classes):
        rows = (predicted == t).nonzero()[:, 0]
        surest = labels[rows[told[rows, t].argsort(descending=True, stable=True)]]
        sizes = {max(min(len(rows), FEWEST), round(share * len(rows))) for share in SUREST}
        found = [surest[:size].bincount(minlength=classes).float() for size in sorted(sizes)]
        counts[t] = min(
            found, key=lambda seen: float((seen.sum() - seen[t] + 1) / (seen.sum() + 2))
        )
    wrong = (counts.sum() - counts.trace() + 1) / (counts.sum() + 2)
    alike = torch.full((classes, classes), float(wrong) / (classes - 1))
    counts += ALIKE * alike.fill_diagonal_(1 - float(wrong))
    return counts / counts.sum(1, keepdim=True)


def _fitted(
    logits: Tensor, labels: Tensor, noise: Tensor | None, known: Tensor | None
) -> tuple[Tensor, Tensor]:
    """p(t | x) and the noise; fitted too where it is not given."""
    classes = logits.shape[1]
    scale, shift = torch.zeros(1).requires_grad_(), torch.zeros(classes).requires_grad_()
    free = (assumed(classes) if noise is None else noise).log().requires_grad_(noise is None)
    numbers = [scale, shift, *([free] if noise is None else [])]
    optimiser = torch.optim.LBFGS(
        numbers, max_iter=200, history_size=20, line_search_fn="strong_wolfe", tolerance_grad=1e-7
    )
    ahead = PRIOR * torch.eye(classes) + ANY
    sure = None if known is None else known.sum(1) > 0

    def stretch() -> Tensor:
        # Where logits say nothing, a step of the line search may go so far that exp overflows.
        return scale.clamp(-LARGEST, LARGEST).exp()

    def closure() -> Tensor:
        optimiser.zero_grad()
        told = (stretch() * logits + shift).log_softmax(1)
        rates = free.log_softmax(1)
        both = told + rates[:, labels].T
        each = both.logsumexp(1)
        if known is not None and sure is not None:
            each = torch.where(sure, (known * both).sum(1), each)
        loss = -each.mean() + PENALTY * (shift.square().sum() + scale.square().sum())
        if noise is None:
            loss = loss - (ahead * rates).sum() / len(labels)
        loss.backward()
        return loss

    optimiser.step(closure)  # type: ignore[arg-type]
    with torch.no_grad():
        return (stretch() * logits + shift).softmax(1), free.softmax(1)
