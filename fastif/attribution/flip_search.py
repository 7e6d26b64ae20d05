"""Search of the flip set: prefixes of the rows sorted by effect, corrected by Newton steps."""

from collections.abc import Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor

from fastif.attribution.attributor import Attributor
from fastif.attribution.edit_effects import EditEffects, compute_edit_effects
from fastif.attribution.edited_prefix import EditedPrefix
from fastif.attribution.edited_response import EditedResponse, Response
from fastif.attribution.flip_checks import check_flip, find_labels, list_limits
from fastif.attribution.flip_set import Bracket, FlipSet, is_better
from fastif.attribution.group_removal import MAX_GROUP_FACTOR_ROWS
from fastif.attribution.leverage import find_leverage_obstacle
from fastif.data.arrays import as_ids
from fastif.data.examples import Batch
from fastif.data.relabeled_examples import RelabeledExamples
from fastif.data.torch_forms import ExamplesLike, as_examples
from fastif.models.objective import Objective

MAX_ROWS = 50
"""Default of the largest number of examples in a flip set."""

MAX_RIVALS = 5
"""Competing classes whose sets are corrected to second order: those with the smallest sets."""

MAX_STEPS = 4
"""Default number of further Newton steps, each with a pass over the training set."""

CHUNK = 8
"""Number of examples that are solved first; each further chunk is as large as all before."""


