"""Out-of-fold logits of a trained classifier: the study's own, cross-fitted, or another one.

The study's own is trained once a fold, on hidden states of frozen layers that all folds share. Its
logits are stored fold by fold, so that an interrupted detection loses one training at most.
"""

from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import PreTrainedTokenizerBase

import fastif
from fastif.mislabels.group_folds import assign_group_folds
from storage import Store, compute_fingerprint
from tasks.data.dataset import Table
from tasks.data.inputs import Inputs
from tasks.models.finetune import make_objective, make_training_config
from tasks.models.hidden_state_cache import cache_hidden_states
from tasks.models.locate import compute_model_digest, find_base_folder, find_classifier_folder
from tasks.runtime.devices import resolve_devices
from tasks.runtime.progress import progress_bar, progress_stage
from tasks.runtime.versions import INFLUENCE_VERSION
from tasks.study.study import Study

KIND, FILE = "judged", "logits.safetensors"


def classifier_key(inputs: Inputs) -> str | None:
    """Return the cache key of the classifier, without the rows; None if there is none."""
    study = inputs.study
    if study.mislabels.judge is not None:
        return compute_model_digest(find_classifier_folder(study))
    if study.mislabels.folds is None or study.training is None:
        return None
    training = study.training.weight_settings
    return compute_fingerprint(
        {
            "mathematics": INFLUENCE_VERSION,
            "folds": study.mislabels.folds,
            "training": {**training, "weight_decay": study.weight_decay},
            "base": compute_model_digest(find_base_folder(study)),
            **study.loss_settings,
        }
    )


def compute_classifier_logits(
    store: Store, inputs: Inputs, table: Table, groups: Tensor
) -> Tensor | None:
    """Return logits of the rows by the study's classifier, [n, c]; None if it names none.

    Args:
        store: Store that caches the logits.
        inputs: Study and tables.
        table: Training rows, in the order of the result.
        groups: Group of each row; a group stays in one fold, [n].
    """
    study, key = inputs.study, classifier_key(inputs)
    if key is None:
        return None
    if study.mislabels.judge is not None:
        return _predict_with_judge(study, table)
    fold_ids = assign_group_folds(
        groups, study.mislabels.folds or 0, study.training.seed if study.training else 0
    )
    logits = torch.zeros(len(table), len(study.labels))
    # With the label names: an additional class without rows does not change the table's digest.
    key_fields = {"judge": key, "rows": table.digest, "labels": list(study.labels)}
    digests = {
        int(fold): compute_fingerprint({**key_fields, "fold": int(fold)})
        for fold in fold_ids.unique()
    }
    missing = {
        fold: digest
        for fold, digest in digests.items()
        if store.find_artifact(KIND, digest) is None
    }
    if missing:
        _train_folds(store, study, table, fold_ids, missing)
    for fold, digest in digests.items():
        folder = store.find_artifact(KIND, digest)
        assert folder is not None, "all missing folds were trained above"
        logits[fold_ids == fold] = load_file(folder / FILE)["logits"]
    return logits


def _train_folds(
    store: Store, study: Study, table: Table, fold_ids: Tensor, missing: dict[int, str]
) -> None:
    """Train without each missing fold, and store the logits of its rows."""
    assert study.training is not None
    base, device = find_base_folder(study), resolve_devices(study.run.devices)[0].torch
    seed = study.training.seed
    examples = None
    config = make_training_config(study, seed)
    steps = sum(config.count_steps(int((fold_ids != fold).sum())) for fold in missing)
    with progress_bar("cross-fitting: trainings", steps, "steps") as advance:
        for fold, digest in missing.items():
            objective = make_objective(study, base, table, seed, device)
            if examples is None:  # the frozen layers are the same for all
                tokenizer = fastif.load_tokenizer(base, objective.full_model)
                texts = _tokenize(study, tokenizer, table, device)
                objective.verify_shortcuts(texts)
                examples = cache_hidden_states(objective, texts, study)
            is_held_out = fold_ids == fold
            objective.params = fastif.fit(
                objective,
                examples.subset((~is_held_out).nonzero()[:, 0]),
                config,
                lambda *_: advance(1),
            )
            outputs, _ = fastif.predict(objective, examples, ids=is_held_out.nonzero()[:, 0])

            def write(folder: Path, outputs: Tensor = outputs) -> None:
                save_file({"logits": outputs.float().cpu().contiguous()}, folder / FILE)

            store.write_artifact(KIND, digest, write)


def _predict_with_judge(study: Study, table: Table) -> Tensor:
    folder, device = find_classifier_folder(study), resolve_devices(study.run.devices)[0].torch
    model = fastif.load_model(folder, study.labels)
    model.to(device)  # type: ignore[arg-type]
    objective = fastif.TransformerObjective(model, "last:1", fastif.CrossEntropy())
    tokenizer = fastif.load_tokenizer(folder, model)
    texts = _tokenize(study, tokenizer, table, device)
    objective.verify_shortcuts(texts)
    with progress_stage("rows: logits of another classifier", len(table)) as track:
        outputs, _ = fastif.predict(objective, track(texts))
    return outputs.float().cpu()


def _tokenize(
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
