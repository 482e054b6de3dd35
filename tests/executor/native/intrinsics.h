// Bit and math intrinsics.  Modules are compiled with -ffp-contract=off: nothing is fused unless it says fma.
#pragma once

// min and max: CUDA's overloads, mixed signs included; std's template would refuse min(int, unsigned).
#define EXECUTOR_MIN_MAX(A, B, Result)                                                         \
    inline Result min(A a, B b) { return (Result)a < (Result)b ? (Result)a : (Result)b; }      \
    inline Result max(A a, B b) { return (Result)a > (Result)b ? (Result)a : (Result)b; }
#define EXECUTOR_MIN_MAX_INTEGERS(T)           \
    EXECUTOR_MIN_MAX(T, T, T)                  \
    EXECUTOR_MIN_MAX(unsigned T, unsigned T, unsigned T) \
    EXECUTOR_MIN_MAX(T, unsigned T, unsigned T) \
    EXECUTOR_MIN_MAX(unsigned T, T, unsigned T)
EXECUTOR_MIN_MAX_INTEGERS(int)
EXECUTOR_MIN_MAX_INTEGERS(long)
EXECUTOR_MIN_MAX_INTEGERS(long long)
#undef EXECUTOR_MIN_MAX_INTEGERS
#undef EXECUTOR_MIN_MAX
// Of a number and not-a-number, the number.
inline float min(float a, float b) { return fminf(a, b); }
inline float max(float a, float b) { return fmaxf(a, b); }
inline double min(double a, double b) { return fmin(a, b); }
inline double max(double a, double b) { return fmax(a, b); }
inline double min(float a, double b) { return fmin((double)a, b); }
inline double max(float a, double b) { return fmax((double)a, b); }
inline double min(double a, float b) { return fmin(a, (double)b); }
inline double max(double a, float b) { return fmax(a, (double)b); }

inline int __popc(unsigned x) { return __builtin_popcount(x); }
inline int __popcll(unsigned long long x) { return __builtin_popcountll(x); }
inline int __ffs(int x) { return __builtin_ffs(x); }
inline int __ffsll(long long x) { return __builtin_ffsll(x); }
inline int __clz(int x) { return x ? __builtin_clz((unsigned)x) : 32; }
inline int __clzll(long long x) { return x ? __builtin_clzll((unsigned long long)x) : 64; }
inline unsigned __brev(unsigned x) {
    unsigned reversed = 0;
    for (int bit = 0; bit < 32; bit++) reversed |= (x >> bit & 1u) << (31 - bit);
    return reversed;
}
inline unsigned __umulhi(unsigned a, unsigned b) { return (unsigned)((unsigned long long)a * b >> 32); }
inline int __mulhi(int a, int b) { return (int)((long long)a * b >> 32); }
// Addresses of global memory are the same numbers in both spaces, here as on a device.
inline void* __cvta_global_to_generic(size_t address) { return (void*)address; }

inline unsigned long long __umul64hi(unsigned long long a, unsigned long long b) {
    return (unsigned long long)((unsigned __int128)a * b >> 64);
}
inline long long __mul64hi(long long a, long long b) { return (long long)((__int128)a * b >> 64); }
inline unsigned __funnelshift_l(unsigned low, unsigned high, unsigned by) {
    return (unsigned)((((unsigned long long)high << 32 | low) << (by & 31)) >> 32);
}
inline unsigned __funnelshift_r(unsigned low, unsigned high, unsigned by) {
    return (unsigned)(((unsigned long long)high << 32 | low) >> (by & 31));
}

#define EXECUTOR_REINTERPRET(name, To, From)           \
    inline To name(From value) {                       \
        static_assert(sizeof(To) == sizeof(From), ""); \
        To result;                                     \
        __builtin_memcpy(&result, &value, sizeof(To)); \
        return result;                                 \
    }
EXECUTOR_REINTERPRET(__float_as_int, int, float)
EXECUTOR_REINTERPRET(__int_as_float, float, int)
EXECUTOR_REINTERPRET(__float_as_uint, unsigned, float)
EXECUTOR_REINTERPRET(__uint_as_float, float, unsigned)
EXECUTOR_REINTERPRET(__double_as_longlong, long long, double)
EXECUTOR_REINTERPRET(__longlong_as_double, double, long long)
#undef EXECUTOR_REINTERPRET

