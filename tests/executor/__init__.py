"""Runs CUDA C++ kernels on the CPU, for tests on machines without a GPU.

A `.cu` file is compiled as host C++ with `native/cuda.h` in front of it.  A kernel's threads are fibers of one system
thread; several blocks are resident and interleaved, in order, reversed, or at random with a seed (`schedule.py`).  No
lockstep of a warp is assumed, since CUDA promises none: lanes meet only where the kernel says so.

    device = ExecutorDevice(Schedule("random", seed=3), mode="check")
    module = device.compile("fm.cu", source, {"DIMENSION": 16})
    rows = device.empty((1000, 16), np.float32)
    device.launch(module.function("initialise"), 40, 256, [rows, np.int32(1000)])
    device.to_host(rows)

Modes:

    fast      optimised, no checks; faults (a wild address, a division by zero) are errors all the same
    check     every access to memory is checked before it is made: bounds, alignment, memory that nobody has written or
              that has been freed or not been handed out, data races; and signed overflow, array indices, conversions that do not fit
    coverage  counts how often each line runs: `module.coverage()`, `coverage.coverage()`; needs g++ and gcov

An array may be larger than the machine's memory: what nobody touches takes none.  `Schedule(first_block=...)` runs the last
blocks of a large grid alone.

In every mode barriers and shuffles that not all threads reach, deadlocks, livelocks and loops that never end are errors.  An `ExecutorError`
names kernel, file and line, block and thread, and the array.  The device remains usable.

The compiler is g++, else clang++, else Zig's from PyPI (`compile.py`); DESHPC_CXX names another.  Compiled modules are
kept in the user's cache.

Not covered: textures, cooperative groups, asynchronous copies, tensor cores, half precision, streams, grids of more
than one dimension, `extern __shared__` outside a function, kernel templates (instantiate them in an extern "C" kernel).
"""
