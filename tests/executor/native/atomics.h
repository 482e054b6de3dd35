// Atomics and loads and stores with cache hints.  Each atomic is a point where threads may be switched.
#pragma once

namespace executor {
template <class T, class... Allowed>
constexpr bool one_of = (std::is_same_v<T, Allowed> || ...);

template <class T>
constexpr bool word = one_of<T, int, unsigned, unsigned long long>;
template <class T>
constexpr bool comparable = one_of<T, int, unsigned, long long, unsigned long long>;
template <class T>
constexpr bool addable = word<T> || one_of<T, float, double>;
template <class T>
constexpr bool exchangeable = word<T> || one_of<T, float>;
}  // namespace executor

#define EXECUTOR_ATOMIC(name, allowed, result)                                                 \
    template <class T>                                                                         \
    EXECUTOR_CALLED T name(T* address, std::common_type_t<T> value) {                          \
        static_assert(allowed, #name ": CUDA has no overload for this type");                  \
        executor_atomic((void*)address, sizeof(T), EXECUTOR_CALLER);                           \
        T old = *address;                                                                      \
        *address = (result);                                                                   \
        return old;                                                                            \
    }
// Integers wrap around: added as unsigned numbers, lest signed overflow be reported.
namespace executor {
template <class T>
EXECUTOR_PLAIN inline T sum(T a, T b) {
    if constexpr (std::is_integral_v<T>) return (T)((std::make_unsigned_t<T>)a + (std::make_unsigned_t<T>)b);
    else return a + b;
}
template <class T>
EXECUTOR_PLAIN inline T difference(T a, T b) {
    return (T)((std::make_unsigned_t<T>)a - (std::make_unsigned_t<T>)b);
}
}  // namespace executor

EXECUTOR_ATOMIC(atomicAdd, executor::addable<T>, executor::sum<T>(old, value))
EXECUTOR_ATOMIC(atomicSub, (executor::one_of<T, int, unsigned>), executor::difference<T>(old, value))
EXECUTOR_ATOMIC(atomicExch, executor::exchangeable<T>, value)
EXECUTOR_ATOMIC(atomicMin, executor::comparable<T>, (value < old ? value : old))
EXECUTOR_ATOMIC(atomicMax, executor::comparable<T>, (value > old ? value : old))
EXECUTOR_ATOMIC(atomicInc, (executor::one_of<T, unsigned>), (old >= value ? 0u : old + 1))
EXECUTOR_ATOMIC(atomicDec, (executor::one_of<T, unsigned>), (old == 0 || old > value ? value : old - 1))
EXECUTOR_ATOMIC(atomicAnd, executor::word<T>, (T)(old & value))
EXECUTOR_ATOMIC(atomicOr, executor::word<T>, (T)(old | value))
EXECUTOR_ATOMIC(atomicXor, executor::word<T>, (T)(old ^ value))
#undef EXECUTOR_ATOMIC

template <class T>
EXECUTOR_CALLED T atomicCAS(T* address, std::common_type_t<T> expected, std::common_type_t<T> value) {
    static_assert(executor::word<T> || executor::one_of<T, unsigned short>,
                  "atomicCAS: CUDA has no overload for this type");
    executor_atomic((void*)address, sizeof(T), EXECUTOR_CALLER);
    T old = *address;
    if (old == expected) *address = value;
    return old;
}

// Plain loads and stores whose hint does not change their meaning; macros, so that the line is the kernel's ...
namespace executor {
template <class T>
EXECUTOR_PLAIN constexpr T* hinted(T* address) {
    static_assert(sizeof(T) <= 16 && (std::is_arithmetic_v<T> || alignof(T) == sizeof(T)),
                  "loads and stores with cache hints take numbers and vector types");
    return address;
}
template <class T>
EXECUTOR_CALLED T* read_only(T* address) {
    executor_read_only(address, sizeof(T), EXECUTOR_CALLER);
    return hinted(address);
}
}  // namespace executor
#define EXECUTOR_LOAD(...) (*executor::hinted(__VA_ARGS__))
#define EXECUTOR_STORE(address, ...) ((void)(*executor::hinted(address) = (__VA_ARGS__)))
#define __ldg(...) (*executor::read_only(__VA_ARGS__))
#define __ldca(...) EXECUTOR_LOAD(__VA_ARGS__)
#define __ldcg(...) EXECUTOR_LOAD(__VA_ARGS__)
#define __ldcs(...) EXECUTOR_LOAD(__VA_ARGS__)
#define __ldlu(...) EXECUTOR_LOAD(__VA_ARGS__)
#define __stwb(...) EXECUTOR_STORE(__VA_ARGS__)
#define __stcg(...) EXECUTOR_STORE(__VA_ARGS__)
#define __stcs(...) EXECUTOR_STORE(__VA_ARGS__)

// ... and those that go to memory, as a volatile access does.
template <class T>
EXECUTOR_CALLED T __ldcv(const T* address) {
    executor_relaxed(address, sizeof(T), 0, EXECUTOR_CALLER);
    return *address;
}
template <class T>
EXECUTOR_CALLED void __stwt(T* address, std::common_type_t<T> value) {
    executor_relaxed(address, sizeof(T), 1, EXECUTOR_CALLER);
    *address = value;
}
