// Threads insert keys into an open table; every key twice.  BUG: a slot is read and then written, instead of compared
// and swapped in one step, so that two threads can claim it.
extern "C" __global__ void claim(unsigned long long* slots, unsigned mask, const unsigned long long* keys, int count,
                                 unsigned* found) {
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= count) return;
    unsigned long long key = keys[i];
    for (unsigned slot = (unsigned)key & mask;; slot = (slot + 1) & mask) {
#ifdef BUG
        unsigned long long old = slots[slot];  // reported
        if (old == 0) slots[slot] = key;       // reported
#else
        unsigned long long old = atomicCAS(&slots[slot], 0ull, key);
#endif
        if (old == 0 || old == key) {
            found[i] = slot;
            return;
        }
    }
}
