"""A device that does what another one does, and counts what it is asked for: what a step costs before any kernel is fast.

    counting = CountingDevice(ExecutorDevice())
    backend = CudaBackend(counting)
    ...
    before = counting.counts()
    step(model, batch)
    counting.counts() - before

Every method is written out: a new one of the device is an AttributeError here until somebody has said what it counts as.
"""

from collections import Counter

KINDS = {
    "launches": "kernels of CUDA C++",
    "elementwise": "kernels of Numba CUDA",
    "products": "matrix products of cuBLAS",
    "to device": "copies from the host's memory",
    "to host": "copies to the host's memory",
    "on device": "copies of one array to another",
    "memsets": "arrays that are filled with one number, new arrays of zeros among them",
    "waits": "calls in which the host waits for the device",
    "new arrays": "arrays that are asked for, of zeros or of anything",
    "pinned": "arrays of the host's memory that are asked for",
    "compiled": "files of kernels that are compiled",
}
"""What is counted."""


class CountingDevice:
    """`device` behind counters.  Its arrays are `CountedArray`s, since arrays can be filled without asking the device."""

    def __init__(self, device):
        self._device, self._counts = device, Counter()
        self.name = device.name

    def counts(self):
        """Counter of KINDS: how many there have been so far."""
        return Counter(self._counts)

    def count(self, kind):
        """There has been one more of this kind."""
        self._counts[kind] += 1

    def empty(self, shape, dtype):
        self.count("new arrays")
        return CountedArray(self, self._device.empty(shape, dtype))

    def zeros(self, shape, dtype):
        self.count("new arrays")
        self.count("memsets")
        return CountedArray(self, self._device.zeros(shape, dtype))

    def host_memory(self, shape, dtype):
        self.count("pinned")
        return self._device.host_memory(shape, dtype)

    def to_device(self, host, target):
        self.count("to device")
        self._device.to_device(host, target.array)

    def to_host(self, array):
        self.count("to host")
        self.count("waits")
        return self._device.to_host(array.array)

    def into_host(self, array, host):
        self.count("to host")
        self.count("waits")
        self._device.into_host(array.array, host)

    def start_into_host(self, array, host):
        self.count("to host")
        self._device.start_into_host(array.array, host)

    def copy_out(self, array, host):
        self.count("to host")
        return self._device.copy_out(array.array, host)

    def lend(self, array, writes=False):
        return self._device.lend(array.array, writes)

    @property
    def stream(self):
        return self._device.stream

    @property
    def place(self):
        return self._device.place

    def nccl(self):
        return self._device.nccl()

    def copy(self, source, target):
        self.count("on device")
        self._device.copy(source.array, target.array)

    def address(self, array):
        return self._device.address(array.array if isinstance(array, CountedArray) else array)

    def mark(self):
        return self._device.mark()

    def passed(self, point):
        return self._device.passed(point)

    def wait(self, point):
        if not self._device.passed(point):
            self.count("waits")
        self._device.wait(point)

    def compile(self, name, source, constants):
        self.count("compiled")
        return self._device.compile(name, source, constants)

    def launch(self, function, blocks, threads, arguments):
        self.count("launches")
        self._device.launch(function, blocks, threads, _unwrapped(arguments))

    def multiply(self, a, b, out, add, arithmetic):
        self.count("products")
        self._device.multiply(*_unwrapped([a, b, out]), add, arithmetic)

    def elementwise(self, body):
        start = self._device.elementwise(body)

        def counted(count, *arguments):
            if count:
                self.count("elementwise")
            start(count, *_unwrapped(arguments))

        return counted


class CountedArray:
    """`array` of a device; its views are of this class, too."""

    def __init__(self, device, array):
        self._device, self.array = device, array

    shape = property(lambda self: self.array.shape)
    dtype = property(lambda self: self.array.dtype)
    size = property(lambda self: self.array.size)
    nbytes = property(lambda self: self.array.nbytes)
    ndim = property(lambda self: self.array.ndim)
    flags = property(lambda self: self.array.flags)
    strides = property(lambda self: self.array.strides)

    def __len__(self):
        return len(self.array)

    def __getitem__(self, key):
        return CountedArray(self._device, self.array[key])

    def reshape(self, *shape):
        return CountedArray(self._device, self.array.reshape(*shape))

    @property
    def T(self):  # noqa: N802, NumPy's and CuPy's name
        return CountedArray(self._device, self.array.T)

    def view(self, dtype):
        return CountedArray(self._device, self.array.view(dtype))

    def fill(self, value):
        self._device.count("memsets")
        self.array.fill(value)


def _unwrapped(arguments):
    return [one.array if isinstance(one, CountedArray) else one for one in arguments]
