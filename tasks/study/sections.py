"""The sections of a study file, as frozen records.

The docstring of a field is shown in the error message when the field is missing.
"""

from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from tasks.study.device_names import AUTO, DeviceNames
from tasks.study.durations import Duration, parse_duration
from tasks.study.errors import Problem, format_value
from tasks.study.fields import (
    Columns,
    Damping,
    Encoding,
    Name,
    Names,
    NormalizedName,
    Section,
    Seed,
    Selection,
    Separator,
)
from tasks.study.validation_errors import make_validation_error


class ModelSource(Section):
    """`[model]`: the trained classifier."""

    path: Name
    """a local folder, or a model of the hub such as hub:textattack/bert-base-uncased-SST-2"""
    max_length: Annotated[int, Field(ge=2)] = 128
    """maximum number of tokens; longer texts are truncated, and counted in the results"""
    factory: Annotated[str, Field(pattern=r"^[\w.]+:\w+$")] | None = None
    """function of an installed package, "package.module:function", that makes the model from the
    folder path: it returns module, loss and collate function"""
    subwords: Literal["first", "all"] = "first"
    """sub-words of a word that had its tag in the training of a token classifier"""
    output: Name | Annotated[int, Field(ge=0)] | None = None
    """explained output of a module of `factory` with several: its name, or its position from 0"""


_KEYS_OF = {
    "table": ("separator", "decimal", "encoding", "sheet"),
    "dataset": ("split", "config"),
}
"""Keys of a section that apply to a table, and to a data set."""


class TableSource(Section):
    """Table of rows, and the roles of its columns."""

    table: Name | None = None
    """a file with a table, such as .parquet, .csv, .jsonl or .xlsx, or a folder of images"""
    dataset: Name | None = None
    """a local folder for the `datasets` library, or hub:owner/name"""
    split: Name | None = None
    """split of the dataset; needed if it has several"""
    config: Name | None = None
    """configuration of the dataset"""
    separator: Separator | None = None
    """separator of the cells of a text table, such as ";"; detected if omitted"""
    decimal: Literal[".", ","] | None = None
    """decimal mark of the numbers in a text table; detected if omitted"""
    encoding: Encoding | None = None
    """encoding of a text file, such as cp1250; UTF-8, UTF-16 or Windows-1252 if omitted"""
    sheet: Name | None = None
    """sheet of a workbook; needed if several of them have cells"""
    text: Columns = ()
    """the column with the text, or two columns for pairs of texts"""
    features: Names = ()
    """instead of text: columns of numbers, of lists of numbers, or of categories such as a job"""
    image: NormalizedName | None = None
    """instead of text: the column of images, as bytes or paths of files, or one byte per pixel"""
    label: NormalizedName | None = None
    """the column with the label"""
    labels: Names = ()
    """instead of label: one column for each label, in the order of the study's labels"""
    id: NormalizedName | None = None
    """the column with a unique id; the row number, counted from 1, if omitted"""
    groups: Names = ()
    """columns by which results are sliced, such as source, region or annotator"""

    @property
    def content_columns(self) -> tuple[str, ...]:
        """Columns with the content of a row: text, features or image."""
        return (*self.text, *self.features, *((self.image,) if self.image else ()))

    @property
    def target_columns(self) -> tuple[str, ...]:
        """Columns with the target of a row: label or labels; none for unlabelled queries."""
        return self.labels or ((self.label,) if self.label else ())

    @model_validator(mode="after")
    def _check_label_keys(self) -> Self:
        if self.label and self.labels:
            expected, got = "one of the keys label, labels", "both"
            raise make_validation_error(Problem("labels", expected, got, "remove one of them"))
        return self

    @model_validator(mode="after")
    def _check_content(self) -> Self:
        given = [key for key in ("text", "features", "image") if getattr(self, key)]
        if len(given) != 1:
            expected = "exactly one of the keys text, features, image"
            change = 'add text = "your-column"' if not given else f"keep {given[0]} alone"
            got = " and ".join(given) or "nothing"
            raise make_validation_error(Problem("text", expected, got, change))
        for name in self.target_columns:
            if name in self.content_columns:
                expected, got = f"a column that is not in {given[0]}", format_value(name)
                key, change = "labels" if self.labels else "label", "use the column with the labels"
                raise make_validation_error(Problem(key, expected, got, change))
        return self

    @model_validator(mode="after")
    def _check_source(self) -> Self:
        if (self.table is None) == (self.dataset is None):
            got = "neither" if self.table is None else "both"
            change = "remove one" if self.table else 'add table = "your-file.parquet"'
            raise make_validation_error(
                Problem("", "exactly one of the keys table, dataset", got, change)
            )
        kind, other = ("table", "dataset") if self.table is not None else ("dataset", "table")
        for key in _KEYS_OF[other]:
            if (value := getattr(self, key)) is not None:
                expected = f"no such key together with {kind}"
                change = f"remove it, or use {other} instead of {kind}"
                raise make_validation_error(Problem(key, expected, format_value(value), change))
        return self


