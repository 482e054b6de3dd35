"""Planted bugs: each is found in check mode on one schedule at least, at its line, and its correct twin passes on all.

A `.cu` file in planted/ is both: the macro BUG chooses.  Its lines marked `// reported` are where a message may point.
"""

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from executor.device import ExecutorDevice
from executor.errors import ExecutorError
from executor.schedule import schedules

PLANTED = Path(__file__).parent / "planted"
SCHEDULES = schedules(8, preemption=0.2, budget=200_000)


@dataclass(frozen=True)
class Planted:
    file: str
    kernel: str
    bugs: dict  # value of the macro BUG: what the message says
    arguments: Any  # of a device
    blocks: int = 4
    threads: int = 64
    shared_bytes: int = 0
    constants: dict = field(default_factory=dict)


def on(device, host):
    host = np.asarray(host)
    array = device.empty(host.shape, host.dtype)
    device.to_device(host, array)
    return array


def claim(device):
    keys = np.concatenate([np.arange(1, 101), np.arange(100, 0, -1)]).astype(np.uint64)
    return [device.zeros(256, np.uint64), np.uint32(255), on(device, keys), np.int32(200), device.empty(200, np.uint32)]


def block_sum(device):
    return [on(device, np.ones(250, np.float32)), np.int32(250), device.empty(4, np.float32)]


def warp_scan(device):
    return [on(device, np.ones(256, np.int32)), device.empty(256, np.int32)]


def bounds(device):
    return [on(device, np.ones(100, np.float32)), np.int32(100), device.empty(100, np.float32)]


def neighbours(device):
    return [on(device, np.ones(120, np.int32)), np.int32(120), device.empty(4, np.int32)]


def publish(device):
    return [device.zeros(8, np.float32), np.int32(8), device.zeros(1, np.uint32), device.empty(4, np.float32)]


def relay(device):
    return [device.zeros(32, np.int32), device.zeros(1, np.int32), device.zeros(1, np.int32), device.zeros(1, np.uint32), device.empty(32, np.int32)]


def last_block(device):
    values = on(device, np.ones(120, np.float32))
    return [values, np.int32(120), None, device.empty(4, np.float32), device.zeros(1, np.uint32), device.empty(1, np.float32)]


def unwritten(device):
    return [on(device, np.arange(20, dtype=np.int32)), np.int32(20), device.empty(20, np.int32)]


def partly_unwritten(device):
    values = device.empty(20, np.int32)
    device.to_device(np.arange(19, dtype=np.int32), values[:19])
    return [values, np.int32(20), device.empty(20, np.int32)]


def chunks(device):
    chunks.kept = [device.zeros((1024, 4), np.float32) for _ in range(3)]
    addresses = on(device, np.array([device.address(chunk) for chunk in chunks.kept], np.int64))
    rows = on(device, np.array([chunk << 16 | row for chunk in range(3) for row in range(20)], np.uint32))
    return [addresses, rows, np.int32(60), device.empty(60, np.float32)]


def freed_chunks(device):
    arguments = chunks(device)
    del chunks.kept[1]
    return arguments


def row_update(device):
    rows = on(device, np.arange(200, dtype=np.int32) % 50)
    return [device.zeros(50, np.float32), rows, on(device, np.ones(200, np.float32)), np.int32(200)]


def vector_load(device):
    return [on(device, np.ones(100, np.float32)), np.int32(2), np.int32(20), device.empty(20, np.float32)]


def vector_store(device):
    return [on(device, np.ones(100, np.float32)), np.int32(2), np.int32(20)]


def waiting(device):
    return [device.zeros(1, np.uint32), device.zeros(1, np.uint32), device.empty(32, np.uint32)]


def foreign(device):
    return [device.zeros(1, np.uint64), device.zeros(2, np.int32), np.int32(0)]


def volatile_flag(device):
    return [on(device, np.ones(100, np.int32)), np.int32(100), on(device, np.array([1000], np.int32)), device.empty(100, np.int32)]


def slack(device):
    """Of a scratch array that was longer, and full, before."""
    scratch = device.hand_out(on(device, np.arange(30, dtype=np.int32))[:20], written=False)
    return [scratch, np.int32(20), device.empty(20, np.int32)]


