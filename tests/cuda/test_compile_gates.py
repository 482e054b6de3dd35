"""Every kernel, compiled for four architectures without a device: no local memory, registers within a budget, and the
16-byte accesses that its file promises."""

from itertools import cycle

import pytest
from compile_gates.gates import local_memory, narrow_accesses, refusals, too_many_registers
from compile_gates.limits import FULL, PROMISING, promises
from compile_gates.machine_code import kernels_in
from compile_gates.nvrtc import CompileError, cubin_of
from compile_gates.tools import reason_to_skip
from variants import VARIANTS, representative

from deshpc.backend.cuda.source import FOLDER, prototypes, text_of

pytestmark = pytest.mark.skipif(reason_to_skip() is not None, reason=str(reason_to_skip()))

MAIN, OTHERS = 90, (75, 80, 100)


def cases():
    """Every form for one architecture; of each file one form for all, and another one for one of the others, in turn."""
    in_turn = cycle(OTHERS)
    for file, variants in VARIANTS.items():
        for constants in variants:
            yield file, constants, MAIN
        one, *another = representative(file)
        yield from ((file, one, capability) for capability in OTHERS)
        yield from ((file, constants, next(in_turn)) for constants in another)


def name_of(case):
    file, constants, capability = case
    return "-".join((file, *(f"{value}" for value in constants.values()), f"sm{capability}"))


@pytest.mark.thorough(60)
@pytest.mark.parametrize("case", list(cases()), ids=name_of)
def test_machine_code(case):
    file, constants, capability = case
    # local memory shows in the usage, too: instructions, which take longest, are listed where they are counted, and for two forms of each file
    listed = promises(file, constants) or capability == MAIN and constants in representative(file)
    kernels = kernels_in(cubin_of(file, text_of(file), constants, capability), listed)
    assert kernels.keys() == prototypes(file, constants).keys()
    wrong = refusals(file, constants, capability, kernels)
    assert not wrong, "\n".join(wrong)


def test_every_file_has_variants():
    assert set(VARIANTS) == {path.name for path in FOLDER.iterdir() if path.name.endswith(".cu")}


def test_no_variant_twice():
    for file, variants in VARIANTS.items():
        assert len({tuple(sorted(one.items())) for one in variants}) == len(variants), file


def test_promises_are_about_kernels_that_exist():
    for file, kernel in PROMISING:
        assert kernel in prototypes(file, VARIANTS[file][0])


def test_text_that_does_not_compile_is_an_error():
    with pytest.raises(CompileError, match="wrong.cu"):
        cubin_of("wrong.cu", 'extern "C" __global__ void k(int* a) { a[0] = nowhere; }\n', {}, MAIN)


# Planted faults: each must be refused.

SUMS = """extern "C" __global__ void __launch_bounds__(BOUNDS) k(const float* a, float* b, int n) {
    float sum[SIDE][SIDE] = {};
    for (int i = 0; i < n; i++) {
#pragma unroll
        for (int r = 0; r < SIDE; r++)
#pragma unroll
            for (int c = 0; c < SIDE; c++) sum[r][c] += a[i * SIDE + r] * a[threadIdx.x + i * SIDE + c];
    }
#pragma unroll
    for (int r = 0; r < SIDE; r++)
#pragma unroll
        for (int c = 0; c < SIDE; c++) b[(threadIdx.x * SIDE + r) * SIDE + c] = sum[r][c];
}
"""
SPILLS = SUMS.replace("SIDE", "10").replace("BOUNDS", "512, 2")  # 100 sums in 64 registers
MANY_REGISTERS = SUMS.replace("SIDE", "6").replace("BOUNDS", "256")
INDEXES_AN_ARRAY = """extern "C" __global__ void k(const int* a, int* b, int n) {
    int held[64] = {};
    for (int i = 0; i < n; i++) held[a[threadIdx.x + i] & 63] += i;
    b[threadIdx.x] = held[a[threadIdx.x] & 63];
}
"""
NARROW = """struct Four { float x, y, z, w; };
extern "C" __global__ void k(const Four* a, Four* b) { b[threadIdx.x] = a[threadIdx.x]; }
"""
WIDE = NARROW.replace("struct Four", "struct alignas(16) Four")

def planted(text, capability=MAIN):
    return kernels_in(cubin_of("planted.cu", text, {}, capability))["k"]


@pytest.mark.parametrize("text", [SPILLS, INDEXES_AN_ARRAY], ids=["spills", "indexes-an-array"])
@pytest.mark.parametrize("capability", [MAIN, *OTHERS])
def test_local_memory_is_refused(text, capability):
    found = list(local_memory(planted(text, capability)))
    assert any("of stack" in one for one in found)
    assert any("accesses to local memory" in one for one in found)


def test_narrow_accesses_are_refused():
    assert list(narrow_accesses(planted(NARROW), 1, 1)) == [
        "0 loads of 16 bytes, promised are 1", "0 stores of 16 bytes, promised are 1",
    ]  # fmt: skip
    assert not list(narrow_accesses(planted(WIDE), 1, 1))


def test_too_many_registers_are_refused():
    code = planted(MANY_REGISTERS)
    assert code.registers > FULL
    wrong = refusals("planted.cu", {}, MAIN, {"k": code})
    assert wrong == [f"planted.cu {{}} sm_90: k: {code.registers} registers a thread, allowed are 32"]
    assert not list(too_many_registers(code, code.registers))


def test_a_refusal_says_which_kernel_where_and_what():
    """A look-up that reads a bucket's keys one by one."""
    whole = "const ulonglong2 low = *(const ulonglong2*)(buckets + 8 * bucket);"
    parts = "ulonglong2 low; low.x = ((volatile const uint64*)buckets)[8 * bucket]; low.y = ((volatile const uint64*)buckets)[8 * bucket + 1];"
    text = text_of("lookup.cu")
    assert whole in text
    text = text.replace(whole, parts).replace(whole.replace("low", "high"), parts.replace("low", "high"))
    text = text.replace("*(const ulonglong2*)(buckets + 8 * bucket + 2)", "make_ulonglong2(buckets[8 * bucket + 2], 0)")
    wrong = refusals("lookup.cu", {}, MAIN, kernels_in(cubin_of("lookup.cu", text, {}, MAIN)))
    assert wrong == [
        "lookup.cu {} sm_90: find: 0 loads of 16 bytes, promised are 2",
        "lookup.cu {} sm_90: find: 0 loads of 16 bytes without a compare or branch between them, promised are 2",
    ]


def test_a_look_up_that_compares_before_it_has_asked_for_all_is_refused():
    text, second = text_of("lookup.cu"), "const ulonglong2 high ="
    assert second in text
    early = 'if (low.x == key) return (uint32)(4 * bucket); asm volatile("" ::: "memory"); '
    wrong = refusals("lookup.cu", {}, MAIN, kernels_in(cubin_of("lookup.cu", text.replace(second, early + second), {}, MAIN)))
    assert wrong == ["lookup.cu {} sm_90: find: 1 loads of 16 bytes without a compare or branch between them, promised are 2"]
