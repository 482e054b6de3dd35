// What compiled kernels call in the runtime.  Both sides include this file; everything has C linkage, since a module
// and the runtime are separate shared libraries, possibly built with different flags.
#pragma once
#include <cstdint>

extern "C" {

struct ExecutorDimensions {
    unsigned x, y, z;
};

// Of the running thread; the scheduler rewrites it at each switch.
struct ExecutorIndices {
    ExecutorDimensions thread, block, block_size, grid_size;
};
extern ExecutorIndices executor_indices;

enum ExecutorCollective {
    EXECUTOR_SYNCWARP,
    EXECUTOR_SHUFFLE,
    EXECUTOR_SHUFFLE_XOR,
    EXECUTOR_SHUFFLE_DOWN,
    EXECUTOR_SHUFFLE_UP,
    EXECUTOR_BALLOT,
    EXECUTOR_MATCH,
    EXECUTOR_REDUCE,
};

// The calling block's copy of one __shared__ variable; `declaration` is an address unique to the declaration.
void* executor_shared(const void* declaration, uint64_t bytes, const char* name);
void* executor_dynamic_shared();

void executor_barrier(const char* file, int line);

// Meeting of the lanes in `mask`: returns every lane's value (32 of them) when all have come.
const uint64_t* executor_exchange(unsigned mask, uint64_t value, int collective, const char* file, int line);
unsigned executor_lane();

// Before an atomic read-modify-write, or a relaxed (volatile) load or store; `code` is the address it is called from.
void executor_atomic(void* address, unsigned bytes, void* code);
void executor_relaxed(const void* address, unsigned bytes, int writes, void* code);

// Before a read through the cache for memory that nobody writes during the launch.
void executor_read_only(const void* address, unsigned bytes, void* code);

void executor_fence(int of_device, const char* file, int line);
void executor_pause(const char* file, int line);

[[noreturn]] void executor_fail(const char* what, const char* file, int line);
}
