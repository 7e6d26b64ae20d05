"""The sections of a study file, as frozen records.

The text under a field is what a message says when the field is missing.
"""

import re
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from tasks.study.device_names import AUTO, DeviceNames
from tasks.study.errors import Problem, format_value
from tasks.study.fields import (
    Columns,
    Damping,
    Name,
    Names,
    NormalizedName,
    Section,
    Seed,
    Selection,
)
from tasks.study.validation_errors import make_validation_error


class ModelSource(Section):
    """`[model]`: the classifier that was trained."""

    path: Name
    """a local folder, or a model of the hub such as hub:textattack/bert-base-uncased-SST-2"""
    max_length: Annotated[int, Field(ge=2)] = 128
    """tokens; longer texts are cut and counted"""


class TableSource(Section):
    """`[train]` and `[queries]`: labelled texts, and which column is what."""

    table: Name | None = None
    """a .parquet, .csv or .jsonl file"""
    dataset: Name | None = None
    """a local folder for the `datasets` library, or hub:owner/name"""
    split: Name | None = None
    """which split of the dataset; needed if it has several"""
    config: Name | None = None
    """which configuration of the dataset"""
    text: Columns = ()
    """the column with the text, or two columns for pairs"""
    features: Names = ()
    """in place of text: columns of numbers, of lists of numbers, or of kinds such as a job"""
    image: NormalizedName | None = None
    """in place of text: the column of images: the bytes of their files, or one byte a pixel"""
    label: NormalizedName
    """the column with the label"""
    id: NormalizedName | None = None
    """the column with a unique id; without it the row number, counted from 1"""
    groups: Names = ()
    """columns that reports group by"""

    @property
    def content_columns(self) -> tuple[str, ...]:
        """The columns with what a row is."""
        return (*self.text, *self.features, *((self.image,) if self.image else ()))

    @model_validator(mode="after")
    def _check_content(self) -> Self:
        given = [key for key in ("text", "features", "image") if getattr(self, key)]
        if len(given) != 1:
            expected = "exactly one of the keys text, features, image"
            change = 'add text = "your-column"' if not given else f"keep {given[0]} alone"
            got = " and ".join(given) or "nothing"
            raise make_validation_error(Problem("text", expected, got, change))
        if self.label in self.content_columns:
            expected, got = f"another column than {given[0]}", format_value(self.label)
            change = "name the column with the right answers"
            raise make_validation_error(Problem("label", expected, got, change))
        return self

    @model_validator(mode="after")
    def _check_source(self) -> Self:
        if (self.table is None) == (self.dataset is None):
            got = "neither" if self.table is None else "both"
            change = "remove one" if self.table else 'add table = "your-file.parquet"'
            raise make_validation_error(
                Problem("", "exactly one of the keys table, dataset", got, change)
            )
        for key in ("split", "config"):
            value = getattr(self, key)
            if self.table is not None and value is not None:
                change = "remove it, or name a dataset instead of a table"
                raise make_validation_error(
                    Problem(key, "no such key beside table", format_value(value), change)
                )
        return self


class QuerySource(TableSource):
    """`[queries]`: the predictions to explain."""

    trusted: bool = False
    """whether their labels are certain: `fastif mislabels` then learns from them too"""


class Mislabels(Section):
    """`[mislabels]`: how `fastif mislabels` looks for wrong labels; no number of it is tuned."""

    encoder: Name | None = None
    """a folder, hub:owner/name or package:NAME/folder of a model whose weights have never seen the
    labels; without it [training] base, or else the model itself"""
    folds: Annotated[int, Field(ge=2)] | None = None
    """times that [training] is repeated, each without a part of the rows, so that the classifier
    judges rows that it has not seen; without it not at all"""
    judge: Name | None = None
    """in its place a classifier of the same labels that was never trained on these rows"""
    budget: Annotated[int, Field(ge=1)] = 100
    """rows that people will look at"""

    @model_validator(mode="after")
    def _check_classifier(self) -> Self:
        if self.folds is not None and self.judge is not None:
            got = f"{self.folds}"
            raise make_validation_error(
                Problem("folds", "no such key beside judge", got, "remove one")
            )
        return self


class Parameters(Section):
    """`[parameters]`: the part of the model that answers are attributed to."""

    attributed: Selection = "last:1"
    """last:K (the last K encoder layers and the head), all, or a list of regular expressions"""


class Curvature(Section):
    """`[curvature]`: the matrix that is inverted, and what is added to its diagonal."""

    kind: Literal["gauss-newton", "hessian"] = "gauss-newton"
    """the second derivative: Gauss-Newton is its positive part, the one to take first"""
    rows: Annotated[int, Field(ge=1)] | None = None
    """size of a fixed random sample of the training rows; without it all of them"""
    damping: Damping = "auto"
    """lambda, added to the diagonal, such as 0.1; auto: found by training on a few halves"""
    seed: Seed = 0
    """seed of the sample"""
    leverage: Literal["auto", "on", "off"] = "off"
    """whether an effect counts the curvature that goes with the row; auto: where it is cheap"""


