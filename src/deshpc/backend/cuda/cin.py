"""xDeepFM's compressed interaction network on a device: the operations of `backend.cpu.cin`.  See kernels/cin.cu."""

from deshpc.backend.cuda.kinds import kind


class CINOperations:
    """Rows of embeddings, out and gradient may lie apart."""

    def __init__(self, kernels):
        self._kernels = kernels

    def by_coordinate(self, embeddings, first):
        n, fields = len(embeddings), first.shape[1]
        self._of(first).by_coordinate(first.size, embeddings, n, fields, embeddings.shape[1] // fields, first)

    def by_field(self, first, embeddings, add):
        n, fields = len(embeddings), first.shape[1]
        self._of(first).by_field(first.size, first, n, fields, embeddings.shape[1] // fields, embeddings, int(add))

    def products(self, maps, first, out):
        rows, h = maps.shape
        self._of(maps).products(out.size, maps, rows, h, first, first.shape[1], out)

    def products_adjoint(self, upstream, maps, first, of_maps, of_first):
        (rows, h), fields, kernels = maps.shape, first.shape[1], self._of(maps)
        kernels.products_by_maps(maps.size, upstream, rows, h, first, fields, of_maps)
        kernels.products_by_first(first.size, upstream, maps, rows, h, fields, of_first)

    def sum_coordinates(self, maps, out):
        n, h = out.shape
        self._of(maps).sum_coordinates(out.size, maps, n, h, len(maps) // max(1, n), out)

    def spread_coordinates(self, gradient, of_maps, add):
        n, h = gradient.shape
        self._of(of_maps).spread_coordinates(of_maps.size, gradient, n, h, len(of_maps) // max(1, n), of_maps, int(add))

    def _of(self, like):
        return self._kernels("cin.cu", COMPUTE=kind(like))
