"""The gates: whether a kernel's machine code is as it must be."""

import re

from compile_gates.limits import loads_in_a_row, registers, wide_accesses

LOCAL_ACCESS = r"(LDL|STL)(\..*)?"
# record addresses are numbers, so the compiler does not know that they lie in global memory: LD as well as LDG
WAITS = ("ISETP", "BRA", "EXIT", "BSYNC")  # what uses a loaded number, or may not come to the next load
WIDE_LOAD, WIDE_STORE = r"LDG\.E\.(.*\.)?128(\..*)?", r"STG\.E\.(.*\.)?128(\..*)?"


def refusals(file, constants, capability, kernels):
    """What is wrong with the kernels of a file, {name: MachineCode}: sentences, none where all is well."""
    return [
        f"{file} {constants} sm_{capability}: {name}: {sentence}"
        for name, code in kernels.items()
        for sentence in (
            *local_memory(code),
            *too_many_registers(code, registers(file, name, constants, capability)),
            *narrow_accesses(code, *wide_accesses(file, name, constants)),
            *scattered_loads(code, loads_in_a_row(file, name)),
        )
    ]


def local_memory(code):
    """Registers that spill, and arrays that do not fit in registers, live in local memory."""
    if code.stack or code.local:
        yield f"{code.stack} bytes of stack and {code.local} of local memory a thread, allowed are 0"
    if accesses := code.count(LOCAL_ACCESS):
        yield f"{accesses} accesses to local memory, allowed are 0"


def too_many_registers(code, budget):
    if code.registers > budget:
        yield f"{code.registers} registers a thread, allowed are {budget}"


def narrow_accesses(code, loads, stores):
    for what, pattern, least in (("loads", WIDE_LOAD, loads), ("stores", WIDE_STORE, stores)):
        found = code.count(pattern)
        if found < least:
            yield f"{found} {what} of 16 bytes, promised are {least}"


def scattered_loads(code, least):
    """Loads that are not under way together: between them something may wait for one of them."""
    found = most = 0
    for one in code.instructions:
        if re.fullmatch(WIDE_LOAD, one):
            found += 1
        elif one.startswith(WAITS):
            found = 0
        most = max(most, found)
    if most < least:
        yield f"{most} loads of 16 bytes without a compare or branch between them, promised are {least}"
