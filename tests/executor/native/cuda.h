// The part of CUDA C++ that kernels use, as host C++17: every .cu file is compiled with this header in front of it.
// A type or an overload that CUDA does not have is left out here too, so that its use fails without a GPU.
#pragma once
#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <climits>
#include <cstddef>
#include <type_traits>
#include <utility>

#include "interface.h"

#define __CUDA_ARCH__ 800
#define __global__
#define __device__
#define __host__
#define __constant__ static
#define __forceinline__ inline
#define __noinline__ __attribute__((noinline))
#define __launch_bounds__(...)
#define __align__(bytes) alignas(bytes)

// Functions of this header are not instrumented: what they touch is reported as their caller's access.
#define EXECUTOR_PLAIN __attribute__((no_sanitize("thread")))
#define EXECUTOR_CALLED __attribute__((noinline, no_sanitize("thread")))
#define EXECUTOR_CALLER __builtin_return_address(0)

#define threadIdx executor_indices.thread
#define blockIdx executor_indices.block
#define blockDim executor_indices.block_size
#define gridDim executor_indices.grid_size
#define warpSize 32
using dim3 = ExecutorDimensions;

#define __syncthreads() executor_barrier(__FILE__, __LINE__)
#define __threadfence() executor_fence(1, __FILE__, __LINE__)
#define __threadfence_system() executor_fence(1, __FILE__, __LINE__)
#define __threadfence_block() executor_fence(0, __FILE__, __LINE__)
#define __nanosleep(nanoseconds) ((void)(nanoseconds), executor_pause(__FILE__, __LINE__))
#define __trap() executor_fail("__trap()", __FILE__, __LINE__)
#undef assert
#define assert(condition) \
    ((condition) ? (void)0 : executor_fail("assertion failed: " #condition, __FILE__, __LINE__))

#include "atomics.h"
#include "intrinsics.h"
#include "vectors.h"
#include "warp.h"
// After the kernels: entry points, which unpack the arguments, and signatures, which the launch is checked against.
#include "export.h"
