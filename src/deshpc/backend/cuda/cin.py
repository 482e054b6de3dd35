"""xDeepFM's compressed interaction network on a device: the operations of `backend.cpu.cin`.  See kernels/cin.cu."""

from deshpc.backend.cuda.kinds import kind


class CINOperations:
    """Each operation is one kernel."""

    def __init__(self, kernels):
        self._kernels = kernels

    def by_coordinate(self, embeddings, first):
        n, fields = len(embeddings), first.shape[1]
        self._of(first).by_coordinate(first.size, embeddings, n, _dim(first, n), fields, first)

    def by_field(self, first, embeddings, add):
        n, fields = len(embeddings), first.shape[1]
        self._of(first).by_field(first.size, first, n, _dim(first, n), fields, embeddings, int(add))

    def products(self, maps, first, out):
        self._of(out).products(out.size, maps, len(maps), maps.shape[1], first, first.shape[1], out)

    def products_adjoint(self, upstream, maps, first, of_maps, of_first):
        count = maps.size + first.size
        self._of(maps).products_adjoint(count, upstream, maps, len(maps), maps.shape[1], first, first.shape[1], of_maps, of_first)

    def sum_coordinates(self, maps, out):
        n, width = out.shape
        self._of(maps).sum_coordinates(out.size, maps, n, _dim(maps, n), width, out)

    def spread_coordinates(self, gradient, of_maps, add):
        n, width = gradient.shape
        self._of(of_maps).spread_coordinates(of_maps.size, gradient, n, _dim(of_maps, n), width, of_maps, int(add))

    def _of(self, numbers):
        return self._kernels("cin.cu", COMPUTE=kind(numbers))


def _dim(maps, samples):
    """Rows of a sample."""
    return len(maps) // max(1, samples)
