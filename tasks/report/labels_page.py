"""Contents of the report on labels alone: a study without a model has no effects to show."""

from dataclasses import dataclass

from tasks.mislabels.detection_warnings import warn_detection
from tasks.mislabels.tabular_views import make_features
from tasks.report.actions import Action, list_label_actions
from tasks.report.data_quality import DataQuality, assess_row_quality
from tasks.report.duplicates import Duplicates, find_duplicates
from tasks.report.headline import make_label_headline
from tasks.report.label_data import LabelData
from tasks.report.mislabels import FlaggedLabels, read_flagged_labels
from tasks.report.reliability import ReliabilityCheck, check_label_reliability
from tasks.report.tfidf_space import TfidfSpace, make_space, make_tfidf_space
from tasks.results.label_limits import check_label_limits
from tasks.results.limits import LimitTest
from tasks.study.report_section import ReportLimits


@dataclass(frozen=True, eq=False)
class LabelsPage:
    """Contents of a report on labels alone, section by section.

    Attributes:
        data: Rows and searches for wrong labels.
        actions: Recommended actions, certain findings first.
        tests: Tests against the limits of the study.
        headline: Summary sentences.
        warnings: Sentences on a ranking that means little.
        flagged: Flagged labels.
        duplicates: Exact and near duplicates, and leaks.
        quality: Outliers, label counts and empty rows.
        reliability_checks: Checks of the detection.
    """

    data: LabelData
    actions: list[Action]
    tests: list[LimitTest]
    headline: list[str]
    warnings: list[str]
    flagged: FlaggedLabels
    duplicates: Duplicates
    quality: DataQuality
    reliability_checks: list[ReliabilityCheck]


def build_labels_page(data: LabelData, limits: ReportLimits | None = None) -> LabelsPage:
    """Compute all sections of a study without an audit.

    Args:
        data: Rows and searches for wrong labels.
        limits: Limits of the study; none by default.
    """
    flagged = read_flagged_labels(data)
    assert flagged is not None, "labels alone are read with their detection"
    shown = (flagged.chance_note, *flagged.classifiers)
    space = _make_row_space(data)
    duplicates = find_duplicates(data, space)
    quality = assess_row_quality(data, space)
    checks = check_label_reliability(data, flagged.facts, duplicates)
    return LabelsPage(
        data,
        list_label_actions(data.study, duplicates, quality, flagged, data.determines_class),
        check_label_limits(
            limits or ReportLimits(), data.labels, duplicates.leaked, len(data.queries)
        ),
        make_label_headline(flagged, checks),
        [line for line in warn_detection(flagged.facts) if line not in shown],
        flagged,
        duplicates,
        quality,
        checks,
    )


def _make_row_space(data: LabelData) -> TfidfSpace:
    """Vectors of the rows: tf-idf of texts, else standardized features."""
    if data.has_texts:
        return make_tfidf_space(data)
    return make_space(make_features(data.measurements), len(data.train))
