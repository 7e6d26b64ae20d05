"""`python -m benchmarks.families` tests each family and writes docs/reference/families.md."""

import json
import sys
import warnings
from dataclasses import asdict
from pathlib import Path

import torch
import transformers
from transformers.models.auto.modeling_auto import (
    MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING_NAMES as NAMES,
)

from benchmarks.families.examine import ATTRIBUTED, Verdict, examine
from benchmarks.families.methods import examine_methods
from benchmarks.families.page import page

FOUND, PAGE = Path("benchmarks/results/families.json"), Path("docs/reference/families.md")


def main(chosen: list[str]) -> None:
    """Test these families, by default all, and write the page with the results of all."""
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    transformers.logging.set_verbosity_error()
    known = json.loads(FOUND.read_text()) if chosen and FOUND.exists() else []
    verdicts = {(v["family"], v["attributed"]): Verdict(**v) for v in known}
    for family in chosen or NAMES:
        for attributed in ATTRIBUTED:
            verdict = examine(family, attributed)
            verdicts[family, attributed] = verdict
        verdicts |= {(v.family, v.attributed): v for v in examine_methods(family)}
        for (name, attributed), verdict in verdicts.items():
            if name == family:
                print(family, attributed, verdict.word, verdict.why, sep="\t", flush=True)
    ordered = [verdicts[key] for key in sorted(verdicts)]
    FOUND.write_text(json.dumps([asdict(v) for v in ordered], indent=1) + "\n")
    PAGE.write_text(page(ordered))


if __name__ == "__main__":
    main(sys.argv[1:])
