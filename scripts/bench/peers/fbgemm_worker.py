"""FBGEMM's fused tables on two threads: look-up, and row-wise Adagrad in the backward pass, in its own kernels.

    fbgemm_worker.py '{"data": FOLDER, "test": false}'
    fbgemm_worker.py '{"data": FOLDER, "model": "deepfm", "hidden": [400, 400], "compiled": true, "test": false}'

FM or a deep model (torch_deep_models.py); minibatches of 8192 and the rest of the model by PyTorch.  A row is [v, w] padded to
20 floats, which FBGEMM wants in fours, so that a sample looks up each value once; v where the model has no w.  The 26 fields
are the features of one table, which is faster than a table each; indices have FBGEMM's order, field after field, before the
clock starts.
"""

import samples
import torch
from fbgemm_gpu.split_embedding_configs import EmbOptimType
from fbgemm_gpu.split_table_batched_embeddings_ops_common import EmbeddingLocation, PoolingMode
from fbgemm_gpu.split_table_batched_embeddings_ops_training import ComputeDevice, SplitTableBatchedEmbeddingBagsCodegen
from noise import Meter
from torch_deep_models import top_of, width_of
from torch_models import ACCUMULATOR, RATE, batches, first_weights, loss_of, warm_up


class Model(torch.nn.Module):
    def __init__(self, top, rows, width, fields):
        super().__init__()
        self.top, self.width = top, width
        self.table = SplitTableBatchedEmbeddingBagsCodegen(
            [(rows, width, EmbeddingLocation.HOST, ComputeDevice.CPU)], feature_table_map=[0] * fields,
            pooling_mode=PoolingMode.SUM, optimizer=EmbOptimType.EXACT_ROWWISE_ADAGRAD, learning_rate=RATE, eps=1e-8,
        )  # fmt: skip
        first_weights(self.table.split_embedding_weights()[0])
        self.table.split_optimizer_states()[0][0].fill_(ACCUMULATOR)

    def forward(self, indices, offsets, dense):
        return self.top(self.table(indices, offsets).view(len(dense), -1, self.width), dense)


def field_after_field(indices, slices):
    """Of each batch: (indices, offsets) as FBGEMM takes them, 64 bits wide, which is faster than 32."""
    indices = indices.long()
    return [(indices[batch].T.reshape(-1), torch.arange(indices[batch].numel() + 1)) for batch in slices]


def train(model, optimizer, keys, rows, slices):
    _, dense, labels = rows
    for (indices, offsets), batch in zip(keys, slices, strict=True):
        optimizer.zero_grad(set_to_none=True)
        loss_of(model(indices, offsets, dense[batch]), labels[batch]).backward()
        optimizer.step()


def main(job):
    torch.set_num_threads(2)
    torch.manual_seed(1)
    rows = [torch.from_numpy(array) for array in samples.arrays(job["data"], "train")]
    values, fields, numbers = sum(samples.table_sizes(job["data"])), rows[0].shape[1], rows[1].shape[1]
    slices = batches(0, len(rows[0]))
    keys = field_after_field(rows[0], slices)

    def fresh():
        top, rate = top_of(job, fields, numbers)
        optimizer = torch.optim.Adagrad(top.parameters(), lr=rate, initial_accumulator_value=ACCUMULATOR, fused=True)
        return Model(top, values, width_of(job), fields), optimizer

    warm = fresh()
    train(*warm, warm_up(keys), rows, warm_up(slices))
    del warm
    model, optimizer = fresh()
    meter = Meter()
    train(model, optimizer, keys, rows, slices)
    measured, test_auc = meter.stop(), None
    if job["test"]:
        test = [torch.from_numpy(array) for array in samples.arrays(job["data"], "test")]
        slices = batches(0, len(test[0]))
        with torch.no_grad():
            logits = [
                model(*key, test[1][batch])
                for key, batch in zip(field_after_field(test[0], slices), slices, strict=True)
            ]
        test_auc = samples.auc(torch.cat(logits).numpy(), test[2])
    samples.report(len(rows[0]), [measured], test_auc)


if __name__ == "__main__":
    main(samples.job())
