"""Cache of hidden states of the frozen layers in memory, within the study's budget."""

import fastif
from fastif.models.hidden_state_file import HiddenStateFile
from fastif.models.prefix_cache import PrefixCache, plan_cache
from tasks.runtime.progress import progress_bar
from tasks.runtime.stage_timer import STAGE_TIMER
from tasks.study.study import Study

MEGABYTE = 2**20
"""Bytes of a megabyte in the budgets of `[run]`."""
GROUP = 64
"""Number of examples in a forward pass of the frozen layers."""


def cache_hidden_states(
    objective: fastif.Objective,
    examples: fastif.Examples,
    study: Study,
    file: HiddenStateFile | None = None,
) -> PrefixCache:
    """Run the frozen layers once for each text and cache the hidden states.

    Args:
        objective: Model and loss.
        examples: Tokenized examples.
        study: Study with the memory budget, of which each model has an equal share.
        file: File of hidden states that do not fit into memory; None if there is none.
    """
    budget = study.run.prefix_cache_mb * MEGABYTE // (1 + len(study.further_models))
    token_bytes = count_bytes_per_token(objective)
    if not token_bytes:  # no layer is frozen
        return PrefixCache(objective, examples, 0, GROUP, file=file)
    cached = sum(map(len, plan_cache(examples, token_bytes, budget, 0, GROUP).memory))
    name = "hidden states of frozen layers"
    with STAGE_TIMER.stage("hidden states"), progress_bar(name, cached, "rows") as advance:
        return PrefixCache(objective, examples, budget, GROUP, advance, file)


def count_bytes_per_token(objective: fastif.Objective) -> int:
    """Return the bytes of a token's hidden state; 0 if no layer is frozen."""
    return objective.hidden_width * objective.like.element_size()
