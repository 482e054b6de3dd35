"""Progress lines: loss and AUC are of all ranks, whichever exchange, and reports come when rank 0's clock says so."""

import io

import numpy as np
import pytest
from score_counts import expected_counts
from small_training import all_samples, reads, score, small_config, small_model
from synthetic_batches import awkward_batches

from deshpc.nn.scores import binned_auc
from deshpc.training.progress import Progress
from deshpc.training.step import steps

pytestmark = pytest.mark.mpi


@pytest.mark.parametrize("interval_s", [0.0, 1e9])
@pytest.mark.parametrize("exchange", ["allreduce", "reduce_scatter", "rows"])
def test_lines_are_of_all_ranks(world, exchange, interval_s):
    batches, lines = awkward_batches(3, 6), []
    with small_model(world, small_config("lr", exchange=exchange), 1) as model:
        progress = Progress(
            "epoch", sum(map(len, batches)), interval_s, lambda **entries: lines.append(entries), io.StringIO(),
            take_auc=model.take_auc, shows=world.rank == 0,
        )  # fmt: skip
        expected, read = [], [reads(model, batch) for batch in batches]
        for batch, mine in zip(batches, read, strict=True):
            before = all_samples(model, score(model, mine)).copy()  # new rows begin at 0
            ((_, loss, weight, report),) = steps(model, [mine], progress.due)
            expected.append((before, batch.labels, loss))
            progress.advance(len(batch), loss, weight, report)
        progress.finish()
        sizes, losses = [len(batch) for batch in batches], [loss for *_, loss in expected]
    if world.rank:
        assert not lines
    elif interval_s:
        (line,) = lines
        assert line["loss"] == pytest.approx(sum(losses) / sum(sizes)) and line["samples"] == sum(sizes)
    else:
        assert [line["loss"] for line in lines] == pytest.approx(np.divide(losses, sizes).tolist())
        aucs = [binned_auc(*expected_counts(logit, labels)) for logit, labels, _ in expected]
        assert [line["auc"] for line in lines] == [None if auc is None else pytest.approx(auc, rel=1e-12) for auc in aucs]