class TrainSource(TableSource):
    """`[train]`: the training rows, all of them with labels."""

    # Sections are frozen, so a narrower type is safe.
    label: NormalizedName = ""  # pyright: ignore[reportGeneralTypeIssues, reportIncompatibleVariableOverride]
    """the column with the label; empty if `labels` has one column for each"""
    weight: NormalizedName | None = None
    """the column with the weight of each row in the training loss; 1 for all if omitted"""

    @model_validator(mode="after")
    def _check_target_columns(self) -> Self:
        if not self.target_columns:
            expected, change = "the column with the label", "add label = ..."
            raise make_validation_error(Problem("label", expected, "nothing", change))
        return self


class QuerySource(TableSource):
    """`[queries]`: the predictions to explain, with or without labels."""

    label: NormalizedName | None = None
    """the column with the true label, empty where it is unknown; omitted if no label is known"""
    measure: Literal["auto", "loss", "log-probability", "margin", "entropy"] = "auto"
    """what is explained of each prediction; "auto": the loss at its label, or without a label the
    log probability of the predicted label"""
    by_label: bool = False
    """whether each label of a row is explained on its own, with several labels a row"""
    by_span: bool = False
    """whether each span of a tagged sentence is explained on its own, and the other words"""
    trusted: bool = False
    """whether the labels are trusted: `fastif mislabels` then learns from these rows too"""


class Mislabels(Section):
    """`[mislabels]`: settings of the search for wrong labels; none of them needs tuning."""

    encoder: Name | None = None
    """encoder of texts or images that was not trained on these labels: a folder, hub:owner/name
    or package:NAME/folder; [training] base if omitted, or else the model itself"""
    folds: Annotated[int, Field(ge=2)] | None = None
    """number of folds for cross-fitting [training], which adds out-of-fold predictions of the
    fine-tuned classifier; no cross-fitting if omitted"""
    finetune: bool = False
    """whether a classifier is fine-tuned by cross-fitting: by [training], or without it the
    encoder as a whole; folds is 5 if omitted"""
    judge: Name | None = None
    """instead of folds: an independent classifier, not trained on these rows"""
    judges: Names = ()
    """columns of [train] with the labels, a score or the probabilities of other classifiers, such
    as a language model or a rule; NAME stands for a column, or for one a label, NAME_LABEL"""
    budget: Annotated[int, Field(ge=1)] = 100
    """number of rows that will be reviewed"""

    @property
    def has_classifier(self) -> bool:
        """Whether a text classifier is cross-fitted or given."""
        return self.finetune or self.folds is not None or self.judge is not None

    @model_validator(mode="after")
    def _check_classifier(self) -> Self:
        for key, value in (("folds", self.folds), ("finetune", self.finetune or None)):
            if value is not None and self.judge is not None:
                got = str(value).lower()
                raise make_validation_error(
                    Problem(key, "no such key together with judge", got, "remove one of the two")
                )
        return self


