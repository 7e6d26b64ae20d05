"""A trained classifier's say on rows that it has not seen: the study's own, or another.

The study's own is cross-fitted: trained once a fold, above frozen layers that all folds share. What
it says is kept in the store, fold by fold, so that a killed search loses one training at most.
"""

from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import PreTrainedTokenizerBase

import fastif
from fastif.data.examples import Selected
from fastif.mislabels.group_folds import folds
from storage import Store, fingerprint
from tasks.data.dataset import Table
from tasks.models.finetune import new_objective, recipe_of
from tasks.models.locate import base_folder, judge_folder, model_digest
from tasks.run.context import cached
from tasks.run.spec import MATHEMATICS, Inputs
from tasks.runtime.devices import devices_of
from tasks.runtime.progress import bar
from tasks.study.study import Study

KIND, FILE = "judged", "logits.safetensors"


def judge_mark(inputs: Inputs) -> str | None:
    """Names who judges by all that it depends on but the rows; None if nobody does."""
    study = inputs.study
    if study.mislabels.judge is not None:
        return model_digest(judge_folder(study))
    if study.mislabels.folds is None or study.training is None:
        return None
    training = study.training.model_dump(mode="json", exclude={"base", "checkpoints"})
    return fingerprint(
        {
            "mathematics": MATHEMATICS,
            "folds": study.mislabels.folds,
            "training": {**training, "weight_decay": study.weight_decay},
            "base": model_digest(base_folder(study)),
            **study.loss_parts,
        }
    )


def judged_by(store: Store, inputs: Inputs, table: Table, alike: Tensor) -> Tensor | None:
    """Logits of the rows of `table` by whoever the study names, [n c]; None if nobody.

    Args:
        store: keeps them.
        inputs: the study.
        table: training rows, in the order that is asked for.
        alike: equal for rows that must be judged by the same training.
    """
    study, mark = inputs.study, judge_mark(inputs)
    if mark is None:
        return None
    if study.mislabels.judge is not None:
        return _by_another(study, table)
    parts = folds(alike, study.mislabels.folds or 0, study.training.seed if study.training else 0)
    logits = torch.zeros(len(table), len(study.labels))
    # With the names of the labels: a class more, without a row, leaves the table as it is.
    common = {"judge": mark, "rows": table.digest, "labels": list(study.labels)}
    digests = {int(fold): fingerprint({**common, "fold": int(fold)}) for fold in parts.unique()}
    missing = {f: digest for f, digest in digests.items() if store.part(KIND, digest) is None}
    if missing:
        _train(store, study, table, parts, missing)
    for fold, digest in digests.items():
        folder = store.part(KIND, digest)
        assert folder is not None, "it was trained just now"
        logits[parts == fold] = load_file(folder / FILE)["logits"]
    return logits


def _train(
    store: Store, study: Study, table: Table, parts: Tensor, missing: dict[int, str]
) -> None:
    """Train without each fold, and keep what the classifier says of it."""
    assert study.training is not None
    base, device = base_folder(study), devices_of(study.run.devices)[0].torch
    seed = study.training.seed
    rows = None
    with bar("trainings, each without a fold", len(missing)) as advance:
        for fold, digest in missing.items():
            objective = new_objective(study, base, table, seed, device)
            if rows is None:  # the frozen layers are the same for all
                tokenizer = fastif.load_tokenizer(base, objective.whole)
                texts = _tokens(study, tokenizer, table, device)
                objective.prove(texts)
                rows = cached(objective, texts, study)
            away = parts == fold
            objective.params = fastif.fit(
                objective, Selected(rows, (~away).nonzero()[:, 0]), recipe_of(study, seed)
            )
            outputs, _ = fastif.predict(objective, rows, ids=away.nonzero()[:, 0])

            def write(folder: Path, outputs: Tensor = outputs) -> None:
                save_file({"logits": outputs.float().cpu().contiguous()}, folder / FILE)

            store.write_part(KIND, digest, write)
            advance(1)


def _by_another(study: Study, table: Table) -> Tensor:
    folder, device = judge_folder(study), devices_of(study.run.devices)[0].torch
    model = fastif.load_model(folder, study.labels)
    model.to(device)  # type: ignore[arg-type]
    objective = fastif.TransformerObjective(model, "last:1", fastif.CrossEntropy())
    tokenizer = fastif.load_tokenizer(folder, model)
    texts = _tokens(study, tokenizer, table, device)
    objective.prove(texts)
    with bar("rows: judged by another classifier", len(table)) as advance:
        outputs, _ = fastif.predict(objective, texts)
        advance(len(table))
    return outputs.float().cpu()


def _tokens(
    study: Study, tokenizer: PreTrainedTokenizerBase, table: Table, device: torch.device
) -> fastif.TextExamples:
    return fastif.encode(
        tokenizer,
        table.texts,
        table.text_pairs,
        table.labels,
        study.model.max_length,
        device,
        study.run.batch_tokens,
    )
