// Blocks say that they have found something.  BUG 1: by volatile writes of their own number to the same place; 2: a volatile
// write next to another block's atomic.
extern "C" __global__ void found(const int* values, int count, volatile int* first, int* result) {
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= count || values[i] == 0) return;
#if BUG == 1
    *first = i;  // reported
#elif BUG == 2
    if (i % 2) *first = i;  // reported
    else atomicMin((int*)first, i);  // reported
#else
    if (*first > i) atomicMin((int*)first, i);
#endif
    result[i] = 1;
}
