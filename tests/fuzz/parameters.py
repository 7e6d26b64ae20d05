"""Names of the parameters that a study attributes to."""

import re
from collections.abc import Sequence

from tests.fuzz.case import Case
from tests.fuzz.families import FAMILIES, LAYERS

END_NORM = r"(^|\.)(norm|ln_f|final_norm|final_layer_?norm)\."


def attributed_parameters(case: Case, names: Sequence[str]) -> list[list[str]]:
    """The parameters that `attributed_parameters` names: the more likely reading first.

    Whether a norm that stands after all layers is part of the head, "last:K" leaves open.
    """
    wanted = case.attributed
    if wanted == "all":
        return [list(names)]
    if not isinstance(wanted, str):
        return [[name for name in names if any(re.search(pattern, name) for pattern in wanted)]]
    family, first = FAMILIES[case.family], LAYERS - int(wanted.removeprefix("last:"))
    kept = []
    for name in names:
        layer = re.search(family.layer, name)
        if int(layer[1]) >= first if layer else not re.search(family.below, name):
            kept.append(name)
    layered = [bool(re.search(family.layer, name)) for name in kept]
    inner = [n for n, within in zip(kept, layered, strict=True) if within or not _end_norm(n)]
    return [kept] if kept == inner else [kept, inner]


def _end_norm(name: str) -> bool:
    return re.search(END_NORM, name) is not None and not name.startswith(("classifier", "head"))
