"""The CPU backend: Numba kernels over NumPy arrays.  One file per operation; `memory` and `simd` are their language."""
