"""Warnings: what a run can do, but hardly anybody wants.  Each is one line, said once, and in the record."""

from deshpc.config.unused import unused_options
from deshpc.launch.console import say

_FIELDS_SHOWN = 3
_WORDS = {  # by the loss: what training makes small, what an evaluation says of it, what the best constant is
    "log": ("log-loss", "log-loss", "the base rate"),
    "squared": ("half squared error", "mean squared error", "the mean label"),
    "poisson": ("half deviance", "mean deviance", "the mean label"),
}


class Adviser:
    """Says a run's warnings on rank 0, and puts them into its record."""

    def __init__(self, group, record, loss):
        """loss : `train.loss`"""
        self._first, self._record, self._said = group.rank == 0, record, set()
        self._trained, self._measured, self._mean = _WORDS[loss]

    def warn(self, subject, text):
        """Say that of a subject, unless something has been said of it."""
        if self._first and subject not in self._said:
            self._said.add(subject)
            say(f"deshpc: warning: {subject}: {text}\n")
            self._record.write("warning", subject=subject, text=text)

    def of_options(self, config):
        """Options that have been given a value, and that nothing in this run reads."""
        for name, why in unused_options(config):
            self.warn(name, f"changes nothing: {why}")

    def of_labels(self, constant, tasks=()):
        """A training part all of whose labels are equal, by its BestConstant.

        tasks : `config.tasks.Task`s, where there are several labels: then those of one of them, or that none is known
        """
        asked = "is data.label the right column?"
        if not tasks and constant.only is not None:
            self.warn("data.train", f"all labels that count are {constant.only:g}: there is nothing to tell apart; {asked}")
        for task, prediction, only in zip(tasks, constant.prediction, constant.only, strict=True) if tasks else ():
            if prediction is None:
                self.warn(f"data.train, {task.name}", f"no row has a label that counts: the task learns nothing; {asked}")
            elif only is not None:
                self.warn(f"data.train, {task.name}", f"all its labels that count are {only:g}: there is nothing to tell apart; {asked}")

    def of_epoch(self, epoch, loss, constant):
        """A mean loss of an epoch's rows, before each was learnt from, that the BestConstant would beat."""
        if constant.loss is not None and loss > 1.01 * constant.loss:
            self.warn(
                f"training {self._trained}",
                f"{loss:.6g} in epoch {epoch + 1}, more than the {constant.loss:.6g} of predicting {self._mean} {constant.prediction:.4g} for "
                "every row: steps are probably too large; lower optimizer.learning_rate",
            )

    def of_metrics(self, part, metrics):
        """A trained model that is worse than a constant."""
        times = metrics and metrics.of_constant
        if times is not None and times > 1.01:
            self.warn(
                f"{part} {self._measured}",
                f"{metrics.loss:.6g} is {times:.3g} times that of the best constant prediction: the model has learnt nothing that "
                "helps; lower optimizer.learning_rate, or train longer",
            )

    def of_unseen_keys(self, part, metrics):
        """Fields of which more than half of a part's distinct keys have no row: one warning about all of them."""
        odd = sorted((one for one in (metrics and metrics.unseen) or () if one.share > 0.5), key=lambda one: -one.unseen_distinct)
        if odd:
            shown = [f"{one.field!r} ({100 * one.share:.0f} % of {one.distinct:,})" for one in odd[:_FIELDS_SHOWN]]
            more = f", and of {len(odd) - _FIELDS_SHOWN} fields more" if len(odd) > _FIELDS_SHOWN else ""
            self.warn(
                "unseen keys",
                f"most values of {', '.join(shown)}{more} in the {part} part were never seen in training, and say nothing there: are they "
                "written as in training (13.0 is not 13, nor is 013; spaces and case count)? Is it the same column, and the same ids? "
                "Values that never come back, such as a row's own number, are of no use as a field",
            )
