"""The question that influence functions answer for a network: the proximal Bregman response.

A network is not convex and its training does not end in a minimum, so training again without a row
ends elsewhere for reasons that have nothing to do with the row. Bae and others (2022, "If influence
functions are the answer, then what is the question?") name what the formula does track: how the
trained parameters move if the row's loss is taken away while the outputs on the training set are
held near what they are, and the parameters near where they are.
"""

import torch
from torch import Tensor
from torch.nn.functional import kl_div

from fastif.data.examples import Examples, all_ids
from fastif.models.objective import Objective
from fastif.models.parameters import Params
from fastif.training.retrain import minimize_over_params


def proximal_bregman_response(
    objective: Objective, examples: Examples, row: int, damping: float, steps: int = 300
) -> Params:
    """Argmin of 1/n Σ_i D(f(x_i, θ), f(x_i, θ_s)) + ½ λ ‖θ - θ_s‖² - 1/n L(z, θ).

    D is the Bregman divergence of cross-entropy, the Kullback-Leibler divergence of the present
    softmax from the trained one. Its second derivative at the trained parameters θ_s is the
    Gauss-Newton matrix, and that of the last term is left out by the formula; so
    (G + λ)⁻¹ ∇L(z) / n is the first step towards this minimum.

    Args:
        objective: a classifier by cross-entropy, at its trained parameters.
        examples: its training rows, taken as one batch.
        row: position of the row that is taken away.
        damping: λ, as influence is asked with.
        steps: of L-BFGS at most.
    """
    batch, trained = examples.take(all_ids(examples)), objective.params
    removed = examples.take(torch.tensor([row]))
    with torch.no_grad():
        trained_log_probs = objective.outputs(trained, batch).log_softmax(1)
    n = len(examples)

    def proximal_objective(params: Params) -> Tensor:
        log_probs = objective.outputs(params, batch).log_softmax(1)
        outputs = kl_div(log_probs, trained_log_probs, reduction="sum", log_target=True) / n
        squared_changes = [(params[name] - trained[name]).square().sum() for name in trained]
        removed_loss = objective.losses(params, removed).sum() / n
        return outputs + damping / 2 * torch.stack(squared_changes).sum() - removed_loss

    return minimize_over_params(proximal_objective, trained, steps)
