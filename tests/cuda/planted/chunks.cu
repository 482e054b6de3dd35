// Rows in chunks, whose addresses are in an array.  BUG 1: the row offset is a 32-bit number, which wraps around;
// 2: the same, signed.
extern "C" __global__ void read_rows(const long long* chunks, const unsigned* rows, int count, float* found) {
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= count) return;
    const float* chunk = (const float*)chunks[rows[i] >> 16];
    unsigned row = rows[i] & 0xffffu;
#if BUG == 1
    unsigned back = 0u - 4u;  // meant to step back by four
    found[i] = chunk[row * 4u + 4u * 1024u + back];  // reported
#elif BUG == 2
    int stride = 1 << 30;
    found[i] = chunk[(int)(row + 1) * 4 * stride];  // reported
#else
    found[i] = chunk[(long long)row * 4];  // reported
#endif
}
