// Warp collectives: all lanes of the mask meet (executor_exchange), then each computes from all lanes' values.
#pragma once

namespace executor {

template <class T>
EXECUTOR_PLAIN inline uint64_t to_bits(T value) {
    static_assert(sizeof(T) <= 8 && std::is_arithmetic_v<T>, "warp collectives take numbers of up to 8 bytes");
    uint64_t bits = 0;
    memcpy(&bits, &value, sizeof(T));
    return bits;
}

template <class T>
EXECUTOR_PLAIN inline T from_bits(uint64_t bits) {
    T value;
    memcpy(&value, &bits, sizeof(T));
    return value;
}

template <class T>
EXECUTOR_PLAIN T shuffle_from(int source, unsigned mask, T value, int collective, const char* file, int line) {
    const uint64_t* values = executor_exchange(mask, to_bits(value), collective, file, line);
    if (!(mask >> source & 1)) executor_fail("a shuffle reads a lane outside its mask", file, line);
    return from_bits<T>(values[source]);
}

// In all four, the warp falls into segments of `width` lanes; a source outside the segment means the lane's own value.
template <class T>
EXECUTOR_PLAIN T shuffle(const char* file, int line, unsigned mask, T value, int source, int width = 32) {
    int lane = executor_lane();
    return shuffle_from((lane & ~(width - 1)) | (source & (width - 1)), mask, value, EXECUTOR_SHUFFLE, file, line);
}

template <class T>
EXECUTOR_PLAIN T shuffle_xor(const char* file, int line, unsigned mask, T value, int lanes, int width = 32) {
    int lane = executor_lane(), source = (lane ^ lanes) & 31;
    bool above = (source & ~(width - 1)) > (lane & ~(width - 1));
    return shuffle_from(above ? lane : source, mask, value, EXECUTOR_SHUFFLE_XOR, file, line);
}

template <class T>
EXECUTOR_PLAIN T shuffle_down(const char* file, int line, unsigned mask, T value, unsigned by, int width = 32) {
    int lane = executor_lane(), inside = lane & (width - 1);
    bool above = by >= (unsigned)(width - inside);
    return shuffle_from(above ? lane : lane + (int)by, mask, value, EXECUTOR_SHUFFLE_DOWN, file, line);
}

template <class T>
EXECUTOR_PLAIN T shuffle_up(const char* file, int line, unsigned mask, T value, unsigned by, int width = 32) {
    int lane = executor_lane(), inside = lane & (width - 1);
    bool below = by > (unsigned)inside;
    return shuffle_from(below ? lane : lane - (int)by, mask, value, EXECUTOR_SHUFFLE_UP, file, line);
}

EXECUTOR_PLAIN inline unsigned ballot(const char* file, int line, unsigned mask, int predicate) {
    const uint64_t* values = executor_exchange(mask, predicate != 0, EXECUTOR_BALLOT, file, line);
    unsigned lanes = 0;
    for (int lane = 0; lane < 32; lane++)
        if (mask >> lane & 1) lanes |= (unsigned)values[lane] << lane;
    return lanes;
}

template <class T>
EXECUTOR_PLAIN unsigned match_any(const char* file, int line, unsigned mask, T value) {
    const uint64_t* values = executor_exchange(mask, to_bits(value), EXECUTOR_MATCH, file, line);
    unsigned lanes = 0;
    for (int lane = 0; lane < 32; lane++)
        if ((mask >> lane & 1) && values[lane] == to_bits(value)) lanes |= 1u << lane;
    return lanes;
}

template <class T, class Operation>
EXECUTOR_PLAIN T reduce(const char* file, int line, unsigned mask, T value, Operation operation) {
    static_assert(std::is_same_v<T, int> || std::is_same_v<T, unsigned>, "__reduce_*_sync takes int or unsigned");
    const uint64_t* values = executor_exchange(mask, to_bits(value), EXECUTOR_REDUCE, file, line);
    T result = 0;
    bool first = true;
    for (int lane = 0; lane < 32; lane++) {
        if (!(mask >> lane & 1)) continue;
        T other = from_bits<T>(values[lane]);
        result = first ? other : (T)operation(result, other);
        first = false;
    }
    return result;
}

struct SyncWarp {  // an object, so that the macro works with and without a mask
    const char* file;
    int line;
    EXECUTOR_PLAIN void operator()(unsigned mask = 0xffffffffu) const {
        executor_exchange(mask, 0, EXECUTOR_SYNCWARP, file, line);
    }
};
}  // namespace executor

#define __syncwarp(...) executor::SyncWarp{__FILE__, __LINE__}(__VA_ARGS__)
#define __shfl_sync(...) executor::shuffle(__FILE__, __LINE__, __VA_ARGS__)
#define __shfl_xor_sync(...) executor::shuffle_xor(__FILE__, __LINE__, __VA_ARGS__)
#define __shfl_down_sync(...) executor::shuffle_down(__FILE__, __LINE__, __VA_ARGS__)
#define __shfl_up_sync(...) executor::shuffle_up(__FILE__, __LINE__, __VA_ARGS__)
#define __ballot_sync(mask, predicate) executor::ballot(__FILE__, __LINE__, mask, !!(predicate))
#define __any_sync(mask, predicate) ((int)(executor::ballot(__FILE__, __LINE__, mask, !!(predicate)) != 0))
#define __all_sync(mask, predicate) ((int)(executor::ballot(__FILE__, __LINE__, mask, !(predicate)) == 0))
#define __match_any_sync(mask, value) executor::match_any(__FILE__, __LINE__, mask, value)
#define EXECUTOR_REDUCE_SYNC(mask, value, expression) \
    executor::reduce(__FILE__, __LINE__, mask, value, [](auto a, auto b) { return expression; })
#define __reduce_add_sync(mask, value) EXECUTOR_REDUCE_SYNC(mask, value, executor::sum(a, b))
#define __reduce_min_sync(mask, value) EXECUTOR_REDUCE_SYNC(mask, value, (a < b ? a : b))
#define __reduce_max_sync(mask, value) EXECUTOR_REDUCE_SYNC(mask, value, (a > b ? a : b))
#define __reduce_and_sync(mask, value) EXECUTOR_REDUCE_SYNC(mask, value, a & b)
#define __reduce_or_sync(mask, value) EXECUTOR_REDUCE_SYNC(mask, value, a | b)
#define __reduce_xor_sync(mask, value) EXECUTOR_REDUCE_SYNC(mask, value, a ^ b)

// A legal answer, and the least helpful one: no other lane need run along.
inline unsigned __activemask() { return 1u << executor_lane(); }
