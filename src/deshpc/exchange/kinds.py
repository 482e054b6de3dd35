"""How partial results become complete, and gradients reach the rows: the exchanges by their names in `train.exchange`.

    name             forward                                        top on       backward
    allreduce        all-reduce of partials (B, s)                  all samples  nothing travels
    reduce_scatter   reduce-scatter of partials (B, s) to home      own share    all-gather of the states' gradients (b, s)
    rows             rows of unique keys travel to home             own share    their gradients travel back, summed per key
    pooled           see `exchange.pooled`                      own share    the same way back

Bytes sent by a rank in a step, both directions, N ranks, b samples a rank, numbers of 4 or 8 bytes: the first two
2 (N - 1) b s; rows 2 b u w (N - 1) / N for u distinct keys a sample in a local batch and rows of w weights.  Where the
top works on a rank's own share, dense gradients are all-reduced besides (`top.dense_sums`).
"""

from deshpc.exchange.pooled import PooledExchange
from deshpc.exchange.rows import RowExchange
from deshpc.exchange.sums import AllReduce, ReduceScatter

EXCHANGES = {"allreduce": AllReduce, "reduce_scatter": ReduceScatter, "rows": RowExchange, "pooled": PooledExchange}
