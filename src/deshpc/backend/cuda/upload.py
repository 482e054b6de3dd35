"""A batch to the device: its occurrences are gathered side by side in pinned memory, and sent while the host goes on.

    main thread      start(t + 2) | start .. update of step t + 1 | (t + 2): send   ...
    other thread     gather t + 2 in pinned memory ......................|
"""

from collections import deque
from concurrent.futures import ThreadPoolExecutor
from itertools import cycle

import numpy as np

from deshpc.backend.arguments import SparseFeatures
from deshpc.backend.cpu.memory import at, put
from deshpc.backend.cpu.values import copy_value
from deshpc.backend.cuda.buffers import Buffers
from deshpc.backend.values import value_shape
from deshpc.errors import DeshpcError
from deshpc.hashing.partition import key_field
from deshpc.jit import kernel


class Upload:
    """Three sets of buffers: a batch is worked on, the next one is looked up, and keys of the one behind travel.

    Only the thread that made the device asks it for anything: the other one fills memory that it is given.
    """

    def __init__(self, device):
        self._sets = cycle([_Set(device) for _ in range(3)])
        self._thread, self._started = ThreadPoolExecutor(1, "deshpc-gather"), deque()

    def start(self, arrays):
        """Have another thread gather a batch; it is the next one that is asked for.  arrays : as of a call

        They stay as they are until then.
        """
        buffers = next(self._sets)
        self._started.append((arrays, buffers, self._thread.submit(*_prepared(buffers, arrays))))

    def __call__(self, arrays):
        """The arrays (begins, ends, keys, fields, values, dense, labels, weights) of a batch on the device: begins and ends are views of
        one array of offsets, from 0 on; values and weights may be None.

        Valid until the third call behind this one.
        """
        if self._started:
            of_started, buffers, gathered = self._started.popleft()
            if any(one is not other for one, other in zip(arrays, of_started, strict=True)):
                raise DeshpcError("a batch was started, and another one asked for")
            gathered.result()
        else:
            buffers = next(self._sets)
            fill, *rest = _prepared(buffers, arrays)
            fill(*rest)
        sent = buffers.send()
        n, offsets = len(arrays[0]), sent["offsets"]
        return (
            offsets[:n], offsets[1:], sent["keys"], sent["fields"], sent.get("values"), sent["dense"], sent["labels"], sent.get("weights"),
        )  # fmt: skip

    def close(self):
        """Let the thread go."""
        self._thread.shutdown()


def _prepared(buffers, arrays):
    """(function, its arguments) that fills the pinned memory of a set with a batch; the memory is there."""
    begins, ends, keys, fields, values, dense, labels, weights = arrays
    n, nnz = len(begins), int((ends - begins).sum())
    buffers.begin()
    own = SparseFeatures(
        buffers.host("offsets", n + 1, np.int64), None, buffers.host("keys", nnz, np.uint64), buffers.host("fields", nnz, np.uint16),
        None if values is None else buffers.host("values", value_shape(values, nnz), np.float32),
    )  # fmt: skip
    others = [(dense, buffers.host("dense", dense.shape, np.float32)), (labels, buffers.host("labels", labels.shape, np.float32))]
    if weights is not None:
        others.append((weights, buffers.host("weights", n, np.float32)))
    return _fill, SparseFeatures(begins, ends, keys, fields, values), own, others


def _fill(sparse, own, others):
    gather(sparse, own)
    for source, target in others:
        target[...] = source


class _Set:
    """Pinned arrays and their copies on the device."""

    def __init__(self, device):
        self._device, self._buffers, self._pinned, self._current, self._sent = device, Buffers(device), {}, {}, None

    def begin(self):
        """Wait until what was sent last has left the pinned memory."""
        self._current = {}
        if self._sent is not None:
            self._device.wait(self._sent)

    def host(self, name, shape, dtype):
        """Pinned memory to fill."""
        shape = shape if isinstance(shape, tuple) else (shape,)
        count, held = int(np.prod(shape, dtype=np.int64)), self._pinned.get(name)
        if held is None or len(held) < count:
            held = self._pinned[name] = self._device.host_memory((count + count // 2,), dtype)
        self._current[name] = held[:count].reshape(shape)
        return self._current[name]

    def send(self):
        """{name: array on the device} that become copies of what has been filled."""
        sent = {}
        for name, host in self._current.items():
            sent[name] = self._buffers.array(name, host.shape, host.dtype)
            self._device.to_device(host, sent[name])
        self._sent = self._device.mark()
        return sent


@kernel
def gather(sparse, own):
    """Copy the occurrences of all samples side by side, those of sample i to own.begins[i] on; own.begins (n + 1) is filled, too.

    Fields are those that have the keys' rows: where fields share rows, a device need not know in which of them a key stands.
    """
    begins, ends, keys, _, values = sparse
    count = 0
    put(own.begins, 0, count)
    for i in range(len(begins)):
        for j in range(at(begins, i), at(ends, i)):
            key = at(keys, j)
            put(own.keys, count, key)
            put(own.fields, count, np.uint16(key_field(key)))
            copy_value(values, j, own.values, count)
            count += 1
        put(own.begins, i + 1, count)
