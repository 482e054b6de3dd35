"""What is in a cubin: each kernel's registers and memory, and its instructions."""

import re
import subprocess
import tempfile
from typing import NamedTuple

from compile_gates.tools import path_of

_USAGE = re.compile(r"Function (\w+):\s+REG:(\d+) STACK:(\d+) SHARED:(\d+) LOCAL:(\d+)")
_INSTRUCTION = re.compile(r"^\s*/\*[0-9a-f]+\*/\s+(?:\{\s*)?(?:@!?\w+\s+)?([A-Z][\w.]*)", re.MULTILINE)


class MachineCode(NamedTuple):
    """One kernel: registers of a thread, bytes of stack and local memory of a thread, instructions in order."""

    registers: int
    stack: int
    local: int
    instructions: tuple

    def count(self, pattern):
        """Instructions that a regular expression matches as a whole."""
        return sum(re.fullmatch(pattern, one) is not None for one in self.instructions)


def kernels_in(cubin, listed=True):
    """{kernel: MachineCode}; without instructions, which take most of the time, unless they are to be `listed`."""
    path_of("nvidia-cuda-nvdisasm")  # cuobjdump looks for it beside itself
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        file.write(cubin)
        file.flush()
        command = [path_of("nvidia-cuda-cuobjdump"), "--dump-resource-usage", *["--dump-sass"] * listed, file.name]
        text = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    usage, *listings = re.split(r"^\s*Function : ", text, flags=re.MULTILINE)
    used = {name: [int(number) for number in numbers] for name, *numbers in _USAGE.findall(usage)}
    code = {listing.split(maxsplit=1)[0]: tuple(_INSTRUCTION.findall(listing)) for listing in listings}
    if listed and used.keys() != code.keys():
        raise ValueError(f"cuobjdump lists instructions of {sorted(code)}, but usage of {sorted(used)}")
    return {
        name: MachineCode(registers, stack, local, code.get(name, ()))
        for name, (registers, stack, _, local) in used.items()
    }