inline float __fadd_rn(float a, float b) { return a + b; }
inline float __fsub_rn(float a, float b) { return a - b; }
inline float __fmul_rn(float a, float b) { return a * b; }
inline float __fdiv_rn(float a, float b) { return a / b; }
inline float __frcp_rn(float a) { return 1.0f / a; }
inline float __fsqrt_rn(float a) { return sqrtf(a); }
inline float __fmaf_rn(float a, float b, float c) { return fmaf(a, b, c); }
inline double __dadd_rn(double a, double b) { return a + b; }
inline double __dsub_rn(double a, double b) { return a - b; }
inline double __dmul_rn(double a, double b) { return a * b; }
inline double __ddiv_rn(double a, double b) { return a / b; }
inline double __drcp_rn(double a) { return 1.0 / a; }
inline double __dsqrt_rn(double a) { return sqrt(a); }
inline double __fma_rn(double a, double b, double c) { return fma(a, b, c); }

inline float rsqrtf(float a) { return (float)(1.0 / sqrt((double)a)); }
inline double rsqrt(double a) { return 1.0 / sqrt(a); }
inline float __saturatef(float a) { return a > 0.0f ? (a < 1.0f ? a : 1.0f) : 0.0f; }
// The fast approximations have no rule for their last bits; here they are the accurate functions.
inline float __expf(float a) { return expf(a); }
inline float __logf(float a) { return logf(a); }
inline float __fdividef(float a, float b) { return a / b; }
inline float __powf(float a, float b) { return powf(a, b); }

// Conversions to integers saturate.  Not-a-number gives 0 as 32 bits, the top bit alone as 64 bits.
namespace executor {
template <class Integer, class Float>
inline Integer saturate(Float rounded) {
    constexpr bool wide = sizeof(Integer) == 8;
    constexpr Integer lowest = std::is_signed_v<Integer> ? (Integer)((std::make_unsigned_t<Integer>)1 << (8 * sizeof(Integer) - 1)) : 0;
    constexpr Integer highest = (Integer)~((std::make_unsigned_t<Integer>)lowest);
    if (rounded != rounded) return wide ? (Integer)(1ull << 63) : (Integer)0;
    const Float limit = std::is_signed_v<Integer> ? -(Float)lowest : (Float)2 * (Float)((Integer)1 << (8 * sizeof(Integer) - 1));
    if (rounded >= limit) return highest;
    if (rounded <= (Float)lowest) return lowest;
    return (Integer)rounded;
}
}  // namespace executor
#define EXECUTOR_CONVERT(from, From, to, To)                                                       \
    inline To __##from##2##to##_rn(From value) { return executor::saturate<To>((From)rint(value)); }  \
    inline To __##from##2##to##_rz(From value) { return executor::saturate<To>((From)trunc(value)); } \
    inline To __##from##2##to##_rd(From value) { return executor::saturate<To>((From)floor(value)); } \
    inline To __##from##2##to##_ru(From value) { return executor::saturate<To>((From)ceil(value)); }
EXECUTOR_CONVERT(float, float, int, int)
EXECUTOR_CONVERT(float, float, uint, unsigned)
EXECUTOR_CONVERT(float, float, ll, long long)
EXECUTOR_CONVERT(float, float, ull, unsigned long long)
EXECUTOR_CONVERT(double, double, int, int)
EXECUTOR_CONVERT(double, double, uint, unsigned)
EXECUTOR_CONVERT(double, double, ll, long long)
EXECUTOR_CONVERT(double, double, ull, unsigned long long)
#undef EXECUTOR_CONVERT
inline float __int2float_rn(int value) { return (float)value; }
inline float __uint2float_rn(unsigned value) { return (float)value; }
inline float __ll2float_rn(long long value) { return (float)value; }
inline float __ull2float_rn(unsigned long long value) { return (float)value; }
inline double __int2double_rn(int value) { return (double)value; }
inline double __uint2double_rn(unsigned value) { return (double)value; }
inline double __ll2double_rn(long long value) { return (double)value; }
inline double __ull2double_rn(unsigned long long value) { return (double)value; }
inline float __double2float_rn(double value) { return (float)value; }
