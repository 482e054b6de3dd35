"""When to stop: a validation metric has not gained for some evaluations in a row."""

import math

_SIGN = {  # what is better: larger, smaller
    "auc": 1.0, "pr_auc": 1.0, "grouped_auc": 1.0, "log_loss": -1.0, "normalized_entropy": -1.0, "calibration_error": -1.0, "calibration": -1.0,
    "mean_squared_error": -1.0, "mean_absolute_error": -1.0, "mean_deviance": -1.0,
}  # fmt: skip
_NAME = {
    "auc": "AUC", "pr_auc": "precision-recall AUC", "grouped_auc": "grouped AUC", "log_loss": "log-loss",
    "normalized_entropy": "normalized entropy", "calibration_error": "calibration error", "calibration": "calibration",
    "mean_squared_error": "mean squared error", "mean_absolute_error": "mean absolute error", "mean_deviance": "mean deviance",
}  # fmt: skip


class EarlyStopping:
    """Judges the evaluations of a run one after another.  Pure: the same metrics give the same verdicts on every rank.

    metric : "auc", "pr_auc" or "grouped_auc" (larger is better), "log_loss", "normalized_entropy" or "calibration_error" (smaller), or
    "mean_squared_error", "mean_absolute_error" or "mean_deviance" (smaller), or "calibration" (the nearer to 1 the better; what is judged is the distance |log calibration|); that of one of several tasks is NAME.metric
    patience : evaluations in a row without a gain after which to stop, at least 1
    minimum_gain : an evaluation gains if it is better than the best before it by more than this

    The first defined value is a gain.  A value that is undefined (None: one class only, or no rows) or not finite is
    an evaluation without a gain; if none is ever defined, no evaluation is the best, and `best` stays None.
    """

    def __init__(self, metric, patience, minimum_gain=0.0):
        self.metric, self._patience, self._minimum_gain = metric, patience, minimum_gain
        self._task, _, self._kind = metric.rpartition(".")
        self._sign = _SIGN[self._kind]
        self.best = None
        self._without_gain = 0

    def observe(self, metrics):
        """Judge one evaluation's Metrics: "best" (keep this model), "worse" (go on), or "stop".

        After "stop", the model to use is the one of the last "best".
        """
        value = metrics.numbers()[self.metric] if self._task else getattr(metrics, self.metric)
        if self._kind == "calibration" and value is not None:
            value = abs(math.log(value)) if value > 0 else math.inf
        if value is not None and math.isfinite(value) and self._gains(value):
            self.best, self._without_gain = value, 0
            return "best"
        self._without_gain += 1
        return "stop" if self._without_gain >= self._patience else "worse"

    @property
    def why(self):
        """Why to stop, in words."""
        times = "evaluation" if self._patience == 1 else f"{self._patience} evaluations in a row"
        of_task = f" of {self._task}" if self._task else ""
        return f"valid {_NAME[self._kind]}{of_task} has not gained for {times}"

    def state(self):
        """What a checkpoint has to keep, as plain JSON types."""
        return {"best": self.best, "without_gain": self._without_gain}

    def restore(self, state):
        """Go on from a `state`."""
        self.best, self._without_gain = state["best"], state["without_gain"]

    def _gains(self, value):
        return self.best is None or self._sign * (value - self.best) > self._minimum_gain
