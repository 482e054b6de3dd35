"""A batch to the device: its occurrences are gathered side by side in pinned memory, and sent while the host goes on."""

from itertools import cycle

import numpy as np

from deshpc.backend.cpu.memory import at, put
from deshpc.backend.cpu.values import copy_value
from deshpc.backend.cuda.buffers import Buffers
from deshpc.backend.values import value_shape
from deshpc.jit import kernel


class Upload:
    """Two sets of buffers, since a batch is sent while the one before is worked on."""

    def __init__(self, device):
        self._device = device
        self._sets = cycle([_Set(device), _Set(device)])

    def __call__(self, arrays):
        """The arrays (begins, ends, keys, fields, values, dense, labels) of a batch on the device: begins and ends are views of one array of offsets, from 0 on.

        Valid until the call after the next one.
        """
        begins, ends, keys, fields, values, dense, labels = arrays
        n, nnz, buffers = len(begins), int((ends - begins).sum()), next(self._sets)
        buffers.begin()
        offsets, own_keys = buffers.host("offsets", n + 1, np.int64), buffers.host("keys", nnz, np.uint64)
        own_fields, own_values = buffers.host("fields", nnz, np.uint16), None
        if values is not None:
            own_values = buffers.host("values", value_shape(values, nnz), np.float32)
        gather(begins, ends, keys, fields, values, offsets, own_keys, own_fields, own_values)
        buffers.host("dense", dense.shape, np.float32)[...] = dense
        buffers.host("labels", n, np.float32)[...] = labels
        on_device = {name: buffers.send(name) for name in ("offsets", "keys", "fields", "dense", "labels")}
        sent_values = None if values is None else buffers.send("values")
        buffers.end()
        offsets = on_device["offsets"]
        return (
            offsets[:n], offsets[1:], on_device["keys"], on_device["fields"], sent_values, on_device["dense"],
            on_device["labels"],
        )  # fmt: skip


class _Set:
    """Pinned arrays and their copies on the device."""

    def __init__(self, device):
        self._device, self._buffers, self._pinned, self._current, self._sent = device, Buffers(device), {}, {}, None

    def begin(self):
        """Wait until what was sent last has left the pinned memory."""
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

    def send(self, name):
        """The array on the device that becomes a copy of `host(name)`."""
        host = self._current[name]
        array = self._buffers.array(name, host.shape, host.dtype)
        self._device.to_device(host, array)
        return array

    def end(self):
        """All has been started."""
        self._sent = self._device.mark()


@kernel
def gather(begins, ends, keys, fields, values, offsets, own_keys, own_fields, own_values):
    """Copy the occurrences begins[i] .. ends[i] of every sample i side by side, to offsets[i] on."""
    count = 0
    put(offsets, 0, count)
    for i in range(len(begins)):
        for j in range(at(begins, i), at(ends, i)):
            put(own_keys, count, at(keys, j))
            put(own_fields, count, at(fields, j))
            copy_value(values, j, own_values, count)
            count += 1
        put(offsets, i + 1, count)
