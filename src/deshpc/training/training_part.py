"""What a run learns from: the samples of its training part, which of them, and what each counts."""

from dataclasses import dataclass

import numpy as np

from deshpc.data.class_weights import weighted_by_class
from deshpc.data.dataset import ChainedDataset, Dataset
from deshpc.data.kept_rows import kept_rows
from deshpc.errors import DataError
from deshpc.training.best_constant import BestConstant, constant_of


@dataclass(frozen=True)
class TrainingPart:
    """Samples, with the weights that they are learnt by.

    dataset : of the whole part
    kept : numbers (n) of the rows that are learnt from, None where all are
    whole : BestConstant of the whole part, which a model is to predict
    learnt : of the rows that are learnt from, by the weights that they are learnt by
    """

    dataset: Dataset | ChainedDataset
    kept: np.ndarray | None
    whole: BestConstant
    learnt: BestConstant

    @property
    def samples(self):
        """Of an epoch."""
        return self.learnt.rows


def training_part(session, dataset):
    """The TrainingPart of a session's training samples, by `train.negative_sampling`.  DataError where nothing counts.  Collective."""
    group, train = session.group, session.config.train
    whole = constant_of(session.config, group, dataset)
    group.agree(problem(whole))
    if train.negative_sampling == 1:
        return TrainingPart(dataset, None, whole, whole)
    workers = session.workers()
    kept = kept_rows(dataset, train.negative_sampling, train.seed, workers)
    if train.sampling_correction == "weights":
        dataset = weighted_by_class(dataset, 1 / train.negative_sampling, 1, workers)
    learnt = constant_of(session.config, group, dataset, kept)
    group.agree(problem(learnt, f"train.negative_sampling = {train.negative_sampling} keeps {len(kept):,} of {whole.rows:,} rows: "))
    return TrainingPart(dataset, kept, whole, learnt)


def problem(rate, what=""):
    """A DataError where nothing can be learnt from rows of this BestConstant, else None."""
    if not np.isfinite(rate.weight):
        return DataError(f"data.train: {what}the weights add up to {rate.weight}; expected finite numbers of at least 0")
    return None if rate.weight > 0 else DataError(f"data.train: {what}no row has a weight above 0: there is nothing to learn from")
