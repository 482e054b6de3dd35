"""Products of matrices in which a row's result depends neither on other rows nor on its place among them.

    out[i, j] = fma(a[i, k - 1], b[k - 1, j], ... fma(a[i, 1], b[1, j], fma(a[i, 0], b[0, j], start)))      start : 0, or out[i, j]

Every number is one chain of fused multiplications and additions, in the order of its terms: its bits are a function of the row and
of b, the same on every processor.  BLAS libraries add in an order that depends on the shape and on a row's place.

A panel of b's columns is copied, so that its rows follow one another; then six rows of a at a time meet it, whose sums stay in
registers.
"""

from numba.core.registry import cpu_target

from deshpc.backend.cpu.memory import load, size_of, store
from deshpc.backend.cpu.simd import aload, astore, vfma, vsplat
from deshpc.jit import kernel


def panel_bytes():
    """(bytes of a wide panel's row, of a narrow one's): six rows' sums fill the processor's registers; one register."""
    features = cpu_target.target_context.codegen().magic_tuple()[2].split(",")
    if "+avx512f" in features:
        return 4 * 64, 64
    if "+avx" in features:  # 16 registers; all others have 32
        return 2 * 32, 32
    return 4 * 16, 16


@kernel
def multiply_rows(wide, narrow, a, b, m, k, n, out, add, panel, rest):
    """out (m, n) = a (m, k) b (k, n), or += with `add`.

    wide, narrow : WeightForm of the columns of a wide panel, and of a narrow one
    a, b, out : Matrix, see `backend.arguments`; the columns of `out` are consecutive
    panel : room for k rows of a wide panel
    rest : room for m rows of a narrow one
    """
    wide_columns, narrow_columns, zero = wide.dim, narrow.dim, wide.zero
    size, j = size_of(zero), 0
    while j + wide_columns <= n:
        _copy(zero, b.address + j * b.column, b.row, b.column, k, wide_columns, panel, wide_columns)
        _of_panel(wide.lanes, wide_columns * size, zero, a, panel, m, k, out.address + j * size, out.row, add)
        j += wide_columns
    while j + narrow_columns <= n:
        _copy(zero, b.address + j * b.column, b.row, b.column, k, narrow_columns, panel, narrow_columns)
        _of_panel(narrow.lanes, narrow_columns * size, zero, a, panel, m, k, out.address + j * size, out.row, add)
        j += narrow_columns
    if j < n:
        step = narrow_columns * size
        _copy(zero, b.address + j * b.column, b.row, b.column, k, n - j, panel, narrow_columns)
        if add:
            _copy(zero, out.address + j * size, out.row, size, m, n - j, rest, narrow_columns)
        _of_panel(narrow.lanes, step, zero, a, panel, m, k, rest, step, add)
        for i in range(m):
            for c in range(n - j):
                store(out.address + i * out.row + (j + c) * size, load(rest + i * step + c * size, zero))


@kernel
def _copy(zero, source, row, column, rows, columns, target, width):
    """target (rows, width) = the matrix (rows, columns) at `source`, and zeros behind its columns."""
    size = size_of(zero)
    for _ in range(rows):
        for j in range(columns):
            store(target + j * size, load(source + j * column, zero))
        for j in range(columns, width):
            store(target + j * size, zero)
        source += row
        target += width * size


@kernel
def _of_panel(lanes, panel_row, zero, a, panel, m, k, out, out_row, add):
    """out (m, lanes) = a (m, k) panel (k, lanes), or += with `add`."""
    a_row, a_column = a.row, a.column
    i, nothing = 0, vsplat(lanes, zero)
    while i + 6 <= m:
        of_a, of_b, to = a.address + i * a_row, panel, out + i * out_row
        s0 = s1 = s2 = s3 = s4 = s5 = nothing
        if add:
            s0, s1, s2 = aload(lanes, to), aload(lanes, to + out_row), aload(lanes, to + 2 * out_row)
            s3, s4, s5 = aload(lanes, to + 3 * out_row), aload(lanes, to + 4 * out_row), aload(lanes, to + 5 * out_row)
        for _ in range(k):
            row = aload(lanes, of_b)
            s0 = vfma(row, vsplat(lanes, load(of_a, zero)), s0)
            s1 = vfma(row, vsplat(lanes, load(of_a + a_row, zero)), s1)
            s2 = vfma(row, vsplat(lanes, load(of_a + 2 * a_row, zero)), s2)
            s3 = vfma(row, vsplat(lanes, load(of_a + 3 * a_row, zero)), s3)
            s4 = vfma(row, vsplat(lanes, load(of_a + 4 * a_row, zero)), s4)
            s5 = vfma(row, vsplat(lanes, load(of_a + 5 * a_row, zero)), s5)
            of_a += a_column
            of_b += panel_row
        astore(to, s0)
        astore(to + out_row, s1)
        astore(to + 2 * out_row, s2)
        astore(to + 3 * out_row, s3)
        astore(to + 4 * out_row, s4)
        astore(to + 5 * out_row, s5)
        i += 6
    while i < m:
        of_a, of_b, to = a.address + i * a_row, panel, out + i * out_row
        total = aload(lanes, to) if add else nothing
        for _ in range(k):
            total = vfma(aload(lanes, of_b), vsplat(lanes, load(of_a, zero)), total)
            of_a += a_column
            of_b += panel_row
        astore(to, total)
        i += 1
