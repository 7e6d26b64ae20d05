"""SST-2 with MiniLM tuned by LoRA: rank 8 on queries and values of the last layer, and a head."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from transformers import AutoModelForSequenceClassification

import fastif
from benchmarks.fidelity.texts import Sst2, base_folder
from fastif.models.adapter import add_lora
from fastif.models.pretrained import quiet_loading

RANK, ALPHA, TARGETS = 8, 16, ("query", "value")
LAYERS = (5,)


@dataclass(frozen=True, eq=False)
class LoraSst2(Sst2):
    """SST-2: film reviews, two classes; a LoRA adapter and the head are trained and attributed."""

    rows: int = 300
    queries: int = 100
    name: ClassVar[str] = "sst2-minilm-lora"
    title: ClassVar[str] = "SST-2, MiniLM with a LoRA adapter"

    def start(self, seed: int) -> fastif.TransformerObjective:
        """Return the pretrained encoder with a new adapter and a random head of the seed."""
        torch.manual_seed(seed)
        with quiet_loading():
            model = AutoModelForSequenceClassification.from_pretrained(
                str(base_folder()), num_labels=len(self.labels), attn_implementation="eager"
            )
        settings = {"r": RANK, "lora_alpha": ALPHA, "target_modules": list(TARGETS)}
        settings |= {"layers_to_transform": list(LAYERS)}
        return fastif.TransformerObjective(
            add_lora(model, settings, str(base_folder())).eval(), "adapter"
        )
