// What compilers call in instrumented code.  -fsanitize=thread calls __tsan_* before every access to memory that may
// be shared; -fsanitize=alignment,... calls __ubsan_* when something undefined is about to happen.  Neither
// sanitizer's own library is linked: these are the definitions.
#include <cstdint>

#include "checker.h"
#include "scheduler.h"

#define CODE __builtin_return_address(0)

#define ACCESSES(size)                                                                                                                               \
    void __tsan_read##size(void* address) { check_access((uintptr_t)address, size, true, false, Kind::plain, true, CODE); }                          \
    void __tsan_write##size(void* address) { check_access((uintptr_t)address, size, false, true, Kind::plain, true, CODE); }                         \
    void __tsan_read_write##size(void* address) { check_access((uintptr_t)address, size, true, true, Kind::plain, true, CODE); }                     \
    void __tsan_unaligned_read##size(void* address) { check_access((uintptr_t)address, size, true, false, Kind::plain, false, CODE); }               \
    void __tsan_unaligned_write##size(void* address) { check_access((uintptr_t)address, size, false, true, Kind::plain, false, CODE); }              \
    void __tsan_unaligned_read_write##size(void* address) { check_access((uintptr_t)address, size, true, true, Kind::plain, false, CODE); }          \
    void __tsan_volatile_read##size(void* address) { executor_relaxed(address, size, 0, CODE); }                                                     \
    void __tsan_volatile_write##size(void* address) { executor_relaxed(address, size, 1, CODE); }                                                    \
    void __tsan_unaligned_volatile_read##size(void* address) { executor_relaxed(address, size, 0, CODE); }                                           \
    void __tsan_unaligned_volatile_write##size(void* address) { executor_relaxed(address, size, 1, CODE); }

// As the handlers' data begin, whatever the check.
struct SourceLocation {
    const char* file;
    uint32_t line, column;
};

static void undefined(const SourceLocation* where, const char* what) {
    if (launch.running) fail("%s at %s:%u", what, where->file ? where->file : "?", where->line);
}

#define UNDEFINED(name, what, ...) \
    void __ubsan_handle_##name(SourceLocation* where, ##__VA_ARGS__) { undefined(where, what); }

extern "C" {
ACCESSES(1)
ACCESSES(2)
ACCESSES(4)
ACCESSES(8)
ACCESSES(16)

void __tsan_read_range(void* address, uint64_t bytes) { check_access((uintptr_t)address, bytes, true, false, Kind::plain, false, CODE); }
void __tsan_write_range(void* address, uint64_t bytes) { check_access((uintptr_t)address, bytes, false, true, Kind::plain, false, CODE); }
void* __tsan_memcpy(void* target, const void* source, uint64_t bytes) {
    check_access((uintptr_t)source, bytes, true, false, Kind::plain, false, CODE);
    check_access((uintptr_t)target, bytes, false, true, Kind::plain, false, CODE);
    return __builtin_memcpy(target, source, bytes);
}
void* __tsan_memmove(void* target, const void* source, uint64_t bytes) {
    check_access((uintptr_t)source, bytes, true, false, Kind::plain, false, CODE);
    check_access((uintptr_t)target, bytes, false, true, Kind::plain, false, CODE);
    return __builtin_memmove(target, source, bytes);
}
void* __tsan_memset(void* target, int value, uint64_t bytes) {
    check_access((uintptr_t)target, bytes, false, true, Kind::plain, false, CODE);
    return __builtin_memset(target, value, bytes);
}
void __tsan_func_entry(void*) {}
void __tsan_func_exit() {}
void __tsan_init() {}
void __tsan_vptr_update(void**, void*) {}
void __tsan_vptr_read(void**) {}

// The data of a type mismatch: location, type, logarithm of the alignment, what was done.
struct TypeMismatch {
    SourceLocation where;
    void* type;
    uint8_t alignment;
    uint8_t access;
};
void __ubsan_handle_type_mismatch_v1(TypeMismatch* data, uintptr_t address) {
    if (!launch.running) return;
    const char* access = data->access == 1 ? "write" : "read";
    Region* region = memory.find(address);
    const char* what = address == 0 ? "null pointer" : "misaligned address";
    if (!region) fail("%s %#llx at %s:%u", what, (unsigned long long)address, data->where.file, data->where.line);
    else if (region->shared_name)
        fail("misaligned %s of %u bytes at %s:%u: byte %llu of shared '%s'", access, 1u << data->alignment, data->where.file, data->where.line,
             (unsigned long long)(address - region->begin), region->shared_name);
    else
        fail("misaligned %s of %u bytes at %s:%u: byte %llu of {array %lld}", access, 1u << data->alignment, data->where.file, data->where.line,
             (unsigned long long)(address - region->begin), (long long)region->number);
}
void __ubsan_handle_out_of_bounds(SourceLocation* where, intptr_t index) {
    if (launch.running) fail("index %lld out of bounds of an array at %s:%u", (long long)index, where->file, where->line);
}
UNDEFINED(add_overflow, "signed addition overflows", void*, void*)
UNDEFINED(sub_overflow, "signed subtraction overflows", void*, void*)
UNDEFINED(mul_overflow, "signed multiplication overflows", void*, void*)
UNDEFINED(negate_overflow, "signed negation overflows", void*)
UNDEFINED(divrem_overflow, "division by zero, or a quotient that overflows,", void*, void*)
UNDEFINED(shift_out_of_bounds, "shift by a negative number or by too many bits", void*, void*)
UNDEFINED(float_cast_overflow, "a floating-point number does not fit the integer it is converted to", void*)
UNDEFINED(missing_return, "end of a function that returns a value")
UNDEFINED(builtin_unreachable, "code that is said to be out of reach")
}
