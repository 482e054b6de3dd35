// Fibers: contexts with a stack of their own that are switched by hand, all on the calling system thread.
#pragma once
#include <cstddef>
#include <cstdint>
#if !defined(__x86_64__)
#include <ucontext.h>
#endif

struct Context {
#if defined(__x86_64__)
    void* stack_pointer = nullptr;
#else
    ucontext_t saved;
#endif
};

// Make `context` run `entry` on the stack, from the start, when it is switched to.  `entry` must not return.
void prepare(Context& context, char* stack, size_t bytes, void (*entry)());

// Save the running context in `from` and go on in `to`.
void switch_context(Context& from, Context& to);

// Equal stacks, each above a page without access; kept from launch to launch.
class StackPool {
public:
    static constexpr size_t bytes = 64 << 10;
    void reserve(size_t count);
    char* stack(size_t number) const { return base_ + number * slot; }
    bool contains(uintptr_t address) const {
        return address >= (uintptr_t)base_ && address < (uintptr_t)base_ + count_ * slot;
    }

private:
    static constexpr size_t guard = 4 << 10;
    static constexpr size_t slot = bytes + guard;
    char* base_ = nullptr;
    size_t count_ = 0;
};
