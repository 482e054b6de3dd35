// Vector types, aligned as CUDA's are: a 16-byte load needs a 16-byte address.
#pragma once

// Clang checks the alignment of a structure where a reference is bound to it, not where it is copied as plain bytes:
// there, in check mode, copying takes a reference.  Without debug information of its own, it has its caller's line.
#if defined(__clang__) && defined(EXECUTOR_CHECKS)
#define EXECUTOR_AT_CALLER __attribute__((always_inline, nodebug))
#define EXECUTOR_COPIED2(name, T)                            \
    name() = default;                                        \
    EXECUTOR_AT_CALLER name(T x, T y) : x(x), y(y) {}  \
    EXECUTOR_AT_CALLER name(const name& other) : x(other.x), y(other.y) {}      \
    EXECUTOR_AT_CALLER name& operator=(const name& other) {                     \
        x = other.x, y = other.y;                            \
        return *this;                                        \
    }
#define EXECUTOR_COPIED4(name, T)                                                        \
    name() = default;                                                                    \
    EXECUTOR_AT_CALLER name(T x, T y, T z, T w) : x(x), y(y), z(z), w(w) {}                                 \
    EXECUTOR_AT_CALLER name(const name& other) : x(other.x), y(other.y), z(other.z), w(other.w) {}          \
    EXECUTOR_AT_CALLER name& operator=(const name& other) {                                                 \
        x = other.x, y = other.y, z = other.z, w = other.w;                              \
        return *this;                                                                    \
    }
#else
#define EXECUTOR_COPIED2(name, T)
#define EXECUTOR_COPIED4(name, T)
#endif

#define EXECUTOR_VECTOR2(T, name)             \
    struct alignas(2 * sizeof(T)) name##2 {   \
        T x, y;                               \
        EXECUTOR_COPIED2(name##2, T)          \
    };                                        \
    inline name##2 make_##name##2(T x, T y) { return {x, y}; }
#define EXECUTOR_VECTOR4(T, name)                                \
    struct alignas(sizeof(T) < 4 ? 4 * sizeof(T) : 16) name##4 { \
        T x, y, z, w;                                            \
        EXECUTOR_COPIED4(name##4, T)                             \
    };                                                           \
    inline name##4 make_##name##4(T x, T y, T z, T w) { return {x, y, z, w}; }

EXECUTOR_VECTOR2(unsigned char, uchar)
EXECUTOR_VECTOR2(short, short)
EXECUTOR_VECTOR2(unsigned short, ushort)
EXECUTOR_VECTOR2(int, int)
EXECUTOR_VECTOR2(unsigned, uint)
EXECUTOR_VECTOR2(float, float)
EXECUTOR_VECTOR2(double, double)
EXECUTOR_VECTOR2(long long, longlong)
EXECUTOR_VECTOR2(unsigned long long, ulonglong)
EXECUTOR_VECTOR4(unsigned char, uchar)
EXECUTOR_VECTOR4(short, short)
EXECUTOR_VECTOR4(unsigned short, ushort)
EXECUTOR_VECTOR4(int, int)
EXECUTOR_VECTOR4(unsigned, uint)
EXECUTOR_VECTOR4(float, float)
#undef EXECUTOR_VECTOR2
#undef EXECUTOR_VECTOR4
#undef EXECUTOR_COPIED2
#undef EXECUTOR_COPIED4
