"""Schema of the table `wrong_targets`: one row a training row and label, or column of numbers."""

from __future__ import annotations

from typing import Final

import pyarrow as pa

from storage.fields import TRAIN_POSITION, make_field, make_schema

WRONG_TARGETS: Final = make_schema(
    "wrong_targets",
    (
        TRAIN_POSITION,
        make_field("output", pa.uint32(), "position of the label, or of the column of numbers"),
        make_field("rank", pa.uint32(), "0 = most suspicious; reviewed targets come last"),
        make_field("id", pa.string(), "the study's own id of the example"),
        make_field("name", pa.string(), "name of the label, or of the column of numbers"),
        make_field("given", pa.float64(), "given target; 1 if the row has the label, 0 if not"),
        make_field(
            "score",
            pa.float32(),
            "several labels: probability that given is wrong. Numbers: posterior of an error in a "
            "mixture, which is no probability where noise has heavy tails. Null for a label that "
            "is too rare to be searched",
            nullable=True,
        ),
        make_field("doubt", pa.float32(), "score before reviews and audit samples", nullable=True),
        make_field(
            "strength",
            pa.float32(),
            "numbers: absolute out-of-fold residual in conditional standard deviations",
            nullable=True,
        ),
        make_field("suggested", pa.float64(), "the other value, or the conditional median"),
        make_field("low", pa.float64(), "numbers: lower bound of the 90 % interval", nullable=True),
        make_field(
            "high", pa.float64(), "numbers: upper bound of the 90 % interval", nullable=True
        ),
        make_field(
            "self_influence",
            pa.float64(),
            "numbers: change of the row's own loss ½ r² if it is removed from a ridge head",
            "squared units of the target",
            nullable=True,
        ),
        make_field(
            "row_score",
            pa.float32(),
            "several labels: probability that one or more labels of the row are wrong",
            nullable=True,
        ),
        make_field("informed", pa.bool_(), "whether the features predict this output at all"),
        make_field("reviewed", pa.float64(), "target given by the reviewers", nullable=True),
    ),
)
"""Schema of the table `wrong_targets`."""
