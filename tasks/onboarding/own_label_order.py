"""Labels of a study in the order of the outputs of a torch module of one's own, by predictions."""

from pathlib import Path

import numpy as np
import torch

import fastif
from tasks.data.inputs import read_inputs
from tasks.models.label_order import find_better_label_order
from tasks.models.locate import find_model_folder
from tasks.models.own_model import load_own_model
from tasks.onboarding.label_order import LabelOrder, order_labels
from tasks.onboarding.questions import Answers
from tasks.runtime.devices import resolve_devices
from tasks.study.device_names import AUTO

MAX_ROWS = 500
"""Number of training rows that are predicted."""


def order_by_predictions(path: Path, answers: Answers, is_given: bool) -> LabelOrder:
    """Order the labels of a written study by the predictions of its module on training rows.

    Args:
        path: Study file.
        answers: Source of the answer if the predictions do not tell the order.
        is_given: Whether the user gave the order, which is then kept, with a warning if another
            fits the predictions significantly better.

    Raises:
        InputError: The function of the module cannot be used, or a row cannot be read.
    """
    inputs = read_inputs(path)
    labels = inputs.study.labels
    device = resolve_devices(AUTO)[0].torch
    model = load_own_model(inputs, find_model_folder(inputs.study), None, device)
    rows = model.encode(inputs.train)
    model.check(model.objective, rows)
    step = -(-len(rows) // MAX_ROWS)
    ids = torch.arange(0, len(rows), step)
    outputs, _ = fastif.predict(model.objective, rows, ids=ids)
    predicted = outputs.argmax(1).cpu().numpy()
    given = [labels[inputs.train.labels[i]] for i in ids.tolist()]
    if is_given:
        units = np.array([labels.index(label) for label in given])
        better = find_better_label_order(units.tolist(), predicted.tolist(), labels)
        accuracy = float((units == predicted).mean())
        warning = "" if better is None else f"{better}"
        return LabelOrder(labels, "the order that you gave", accuracy, len(given), warning)
    names = [f"LABEL_{unit}" for unit in range(len(labels))]
    place = f"column {inputs.study.train.label} of {inputs.train.place}"
    return order_labels(sorted(labels), names, given, predicted, place, answers)