def shared_phases(device):
    return [on(device, np.ones(128, np.int32)), np.int32(128), device.empty(128, np.int32)]


def take_number(device):
    return [device.zeros(4, np.uint32), np.int32(20), device.empty(20, np.int32)]


def read_only(device):
    return [on(device, np.ones(2, np.int32)), device.empty(1, np.int32), device.zeros(1, np.uint32), device.empty(4, np.int32)]


def numbers(device):
    twos = device.empty(32, np.dtype([("first", np.int32), ("second", np.int32)]))
    return [on(device, np.ones(32, np.float32)), np.int32(32), twos, device.empty(32, np.int32)]


def all_blocks(device):
    return [device.zeros(1, np.uint32), device.empty(8, np.int32)]


def rows_of_ones(device):
    return [on(device, np.full(64 * 3, -7, np.int32)), np.int32(3), device.empty(64, np.int32)]


OVERFLOW = "signed multiplication overflows"
ALL = [
    Planted("claim_slot.cu", "claim", {1: "data race on byte"}, claim),
    Planted("block_sum.cu", "block_sum", {1: "of shared 'partial' of block"}, block_sum),
    Planted("warp_scan.cu", "warp_scan", {1: "of shared 'running' of block"}, warp_scan),
    Planted(
        "bounds.cu",
        "copy",
        {
            1: r"0 bytes past the end of argument 0 'input', float32\[100\]",
            2: r"4 bytes before the begin of argument 0 'input', float32\[100\] allocated at test_executor_bugs.py:",
            3: r"0 bytes past the end of argument 2 'output', float32\[100\]",
            4: "0 bytes past the end of shared 'tile' of block",
            5: "out of bounds of an array",
            6: "4 bytes before the begin of shared 'tile' of block",
            7: "index 2 out of bounds of an array",
            8: "bytes past the end of argument 0 'input'",
        },
        bounds,
        threads=32,
    ),
    Planted(
        "divergence.cu",
        "neighbours",
        {
            1: "while other lanes of mask 0xffffffff wait in",
            2: "which have exited|exits, while others wait for it",
            3: "while other threads of the block wait at divergence.cu:",
            4: "a shuffle reads a lane outside its mask",
            5: "lacks the calling lane|deadlock",
        },
        neighbours,
        blocks=2,
    ),
    Planted("publish.cu", "publish", {bug: "argument 0 'row'" for bug in (1, 2, 3)}, publish, threads=32),
    Planted("relay.cu", "relay", {bug: "data race on byte" for bug in (1, 2, 3, 4)}, relay, blocks=3, threads=32),
    Planted("last_block.cu", "total", {bug: "argument 3 'sums'" for bug in (1, 2)}, last_block, threads=32),
    Planted("unwritten.cu", "twice", {2: "nobody has written byte 76 of shared 'row'"}, unwritten, blocks=1, threads=32),
    Planted("chunks.cu", "read_rows", {1: "bytes past the end of|bytes before the begin of", 2: OVERFLOW}, chunks),
    Planted("row_update.cu", "add", {1: "argument 0 'sums'"}, row_update),
    Planted("vector_load.cu", "load", {1: "misaligned read of 16 bytes"}, vector_load, blocks=1),
    Planted("vector_load.cu", "store", {bug: "misaligned (read|write) of 16 bytes" for bug in (2, 3, 4)}, vector_store, blocks=1),
    Planted(
        "waiting.cu",
        "wait",
        {1: "deadlock:", 2: "livelock:", 3: "livelock:"},
        waiting,
        blocks=1,
        threads=32,
    ),
    Planted(
        "foreign.cu",
        "foreign",
        {
            1: "which is another block",
            2: "another thread's local memory",
            3: "null pointer",
            4: "assertion failed: values.0. == 1",
            5: "division by zero",
        },
        foreign,
        blocks=2,
    ),
    Planted(
        "volatile_flag.cu", "found", {1: "volatile write at .* and atomic or volatile write", 2: "volatile"}, volatile_flag
    ),
    Planted(
        "slack.cu",
        "neighbours",
        {
            1: "byte 80 of argument 0 'scratch', .*, of which the kernel has been given bytes 0 to 80",
            2: "nobody has written byte 12 of argument 0 'scratch'",
        },
        slack,
        blocks=1,
        threads=32,
    ),
    Planted(
        "shared_phases.cu",
        "shift",
        {
            1: "of shared 'tile' of block",
            2: "of shared 'tile' of block",
            3: "nobody has written byte 0 of shared 'seen'",
            4: "0 bytes past the end of shared 'extern __shared__ memory'",
        },
        shared_phases,
        blocks=1,
        shared_bytes=256,
    ),
    Planted(
        "take_number.cu",
        "take",
        {1: "argument 0 'words'", 2: "misaligned atomic update of 8 bytes", 3: "atomics of different widths"},
        take_number,
    ),
    Planted(
        "read_only.cu",
        "pass_on",
        {1: "through the read-only cache.* argument 1 'numbers'", 2: "argument 0 'values', .*only to be read"},
        read_only,
        threads=32,
    ),
    Planted(
        "numbers.cu",
        "compute",
        {
            1: "shift by a negative number or by too many bits",
            2: "does not fit the integer",
            4: "nobody has written byte 4 of argument 2 'twos'",
        },
        numbers,
        blocks=1,
        threads=32,
    ),
    Planted("all_blocks.cu", "meet", {1: "livelock:", 2: "lane|mask"}, all_blocks, blocks=8, threads=20),
    Planted("locals.cu", "smallest", {1: "assertion failed"}, rows_of_ones, blocks=1),
]  # fmt: skip
BUGS = [pytest.param(one, bug, id=f"{one.file}-{bug}") for one in ALL for bug in one.bugs]
TWINS = [pytest.param(one, id=one.file) for one in ALL]


