"""Proximal Bregman response function: the retraining that influence functions predict.

A network is not convex and its training does not end in a minimum, so leave-one-out retraining
differs for reasons other than the removed example. Influence functions approximate another quantity
(Bae et al., 2022, "If influence functions are the answer, then what is the question?"): the change
of the trained parameters if the example's loss is removed while the outputs on the training set,
and the parameters, are kept close to their present values.
"""

import torch
from torch import Tensor
from torch.nn.functional import kl_div

from fastif.data.examples import Examples, all_ids
from fastif.errors import InputError
from fastif.losses import CrossEntropy
from fastif.models.objective import Objective
from fastif.models.parameters import Params
from fastif.training.retrain import minimize_over_params


def proximal_bregman_response(
    objective: Objective, examples: Examples, row: int, damping: float, steps: int = 300
) -> Params:
    """Minimise the proximal Bregman objective (PBRF; Bae et al., 2022) for one removed example.

        argmin over θ of 1/n Σ_i D(f(x_i, θ), f(x_i, θ_s)) + ½ λ ‖θ - θ_s‖² - 1/n L(z, θ)

    D is the Bregman divergence of cross-entropy: the Kullback-Leibler divergence of the present
    softmax from that of the trained parameters θ_s. Its Hessian at θ_s is the Gauss-Newton matrix
    G, and the formula ignores the Hessian of the last term, so (G + λI)⁻¹ ∇L(z) / n is the first
    Newton step.

    Args:
        objective: Classifier with cross-entropy, at its trained parameters.
        examples: Training set, read as one batch.
        row: Position of the removed example.
        damping: Damping λ, the same as for influence.
        steps: Largest number of L-BFGS iterations.

    Returns:
        Parameters at the minimum, by name.

    Raises:
        InputError: The loss is not the softmax cross-entropy.
    """
    if not isinstance(objective.loss, CrossEntropy):
        raise InputError(
            "proximal_bregman_response",
            "a classifier with CrossEntropy, whose Bregman divergence is computed",
            type(objective.loss).__name__,
            "Compare with retraining for other losses.",
        )
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
