// Threads take numbers up to a limit.  BUG 1: the counter is looked at by a plain read; 2: it is a number of 64 bits that lies
// at an odd address of 4 bytes; 3: two atomics of different widths on one counter.
extern "C" __global__ void take(unsigned* words, int limit, int* taken) {
    int i = blockIdx.x * blockDim.x + threadIdx.x;
#if BUG == 1
    if (words[0] >= limit) return;  // reported
    unsigned mine = atomicAdd(words, 1u);  // reported
#elif BUG == 2
    unsigned mine = (unsigned)atomicAdd((unsigned long long*)(words + 1), 1ull);  // reported
#elif BUG == 3
    unsigned mine = i % 2 ? atomicAdd(words, 1u) : (unsigned)atomicAdd((unsigned long long*)words, 1ull);  // reported
#else
    unsigned mine = (unsigned)atomicAdd((unsigned long long*)words, 1ull);
#endif
    if (mine < limit) taken[mine] = i;
}