def outcomes(planted, constants, arguments=None, mode="check", schedules=SCHEDULES):
    """Message, or None, of each schedule, always on the same device."""
    device = ExecutorDevice(mode=mode)
    text = (PLANTED / planted.file).read_text()
    function = device.compile(planted.file, text, {**planted.constants, **constants}).function(planted.kernel)
    messages = []
    for schedule in schedules:
        device.schedule = schedule
        try:
            device.launch(function, planted.blocks, planted.threads, (arguments or planted.arguments)(device), planted.shared_bytes)
            messages.append(None)
        except ExecutorError as error:
            messages.append(str(error))
    return messages


def reported_lines(file):
    lines = (PLANTED / file).read_text().splitlines()
    return [rf"{re.escape(file)}:{number}\b" for number, line in enumerate(lines, 1) if "// reported" in line]


def expect(messages, file, kernel, text):
    found = [message for message in messages if message]
    assert found, "not found on any schedule"
    for message in found:
        assert message.startswith(f"{file}, kernel {kernel}, "), message
        assert any(re.search(place, message) for place in reported_lines(file)), message
        assert "block" in message and "thread" in message, message
    assert any(re.search(text, message) for message in found), found[0]


@pytest.mark.thorough(20)
@pytest.mark.parametrize("planted, bug", BUGS)
def test_a_bug_is_found(planted, bug):
    expect(outcomes(planted, {"BUG": bug}), planted.file, planted.kernel, planted.bugs[bug])


@pytest.mark.thorough(10)
@pytest.mark.parametrize("planted", TWINS)
@pytest.mark.parametrize("mode", ["check", "fast"])
def test_the_correct_twin_passes(planted, mode):
    assert outcomes(planted, {}, mode=mode) == [None] * len(SCHEDULES)


def find(name):
    return next(one for one in ALL if one.file == name)


def test_a_loop_that_never_ends_nor_touches_memory():
    planted = find("numbers.cu")
    messages = outcomes(planted, {"BUG": 3}, schedules=SCHEDULES[:1])  # it takes seconds to tell
    expect(messages, planted.file, planted.kernel, "endless loop at .*: it reaches no place")


def test_memory_that_the_host_has_not_written():
    planted = find("unwritten.cu")
    messages = outcomes(planted, {}, partly_unwritten)
    expect(messages, planted.file, planted.kernel, r"nobody has written byte 76 of argument 0 'values', int32\[20\]")


def test_memory_that_has_been_freed():
    planted = find("chunks.cu")
    messages = outcomes(planted, {}, freed_chunks)
    expect(messages, planted.file, planted.kernel, r"the memory has been freed, byte 0 of float32\[1024, 4\] allocated at")
