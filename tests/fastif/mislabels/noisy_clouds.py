"""Gaussian clusters with symmetric label noise."""

import torch

from fastif.mislabels.features import concat_views
from fastif.mislabels.labeled_data import LabeledData


def make_clouds(n=300, classes=3, apart=4.0, seed=0):
    """Points of well separated classes, and their true labels."""
    generator = torch.Generator().manual_seed(seed)
    centres = apart * torch.eye(classes, 8)
    truth = torch.arange(n) % classes
    return centres[truth] + torch.randn(n, 8, generator=generator), truth


def flip_labels(truth, share, classes, seed=1):
    generator = torch.Generator().manual_seed(seed)
    labels = truth.clone()
    picked = torch.randperm(len(truth), generator=generator)[: round(share * len(truth))]
    turn = torch.randint(1, classes, (len(picked),), generator=generator)
    labels[picked] = (labels[picked] + turn) % classes
    return labels


def make_rows(share=0.1, n=300, classes=3, apart=4.0, **keys):
    points, truth = make_clouds(n, classes, apart)
    return LabeledData(
        concat_views([points]), flip_labels(truth, share, classes), classes, **keys
    ), truth
