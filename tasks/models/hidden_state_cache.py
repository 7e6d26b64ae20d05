"""Hidden states of the frozen layers in memory, computed once, within the study's budget."""

import fastif
from fastif.models.hidden_state_file import HiddenStateFile
from fastif.models.prefix_cache import PrefixCache
from tasks.runtime.progress import progress_bar
from tasks.runtime.stage_timer import STAGE_TIMER
from tasks.study.study import Study

MEGABYTE = 2**20
"""Bytes; budgets of [run] are in it."""
GROUP = 64
"""Examples in a forward pass of the frozen layers."""


def cache_hidden_states(
    objective: fastif.Objective,
    texts: fastif.Examples,
    study: Study,
    file: HiddenStateFile | None = None,
) -> PrefixCache:
    """Texts with their frozen part computed once, within a model's share of the memory for it."""
    budget = study.run.prefix_cache_mb * MEGABYTE // (1 + len(study.models))
    name = "hidden states of frozen layers"
    with STAGE_TIMER.stage("hidden states"), progress_bar(name, len(texts)) as advance:
        return PrefixCache(objective, texts, budget, GROUP, advance, file)


def count_bytes_per_token(objective: fastif.TransformerObjective) -> int:
    """Of the hidden state of one token; 0 if no layer is frozen."""
    return objective.hidden_width * objective.like.element_size()