class Parameters(Section):
    """`[parameters]`: the parameters that influence is computed for."""

    attributed: Selection = "last:1"
    """last:K (the last K encoder layers, or stages of an image model, and the head), head (image
    models), all, adapter (of a LoRA adapter: its matrices and its head), or a list of regular
    expressions; last:K and all of a model with an adapter are parameters of the adapter alone"""

    @property
    def selection(self) -> str | list[str]:
        """Attributed parameters as the objectives take them."""
        return self.attributed if isinstance(self.attributed, str) else [*self.attributed]


class Curvature(Section):
    """`[curvature]`: curvature matrix that is inverted, and its damping."""

    kind: Literal["gauss-newton", "hessian"] = "gauss-newton"
    """gauss-newton (generalized Gauss-Newton, positive semidefinite; recommended) or hessian"""
    rows: Annotated[int, Field(ge=1)] | Literal["auto", "all"] = "auto"
    """size of a fixed random sample of the training rows, or "all"; "auto": all rows where the
    solver can process them in a few minutes, else a sample"""
    damping: Damping = "auto"
    """lambda, added to the diagonal, such as 0.1; auto: chosen by retraining on random halves"""
    seed: Seed = 0
    """random seed of the sample"""
    leverage: Literal["auto", "on", "off"] = "off"
    """whether effects are corrected for the leverage of the removed row; auto: where it is cheap"""

    @property
    def sample_size(self) -> int | None:
        """Size of the sample; None for all rows, and while "auto" is not resolved."""
        return self.rows if isinstance(self.rows, int) else None

    @property
    def settings(self) -> dict[str, Any]:
        """Settings in the form of digests and records, where `rows` is None for all rows."""
        return self.model_dump(mode="json") | {"rows": self.sample_size}


class CertificateSection(Section):
    """`[certificate]`: checks of the solutions; their results are stored with the scores."""

    rows: Annotated[int, Field(ge=0)] = 512
    """sample size for the estimate of the residual on all training rows; 0 turns it off"""


class Run(Section):
    """`[run]`: sizes that affect speed and memory, the precision of scores, and the time budget."""

    shard_size: Annotated[int, Field(ge=1)] = 64
    """number of queries per shard"""
    batch_size: Annotated[int, Field(ge=1)] = 32
    """number of examples with gradients in memory at once"""
    batch_tokens: Annotated[int, Field(ge=1)] | None = None
    """maximum number of tokens per batch, with padding; no limit if omitted"""
    prefix_cache_mb: Annotated[int, Field(ge=0)] = 512
    """memory of the frozen-layer activation cache, in MB; 0 turns it off"""
    prefix_disk_mb: Annotated[int, Field(ge=0)] = 0
    """disk of that cache, in MB; kept in the store for the next run"""
    memory_gb: Annotated[float, Field(gt=0)] | None = None
    """limit of peak memory; the sizes above that are left out are chosen to stay below it"""
    budget: Duration | None = None
    """time budget such as "20min" or "1h30min": settings left open are chosen by forecast to fit"""
    one_by_one: bool = False
    """one backward pass per example instead of forward hooks: slower, for unusual models"""
    precision: Literal["auto", "single", "tf32", "bf16"] = "auto"
    """precision of scores; "auto": the fastest that agrees with single precision on the study"""
    devices: DeviceNames = AUTO
    """devices, one worker each; "auto": every GPU, or else the CPU with one worker"""

    @property
    def budget_seconds(self) -> float | None:
        """Time budget in seconds; None without one."""
        return None if self.budget is None else parse_duration(self.budget)


class StoreSection(Section):
    """`[store]`: location of the results."""

    path: Name
    """a folder for the results, created if it does not exist, or s3://bucket/prefix"""
