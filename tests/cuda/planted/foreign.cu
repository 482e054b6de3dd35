// Addresses that are not the thread's to use.  BUG 1: shared memory of another block; 2: a local variable of another
// thread; 3: a null pointer; 4: a failed assertion; 5: a division by zero.
extern "C" __global__ void foreign(unsigned long long* address, int* values, int divisor) {
    __shared__ int tile[4];
    __shared__ int* local;
    int mine = 7;
    if (threadIdx.x < 4) tile[threadIdx.x] = 1;
    if (threadIdx.x == 0) local = &mine;
    __syncthreads();
#if BUG == 1
    int* other = (int*)atomicExch(address, (unsigned long long)tile);
    if (other) *other = 2;  // reported
#elif BUG == 2
    if (threadIdx.x == 1) *local = 2;  // reported
#elif BUG == 3
    values = nullptr;
#elif BUG == 4
    assert(values[0] == 1);  // reported
#elif BUG == 5
    mine /= divisor;  // reported
#endif
    __syncthreads();
    if (threadIdx.x == 0 && blockIdx.x == 0) values[1] = mine;  // reported
}
