"""The kernels of Criteo's, libsvm's and libffm's text never look beyond their array: behind it lies protected memory."""

import subprocess
import sys

import pytest
from launching import TIMEOUT_S

GUARDED = """
import ctypes, mmap, random
import numpy as np
from deshpc.formats import criteo, libsvm

PAGE = mmap.PAGESIZE
memory = mmap.mmap(-1, 3 * PAGE)
pages = np.frombuffer(memory, np.uint8)
libc = ctypes.CDLL(None, use_errno=True)
for page in (0, 2):
    assert libc.mprotect(ctypes.c_void_p(pages.ctypes.data + page * PAGE), PAGE, 0) == 0

def at_the_end(text):
    pages[2 * PAGE - len(text) : 2 * PAGE] = np.frombuffer(text, np.uint8)
    return pages[2 * PAGE - len(text) : 2 * PAGE]

def at_the_start(text):
    pages[PAGE : PAGE + len(text)] = np.frombuffer(text, np.uint8)
    return pages[PAGE : PAGE + len(text)]

seeds, room = np.arange(26, dtype=np.uint64), 2000
labels, numbers, keys = np.empty(room, np.float32), np.empty((room, 13)), np.empty((room, 26), np.uint64)
offsets, fields, weights = np.zeros(room + 1, np.int64), np.empty(room, np.uint16), np.empty(room, np.float32)
source, rows = random.Random(9), 0
cell = lambda: source.choice(["", "1", "-12", "68fd1e64", "68fd1e6", "-", "1" * 30, ".5"])
entry = lambda: source.choice(["1:1", "2:3:4", "0:1234567:1234567.1234567", "3:", ":", "1:2:0.1", "7", "#", "12345678:-1234567"])
for _ in range(3000):
    several = source.random() < 0.5
    table = "\\t".join([source.choice(["0", "1", "-", "", "1.0"]), *[cell() for _ in range(source.choice([1, 12, 13, 20, 39, 39]))]])
    sparse = " ".join([source.choice(["0", "1"]), *[entry() for _ in range(source.randrange(6))]])
    for text in (table, sparse, source.choice(["1", "\\r", "1\\t", "1 ", "0:1:2", "1 3:4:"])):
        text = (text * (1 + several)).encode() + b"\\n"
        for data in (at_the_end(text), at_the_start(text)):
            for labelled, numeric in ((False, False), (True, several)):
                offsets[0] = 0
                rows += criteo._parse(data, 0, len(data), 0, labelled, numeric, 0.0, seeds, seeds, seeds, labels, numbers, keys)[0]
                for has_fields in (False, True):
                    arrays = labels, offsets, keys.ravel(), fields, weights
                    rows += libsvm._parse(data, 0, len(data), 0, has_fields, labelled, numeric, 0.0, seeds, *arrays)[0]
print(rows, flush=True)  # before the process is ended
try:
    pages[2 * PAGE]
finally:
    print("not protected", flush=True)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="protects memory by mprotect")
def test_nothing_is_read_outside_of_the_array():
    done = subprocess.run([sys.executable, "-c", GUARDED], capture_output=True, text=True, timeout=TIMEOUT_S)
    lines = done.stdout.split()
    assert len(lines) == 1 and int(lines[0]) > 1000, done.stdout + done.stderr
    assert done.returncode < 0  # the last access, which is no kernel's
