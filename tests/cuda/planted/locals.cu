// The smallest of a row.  BUG: the local variable that it begins with has no value.
extern "C" __global__ void smallest(const int* values, int width, int* found) {
    const int* row = values + threadIdx.x * width;
#ifdef BUG
    int least;
#else
    int least = row[0];
#endif
    for (int c = 1; c < width; c++) least = row[c] < least ? row[c] : least;
    found[threadIdx.x] = least;
    assert(found[threadIdx.x] == row[width - 1]);  // reported
}
