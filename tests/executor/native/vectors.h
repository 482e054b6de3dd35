// Vector types, aligned as CUDA's are: a 16-byte load needs a 16-byte address.
#pragma once

#define EXECUTOR_VECTOR2(T, name)             \
    struct alignas(2 * sizeof(T)) name##2 {   \
        T x, y;                               \
    };                                        \
    inline name##2 make_##name##2(T x, T y) { return {x, y}; }
#define EXECUTOR_VECTOR4(T, name)                                      \
    struct alignas(sizeof(T) < 4 ? 4 * sizeof(T) : 16) name##4 {       \
        T x, y, z, w;                                                  \
    };                                                                 \
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
