"""Effects with leverage, against retraining without each example."""

import pytest
import reference
import torch
from torch import nn

from fastif import (
    Attributor,
    CrossEntropy,
    Direct,
    Dual,
    GaussNewton,
    ModuleObjective,
    TensorExamples,
    all_ids,
)


class Trained:
    """Softmax regression at its minimum, and real effects of removals on other points."""

    def __init__(self, classes, width, penalty, count=1000, left_out=25):
        generator = torch.Generator().manual_seed(classes)
        points = torch.randn(count + 30, width, generator=generator, dtype=torch.float64)
        truth = torch.randn(classes, width, generator=generator).double() / width**0.5
        sampled = torch.multinomial((2 * points @ truth.T).softmax(1), 1, generator=generator)[:, 0]
        self.points, self.labels = points[:count], sampled[:count]
        self.queries = TensorExamples(points[count:], sampled[count:])
        weights = reference.train_softmax(self.points, self.labels, classes, penalty)
        model = nn.Linear(width, classes, bias=False).double()
        model.weight.data.copy_(weights)
        self.train = TensorExamples(self.points, self.labels, batch_size=200)
        self.objective = ModuleObjective(model, CrossEntropy(), penalty=penalty)
        self.curvature = GaussNewton(self.objective, self.train)
        self.ids = torch.randperm(count, generator=generator)[:left_out]
        again = reference.LeaveOneOut(self.points, self.labels, weights, penalty)
        before = self._losses(weights)
        self.changes = torch.stack(
            [self._losses(again.train_without(i)) - before for i in self.ids.tolist()], 1
        )

    def _losses(self, weights):
        outputs = self.queries.inputs @ weights.T
        return nn.functional.cross_entropy(outputs, self.queries.labels, reduction="none")

    def predicted(self, solver, **options):
        attribute = Attributor(
            self.objective,
            self.train,
            self.curvature.with_damping(0.0),
            solver,
            **options,
        )
        attribution = attribute(self.queries, all_ids(self.queries))
        effects = attribution.influences.removal_effect
        table = torch.zeros_like(effects).scatter(1, attribution.influences.ids, effects)
        return table[:, self.ids], attribution.certificate

    def slope(self, predicted):
        """Least-squares slope of predicted on real changes, with an intercept."""
        real = self.changes - self.changes.mean()
        return float((predicted * real).sum() / real.square().sum())


@pytest.mark.default_cases
@pytest.mark.parametrize("penalty", [1e-2, 1e-3])
@pytest.mark.parametrize(("classes", "width"), [(2, 120), (3, 80)])
def test_effects_match_leave_one_out_retraining(classes, width, penalty):
    """A thousand examples, weak regularisation: first-order effects are far too small."""
    world = Trained(classes, width, penalty)
    for solver in (Direct(), Dual()):
        plain, certificate = world.predicted(solver, leverage="off")
        assert certificate.leverage == "off: not asked for"
        assert world.slope(plain) < 0.91
        effects, certificate = world.predicted(solver)
        assert certificate.leverage == "on"
        assert abs(world.slope(effects) - 1) < 0.03