class CertificateSection(Section):
    """`[certificate]`: how answers are checked. The evidence is stored, so it is a part of them."""

    rows: Annotated[int, Field(ge=0)] = 512
    """training rows that the residual on all of them is estimated from; 0 leaves it out"""


class Run(Section):
    """`[run]`: sizes that change speed and memory, never an answer."""

    shard_size: Annotated[int, Field(ge=1)] = 64
    """queries a shard"""
    batch_size: Annotated[int, Field(ge=1)] = 32
    """examples whose gradients are held at once"""
    batch_tokens: Annotated[int, Field(ge=1)] | None = None
    """tokens a batch, padding among them, for texts of very unequal length; without it any"""
    prefix_cache_mb: Annotated[int, Field(ge=0)] = 512
    """memory for the outputs of frozen layers, in MB; 0 computes them again each time"""
    prefix_disk_mb: Annotated[int, Field(ge=0)] = 0
    """disk for those that memory has no room for, in MB; kept in the store for the next run"""
    memory_gb: Annotated[float, Field(gt=0)] | None = None
    """peak memory to keep to: the sizes above that are left out are chosen so that it is enough"""
    one_by_one: bool = False
    """a backward pass for each example instead of forward hooks: slower, for models that mislead"""
    devices: DeviceNames = AUTO
    """where to compute, a worker each; "auto": every GPU, or else the CPU with one worker"""


class StoreSection(Section):
    """`[store]`: where the answers lie."""

    path: Name
    """a folder for the results; it is made if it does not exist"""


class Training(Section):
    """`[training]`: how `fastif train` makes the model. Studies of finished models omit it."""

    base: Name
    """a folder, hub:owner/name, or package:NAME/sub/folder of an installed Python package"""
    trainable: Selection = "last:1"
    """as [parameters] attributed"""
    epochs: Annotated[int, Field(ge=1)] = 3
    """passes over the training rows"""
    learning_rate: Annotated[float, Field(gt=0)] = 3e-4
    """peak step size"""
    weight_decay: Annotated[float, Field(ge=0)] | None = None
    """decay of the weights; if left out that of [loss], or 0.01"""
    batch_size: Annotated[int, Field(ge=1)] = 32
    """rows a step"""
    seed: Seed = 0
    """seed of the new head and of the order of the rows"""
    checkpoints: tuple[Annotated[float, Field(gt=0, lt=1)], ...] = ()
    """parts of the training, such as [0.25, 0.5], at which it is kept too, for `models`"""

    @model_validator(mode="after")
    def _check_checkpoints(self) -> Self:
        names = [f"{fraction:g}" for fraction in self.checkpoints]  # as their folders are named
        duplicates = [name for name in names if names.count(name) > 1]
        if duplicates:
            got, change = f"{duplicates[0]} twice", "remove one of them"
            raise make_validation_error(
                Problem("checkpoints", "parts that differ in six digits", got, change)
            )
        return self

    @property
    def decay(self) -> float:
        """The weight decay where [loss] says nothing."""
        return 0.01 if self.weight_decay is None else self.weight_decay


class Carry(Section):
    """`[carry]`: a night goes on from the last one. Without it each begins from nothing.

    Answers of queries that were asked before are taken over, with the curvature and the choices
    that they were computed with, as long as the model and all settings are the same.
    """

    least: Annotated[float, Field(gt=0, le=1)] = 0.9
    """share of its training rows that the first night of the line and this one have in common;
    below it everything is computed anew"""


def _check_variable_name(name: str) -> str:
    """The name of an environment variable; an address in its place is a secret, and not shown."""
    if re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name) is None:
        change = (
            'keep the address in a variable, and write its name: webhook_env = "FASTIF_WEBHOOK"'
        )
        got = f"{len(name)} characters that are no such name"
        raise make_validation_error(Problem("", "the name of an environment variable", got, change))
    return name


class Notify(Section):
    """`[notify]`: when word of a run is posted to a webhook; a failure always is."""

    webhook_env: Annotated[Name, AfterValidator(_check_variable_name)] | None = None
    """name of the environment variable that holds the address, which is a secret"""
    recall_below: Annotated[float, Field(gt=0, le=1)] | None = None
    """least share of the top 10 or 100 that candidates may hold"""
    residual_above: Annotated[float, Field(gt=0)] | None = None
    """largest residual of any query"""
    harmful_above: Annotated[float, Field(gt=0, le=1)] | None = None
    """most training rows, as a share of those scored, that may do harm on balance"""
    new_suspects_above: Annotated[int, Field(ge=0)] | None = None
    """most training rows that may enter the hundred worst from one run to the next"""
