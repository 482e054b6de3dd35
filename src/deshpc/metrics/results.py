"""What an evaluation finds."""

from dataclasses import dataclass, fields
from typing import ClassVar

from deshpc.metrics.calibration import CalibrationBin


@dataclass(frozen=True)
class SliceMetrics:
    """Metrics of the rows that have one value in a field.

    field, value : names; a value whose name is not known is its key in hexadecimal, 0x...
    rows, positives : counts;  the others : as of `Metrics`
    """

    field: str
    value: str
    rows: int
    positives: int
    auc: float | None
    log_loss: float | None
    normalized_entropy: float | None
    calibration: float | None


@dataclass(frozen=True)
class UnseenKeys:
    """Keys of a field that training has never had, so that the model has no row for them.

    occurrences : of all keys in all rows;  distinct : keys
    unseen_occurrences, unseen_distinct : those without a row
    """

    field: str
    occurrences: int
    unseen_occurrences: int
    distinct: int
    unseen_distinct: int

    @property
    def share(self):
        """Of the distinct keys."""
        return self.unseen_distinct / max(1, self.distinct)


@dataclass(frozen=True)
class Metrics:
    """Metrics of a model on rows.  Where these have weights, every mean, sum and share but the counts is by weight.

    rows, positives : counts
    auc : chance that a positive scores above a negative, ties one half (None: one class)
    log_loss : mean, natural logarithm
    normalized_entropy : log_loss / entropy of the labels' mean (None: one class)
    calibration : sum of predicted probabilities / number of positives (None: no positive)
    best_auc : AUC of the true probabilities on the same rows, where they are known
    pr_auc : mean precision over the recall, stepwise, equal scores at once (None: no positive)
    grouped_auc : mean of the AUCs of groups of rows, by their weights (None: no group has both classes, or none are asked for)
    groups, groups_left_out : number of groups in it, and of those of one class, which are not; None where none are asked for
    calibration_error : mean distance of prediction and label over the bins of `calibration_bins`
    calibration_bins : [CalibrationBin], from low predictions to high ones; None where none are asked for
    slices : [SliceMetrics]; None where none are asked for, and in evaluations while a run trains
    unseen : [UnseenKeys] of the fields that become keys by their values; None in evaluations while a run trains
    weight : sum of the rows' weights; None where each is 1
    """

    TITLES: ClassVar = (
        ("AUC", "auc", 5), ("best possible AUC", "best_auc", 5), ("grouped AUC", "grouped_auc", 5), ("precision-recall AUC", "pr_auc", 5),
        ("log-loss", "log_loss", 5), ("normalized entropy", "normalized_entropy", 4), ("calibration", "calibration", 4),
        ("calibration error", "calibration_error", 5),
    )  # fmt: skip
    """(title, name, digits) of the numbers that tables show."""

    IN_A_LINE: ClassVar = (("AUC", "auc", 5), ("log-loss", "log_loss", 5), ("NE", "normalized_entropy", 4), ("calibration", "calibration", 4))
    """The same of those that the line of an evaluation shows."""

    TABLES: ClassVar = ("calibration_bins", "slices", "unseen")
    """Names of what is no number."""

    rows: int
    positives: int
    auc: float | None
    log_loss: float | None
    normalized_entropy: float | None
    calibration: float | None
    best_auc: float | None = None
    pr_auc: float | None = None
    grouped_auc: float | None = None
    groups: int | None = None
    groups_left_out: int | None = None
    calibration_error: float | None = None
    calibration_bins: list[CalibrationBin] | None = None
    slices: list[SliceMetrics] | None = None
    unseen: list[UnseenKeys] | None = None
    weight: float | None = None

    @property
    def loss(self):
        """What training makes small."""
        return self.log_loss

    @property
    def of_constant(self):
        """The loss / that of the best constant; None where that is 0."""
        return self.normalized_entropy

    def numbers(self):
        """{name: number or None} of all that is one number."""
        return {field.name: getattr(self, field.name) for field in fields(self) if field.name not in self.TABLES}
