"""Out-of-fold logits of a trained classifier: the study's own, cross-fitted, or another one.

The study's own is trained once a fold, on hidden states of frozen layers that all folds share. Its
logits are stored fold by fold, so that an interrupted detection loses one training at most.
"""

from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import PreTrainedModel

import fastif
from fastif.mislabels.group_folds import assign_group_folds
from fastif.models.adapter import get_adapter
from fastif.models.max_positions import check_length, find_max_length
from storage import Store, compute_fingerprint
from tasks.data.announcements import announce_notes
from tasks.data.dataset import Table
from tasks.data.inputs import Inputs
from tasks.mislabels.cross_fitting_plan import plan_cross_fitting
from tasks.models.finetune import make_training_config
from tasks.models.hidden_state_cache import cache_hidden_states
from tasks.models.locate import compute_model_digest, find_base_folder, find_classifier_folder
from tasks.models.target_outputs import make_targets
from tasks.models.untrained_model import make_objective
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
    planned = plan_cross_fitting(study)
    if planned is None or planned.training is None:
        return None
    training = planned.training.weight_settings
    return compute_fingerprint(
        {
            "mathematics": INFLUENCE_VERSION,
            "folds": planned.mislabels.folds,
            "training": {**training, "weight_decay": planned.weight_decay},
            "base": compute_model_digest(find_base_folder(planned)),
            **planned.loss_settings,
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
    planned = plan_cross_fitting(study)
    assert planned is not None, "it has a key"
    fold_ids, digests = _assign_folds(planned, key, table, groups)
    logits = torch.zeros(len(table), len(study.labels))
    missing = {
        fold: digest
        for fold, digest in digests.items()
        if store.find_artifact(KIND, digest) is None
    }
    if missing:
        _train_folds(store, planned, table, fold_ids, missing)
    for fold, digest in digests.items():
        folder = store.find_artifact(KIND, digest)
        assert folder is not None, "all missing folds were trained above"
        logits[fold_ids == fold] = load_file(folder / FILE)["logits"]
    return logits


def _assign_folds(
    planned: Study, key: str, table: Table, groups: Tensor
) -> tuple[Tensor, dict[int, str]]:
    """Return the fold of each row, and the cache key of each fold."""
    seed = planned.training.seed if planned.training else 0
    fold_ids = assign_group_folds(groups, planned.mislabels.folds or 0, seed)
    # With the label names: an additional class without rows does not change the table's digest.
    key_fields = {"judge": key, "rows": table.digest, "labels": list(planned.labels)}
    digests = {
        int(fold): compute_fingerprint({**key_fields, "fold": int(fold)})
        for fold in fold_ids.unique()
    }
    return fold_ids, digests


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
                texts = tokenize_rows(study, objective.full_model, base, table, device)
                _announce_truncated(texts)
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
    chosen = "adapter" if get_adapter(model) else "last:1"
    objective = fastif.TransformerObjective(model, chosen, fastif.CrossEntropy())
    texts = tokenize_rows(study, model, folder, table, device)
    _announce_truncated(texts)
    objective.verify_shortcuts(texts)
    with progress_stage("rows: logits of another classifier", len(table)) as track:
        outputs, _ = fastif.predict(objective, track(texts))
    return outputs.float().cpu()


def tokenize_rows(
    study: Study, model: PreTrainedModel, folder: Path, table: Table, device: torch.device
) -> fastif.TextExamples:
    """Tokenize the rows for a classifier, truncated to `[model] max_length` or its positions."""
    length = study.model.max_length
    if study.has_audit:
        check_length(model, length)
    else:  # without a section [model] the length is a default
        length = min(length, find_max_length(model) or length)
    columns = table.texts, table.text_pairs, make_targets(study, table)
    tokenizer, batch_tokens = fastif.load_tokenizer(folder, model), study.run.batch_tokens
    return fastif.encode(tokenizer, *columns, length, device, batch_tokens)


def _announce_truncated(texts: fastif.TextExamples) -> None:
    """State how many texts the classifier reads in part."""
    if count := int(texts.truncated.sum()):
        length, total = int(texts.lengths.max()), len(texts)
        note = f"{count:,} of {total:,} texts are truncated to {length} tokens for the classifier"
        announce_notes([note])