def find_flip_set(
    attributor: Attributor,
    queries: ExamplesLike,
    query: int,
    *,
    relabel: bool = False,
    max_rows: int = MAX_ROWS,
    steps: int = MAX_STEPS,
) -> FlipSet:
    """Smallest training subset to flip a prediction (Yang et al., 2023; Yang et al., 2024).

    Let m_r = z_t - z_r be the margin of the predicted class t against class r, and e_i the
    first-order effect of editing example i: the fall of m_r. To first order effects add up, and the
    set S flips the prediction to r if Σ_{i∈S} e_i > m_r. **Bound.** With the examples sorted by
    effect, no set of k examples has a larger sum than the first k. So the smallest k with
    e_1 + ... + e_k > m_r is the exact minimum under additivity, as in Broderick et al. (2020), and
    the minimum over r is that of the flip.

    Then each prefix of the order takes one Newton step on the objective with its examples edited
    (`EditedPrefix`), the prefixes around the shortest one that flips take further steps
    (`EditedResponse`), and the outputs of the query are computed at the parameters after them. The
    answer is the shortest prefix with another prediction there, over the rivals with the smallest
    first-order sets; it may be shorter or longer than the first-order one. That no smaller set
    exists is proved to first order only.

    The label of the query is not read.

    Args:
        attributor: Attributor of one model with at least two outputs.
        queries: Table of the query.
        query: Position of the query.
        relabel: Whether examples are relabelled, each to the label with the largest effect, and not
            removed.
        max_rows: Largest number of examples in the set.
        steps: Further Newton steps for each set that is tried; 0 ends after the first step.

    Raises:
        InputError: The position or `max_rows` is out of range, the model is no classifier of
            classes by number, or the gradient of the query is not finite.

    Examples:
        >>> from fastif import Direct, GaussNewton, ModuleObjective, CrossEntropy, TensorExamples
        >>> model = torch.nn.Linear(1, 2, bias=False)
        >>> model.weight.data[:] = torch.tensor([[0.0], [0.2]])
        >>> train = TensorExamples([[1.0], [1.0], [1.0], [-1.0]], [1, 1, 0, 0])
        >>> objective = ModuleObjective(model, CrossEntropy())
        >>> operator = GaussNewton(objective, train).with_damping(0.5)
        >>> flip = find_flip_set(Attributor(objective, train, operator, Direct()), train, 0)
        >>> flip.is_flip, len(flip), flip.first_order_size, round(flip.margin, 4)
        (True, 1, 1, 0.2)
    """
    queries = as_examples(queries, "queries")
    where = int(as_ids([query], len(queries))[0])
    labels = find_labels(attributor.train)
    outputs = _compute_outputs(attributor.objective, queries.take(torch.tensor([where])))
    check_flip(attributor, labels, outputs, max_rows)
    prediction, classes = int(outputs.argmax()), len(outputs)
    predicted = labels.new_full((len(queries),), prediction)
    example = RelabeledExamples(queries, predicted)
    rivals = [rival for rival in range(classes) if rival != prediction]
    effects = compute_edit_effects(attributor, example, where, rivals, labels, relabel)
    limit = min(max_rows, MAX_GROUP_FACTOR_ROWS // (classes - 1), len(attributor.train) - 1)
    batch = example.take(torch.tensor([where]))
    search = _FlipSearch(attributor, batch, labels, outputs, rivals, effects, limit, steps)
    return search.run()


class _FlipSearch:
    """Search over the prefixes of the order of each rival."""

    def __init__(
        self,
        attributor: Attributor,
        batch: Batch,
        labels: Int[Tensor, " n"],
        outputs: Float[Tensor, " c"],
        rivals: Sequence[int],
        effects: EditEffects,
        max_rows: int,
        steps: int,
    ) -> None:
        self.attributor, self.rivals, self.effects = attributor, rivals, effects
        self.labels, self.max_rows, self.steps = labels, max_rows, steps
        self.batch = batch
        self.prediction = int(outputs.argmax())
        self.margins = outputs[self.prediction] - outputs[list(rivals)]
        self.order = effects.values.argsort(dim=1, descending=True, stable=True)
        self.totals = effects.values.gather(1, self.order).clamp(min=0).cumsum(1)
        self.sizes = 1 + (self.totals <= self.margins[:, None]).sum(1)
        self.obstacle = find_leverage_obstacle(attributor.operator, attributor.train)

    def run(self) -> FlipSet:
        """Return the shortest flip set over the rivals, or the best set that is none."""
        reach = self.margins - self.totals[:, self.max_rows - 1]
        ranking = sorted(range(len(reach)), key=lambda r: (int(self.sizes[r]), float(reach[r])))
        best = self._search_rival(ranking[0], self.max_rows)
        for place in ranking[1:MAX_RIVALS]:
            limit = len(best) - 1 if best.is_flip else self.max_rows
            candidate = self._search_rival(place, limit)
            best = candidate if is_better(candidate, best) else best
        return best

    def _search_rival(self, place: int, limit: int) -> FlipSet:
        """Return the shortest prefix of at most `limit` that flips, or else the best one."""
        limit = min(limit, int((self.effects.values[place] > 0).sum()))
        prefix = EditedPrefix(self.attributor, has_curvature=self.obstacle is None)
        best = self._scan_prefixes(place, limit, prefix)
        if not self.steps or not limit:
            return best
        response = EditedResponse(prefix, self.labels, self.effects.left_out)
        bracket = Bracket(limit, len(best) if best.is_flip else limit)
        best = self._predict(place, 0, prefix)
        while sizes := bracket.propose_sizes():
            self._extend(place, max(sizes), prefix)
            for size, moved in zip(sizes, response.refine(sizes, self.steps), strict=True):
                candidate = self._predict(place, size, prefix, moved)
                best = candidate if is_better(candidate, best) else best
                bracket.narrow(size, candidate.is_flip)
        return best

    def _scan_prefixes(self, place: int, limit: int, prefix: EditedPrefix) -> FlipSet:
        """Return the shortest prefix that flips after one Newton step, or else the best one."""
        best = self._predict(place, 0, prefix)
        for size in range(1, limit + 1):
            if size > len(prefix):
                self._extend(place, min(limit, max(CHUNK, 2 * len(prefix))), prefix)
            candidate = self._predict(place, size, prefix)
            best = candidate if is_better(candidate, best) else best
            if best.is_flip:
                break
        return best

    def _extend(self, place: int, size: int, prefix: EditedPrefix) -> None:
        part, labels = self.order[place][len(prefix) : size], self.effects.labels
        if len(part):
            prefix.extend(part, None if labels is None else labels[place][part])

    def _predict(
        self,
        place: int,
        size: int,
        prefix: EditedPrefix,
        response: Response | None = None,
    ) -> FlipSet:
        """Return the prefix with the margins after one Newton step, and after the response."""
        ids, edit = self.order[place][:size], prefix.compute_step(size)
        one_step, outputs = self._compute_margin(edit.step)
        corrected = one_step
        if response is not None:
            corrected, outputs = self._compute_margin(response.change)
        total = self.totals[place][size - 1] if size else 0.0
        first, labels = int(self.sizes.min()), self.effects.labels
        return FlipSet(
            prediction=self.prediction,
            runner_up=self.rivals[int(self.margins.argmin())],
            margin=float(self.margins.min()),
            rival=self.rivals[place],
            rival_margin=float(self.margins[place]),
            ids=ids,
            effects=self.effects.values[place][ids],
            new_labels=None if labels is None else labels[place][ids],
            is_flip=corrected < 0,
            first_order_size=first if first <= self.totals.shape[1] else None,
            first_order_margin=float(self.margins[place] - total),
            one_step_margin=one_step,
            corrected_margin=corrected,
            corrected_prediction=int(outputs.argmax()),
            max_rows=self.max_rows,
            leverage=edit.leverage,
            residual=max(self.effects.residual, prefix.residual),
            response_residual=None if response is None else response.residual,
            left_out=self.effects.left_out,
            notes=self._list_limits(edit.leverage, prefix.residual, response),
        )

    def _compute_margin(self, change: Float[Tensor, " p"]) -> tuple[float, Float[Tensor, " c"]]:
        outputs = _compute_outputs(self.attributor.objective, self.batch, change)
        others = outputs.clone()
        others[self.prediction] = -torch.inf
        return float(outputs[self.prediction] - others.max()), outputs

    def _list_limits(
        self, leverage: float, residual: float, response: Response | None
    ) -> tuple[str, ...]:
        rivals, last = len(self.rivals), 0.0 if response is None else response.residual
        return list_limits(
            self.obstacle,
            leverage,
            (max(self.effects.residual, residual), last),
            len(self.effects.left_out),
            (rivals, min(rivals, MAX_RIVALS)),
        )


@torch.no_grad()
def _compute_outputs(
    objective: Objective, batch: Batch, step: Float[Tensor, " p"] | None = None
) -> Float[Tensor, " c"]:
    """Return the outputs of the only example of a batch, at the parameters after a step."""
    params = objective.params
    if step is not None:
        steps = objective.space.unflatten(step.to(objective.like))
        params = {name: value + steps[name] for name, value in params.items()}
    return objective.outputs(params, batch)[0].double().cpu()
