"""Matrix products of the CUDA backend: cuBLAS's.

    products.multiply(a, b, out, add=False)           out = a b, or out += a b
    products.multiply_rows(a, b, out, add=False)      the same

Arrays are as `backend.cpu.products` has them.  The same shapes give the same bits every time.  Unlike on the CPU, a row's bits may
depend on the number of rows: cuBLAS chooses its way by the shape.
"""

from deshpc.errors import ConfigError

_ARITHMETIC = {"auto": "exact", "library": "exact", "tf32": "tf32", "bfloat16": "bfloat16"}


class DeviceProducts:
    """Products on `device`; name : of `compute.matrix_products`, "auto", "library" (both float32 as it is), "tf32" or "bfloat16"."""

    def __init__(self, device, arrays, name="auto"):
        if name not in _ARITHMETIC:
            raise ConfigError(
                f"compute.matrix_products = {name!r} is of the CPU; with compute.backend = 'cuda' choose 'auto', 'library', 'tf32' or "
                "'bfloat16'"
            )
        self.name = "cublas" if _ARITHMETIC[name] == "exact" else f"cublas, {name}"
        self._device, self._arrays, self._arithmetic = device, arrays, _ARITHMETIC[name]

    def multiply(self, a, b, out, add=False):
        """out = a b, or += with `add`."""
        if out.size == 0:
            return
        if a.shape[1]:
            self._device.multiply(a, b, out, add, self._arithmetic)
        elif not add:
            self._arrays.fill(out, 0)

    multiply_rows = multiply

    def gain_by_rows(self, dtype):
        """Whether rows that repeat in a batch are multiplied by themselves (`ops.repeated`): a device has no kernels for that."""
        return False
