// Arithmetic that C++ leaves undefined or that never ends.  BUG 1: a shift by all the bits; 2: a number too large for an int;
// 3: a loop whose counter of 8 bits wraps around; 4: half of the bytes of a structure have not been written.
struct Two {
    int first, second;
};
extern "C" __global__ void compute(const float* values, int count, Two* twos, int* result) {
    int i = threadIdx.x;
    if (i >= count) return;
#if BUG == 1
    result[i] = 1 << count;  // reported
#elif BUG == 2
    result[i] = (int)(values[i] * 1e10f);  // reported
#elif BUG == 3
    unsigned sum = 0;
    for (unsigned char k = 0; k < 256 + count - 32; k++) sum += k;  // reported
    result[i] = (int)sum;
#elif BUG == 4
    twos[i].first = 1;
    Two two = twos[i];  // reported
    result[i] = two.first + two.second;  // reported
#else
    result[i] = (int)values[i];
#endif
}
