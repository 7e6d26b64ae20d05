"""Models of a session: what is saved is loaded again as it was, what cannot be is refused."""

import copy
from types import SimpleNamespace

import peft
import pytest
import torch
from transformers import (
    AutoModelForSequenceClassification,
    AutoTokenizer,
    BertForSequenceClassification,
    BertModel,
)
from transformers.loss.loss_utils import ForSequenceClassificationLoss

import fastif
from tasks.notebook.models import read_trainer, save_model


@pytest.fixture(scope="module")
def model(made):
    return AutoModelForSequenceClassification.from_pretrained(made / "model")


@pytest.fixture(scope="module")
def tokenizer(made):
    return AutoTokenizer.from_pretrained(made / "model")


def assert_same_weights(folder, model):
    loaded = fastif.load_model(folder).state_dict()
    assert loaded.keys() == model.state_dict().keys()
    for name, tensor in model.state_dict().items():
        assert torch.equal(loaded[name], tensor.to(loaded[name].dtype)), name


@pytest.mark.parametrize("wrap", [copy.deepcopy, torch.compile, torch.nn.DataParallel])
def test_weights_are_saved_from_inside_wrappers(model, tokenizer, tmp_path, wrap):
    folder = save_model(wrap(model), tokenizer, tmp_path / "model")
    assert_same_weights(folder, model)
    assert len(fastif.load_tokenizer(folder)) == len(tokenizer)


def test_half_precision_is_kept_in_the_model_and_exact_in_the_file(model, tokenizer, tmp_path):
    half = copy.deepcopy(model).half()
    dtype = half.config.dtype
    folder = save_model(half, tokenizer, tmp_path / "model")
    assert half.dtype == torch.float16
    assert half.config.dtype == dtype
    assert fastif.load_model(folder).dtype == torch.float32
    assert_same_weights(folder, half)


def test_a_folder_is_kept_and_gets_another_tokenizer_by_links(made, model, tokenizer, tmp_path):
    assert save_model(made / "model", None, tmp_path / "model") == str(made / "model")
    assert save_model("hub:owner/name", None, tmp_path / "model") == "hub:owner/name"
    assert list(tmp_path.iterdir()) == []
    folder = save_model(str(made / "model"), tokenizer, tmp_path / "model")
    assert (tmp_path / "model" / "model.safetensors").is_symlink()
    assert_same_weights(folder, model)


def test_the_newest_checkpoint_of_a_training_is_taken(made, model, tokenizer, tmp_path, capsys):
    for step in (9, 10):
        changed = copy.deepcopy(model)
        changed.classifier.bias.data += step
        changed.save_pretrained(tmp_path / "training" / f"checkpoint-{step}")
    folder = save_model(tmp_path / "training", tokenizer, tmp_path / "model")
    assert_same_weights(folder, changed)
    assert "checkpoint-10 is the newest" in capsys.readouterr().err


class OwnBert(BertForSequenceClassification):
    """A class that transformers would load as another one."""


def test_other_models_are_refused_with_a_remedy(made, model, tokenizer, tmp_path):
    adapted = copy.deepcopy(model)
    adapted.peft_config = {}
    offloaded = copy.deepcopy(model).to("meta")
    cases = [
        (torch.nn.Linear(2, 2), tokenizer, "fastif.Attributor"),
        (BertModel(model.config), tokenizer, "BertModel"),
        (OwnBert(model.config), tokenizer, "OwnBert"),
        (adapted, tokenizer, "merge_and_unload"),
        (offloaded, tokenizer, "weights in memory"),
        (model, None, "tokenizer"),
        (model, "bert-base", "tokenizer"),
        (None, tokenizer, "NoneType"),
        (made / "absent", None, "no such folder"),
    ]
    for case, words, message in cases:
        with pytest.raises(fastif.InputError, match=message):
            save_model(case, words, tmp_path / "model")
        assert not (tmp_path / "model").exists()


def test_a_trainer_gives_model_tokenizer_data_and_loss(model, tokenizer):
    trainer = SimpleNamespace(
        model=model, processing_class=tokenizer, train_dataset=["a"], eval_dataset=["b"],
        args=SimpleNamespace(label_smoothing_factor=0.1), compute_loss_func=None,
    )  # fmt: skip
    given = read_trainer(trainer, None)
    assert (given.model, given.tokenizer) == (model, tokenizer)
    assert (given.train, given.queries) == (["a"], ["b"])
    assert given.loss == {"label_smoothing": 0.1}
    trainer.compute_loss_func = print
    with pytest.raises(fastif.InputError, match="compute_loss_func"):
        read_trainer(trainer, None)
    assert read_trainer(model, tokenizer).model is model


def test_a_model_with_its_own_loss_is_refused(model, tokenizer, tmp_path):
    changed = copy.deepcopy(model)
    changed.loss_function = torch.nn.functional.multi_margin_loss
    with pytest.raises(fastif.InputError, match="its own loss_function, multi_margin_loss"):
        save_model(changed, tokenizer, tmp_path / "model")
    changed.loss_function = ForSequenceClassificationLoss
    assert save_model(changed, tokenizer, tmp_path / "model") == str(tmp_path / "model")


class WeightedTrainer(SimpleNamespace):
    """A class with a loss of its own, as subclasses of Trainer often have."""

    def compute_loss(self, model, inputs):
        return model(**inputs).loss


def test_a_trainer_with_its_own_loss_is_refused(model, tokenizer):
    trainer = WeightedTrainer(model=model, train_dataset=[], eval_dataset=[])
    with pytest.raises(fastif.InputError, match=r"its own compute_loss\."):
        read_trainer(trainer, tokenizer)


def test_an_adapter_in_memory_is_saved_without_its_base(made, tokenizer, tmp_path):
    base = AutoModelForSequenceClassification.from_pretrained(made / "model")
    adapted = peft.get_peft_model(base, peft.LoraConfig(task_type="SEQ_CLS", r=2))
    for name, tensor in adapted.named_parameters():
        if "lora_B" in name:
            tensor.data += 0.1
    folder = save_model(adapted, tokenizer, tmp_path / "model")
    assert not (tmp_path / "model" / "model.safetensors").exists()
    tokens = torch.randint(5, 20, (3, 6))
    expected = adapted.eval()(tokens).logits
    torch.testing.assert_close(fastif.load_model(folder)(tokens).logits, expected)
    nowhere = BertForSequenceClassification(base.config)
    nowhere.config._name_or_path = nowhere.name_or_path = ""
    adapted = peft.get_peft_model(nowhere, peft.LoraConfig(task_type="SEQ_CLS", r=2))
    with pytest.raises(fastif.InputError, match="in no folder"):
        save_model(adapted, tokenizer, tmp_path / "other")
