#include "fibers.h"

#include <sys/mman.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>

#if defined(__x86_64__)

// Pushes what a function call preserves, exchanges stack pointers, pops.  No call to the kernel, as swapcontext makes.
extern "C" void executor_switch(void** save, void* load);
asm(".text\n"
    ".globl executor_switch\n"
    ".hidden executor_switch\n"
    ".type executor_switch,@function\n"
    "executor_switch:\n"
    "  push %rbp\n  push %rbx\n  push %r12\n  push %r13\n  push %r14\n  push %r15\n"
    "  mov %rsp,(%rdi)\n"
    "  mov %rsi,%rsp\n"
    "  pop %r15\n  pop %r14\n  pop %r13\n  pop %r12\n  pop %rbx\n  pop %rbp\n"
    "  ret\n"
    ".size executor_switch,.-executor_switch\n");

void prepare(Context& context, char* stack, size_t bytes, void (*entry)()) {
    // Six zeros to pop, then where `ret` goes; below a multiple of 16 as after a call.
    void** top = (void**)(stack + bytes - 64);
    memset(top, 0, 64);
    top[6] = (void*)entry;
    context.stack_pointer = top;
}

void switch_context(Context& from, Context& to) { executor_switch(&from.stack_pointer, to.stack_pointer); }

#else

void prepare(Context& context, char* stack, size_t bytes, void (*entry)()) {
    getcontext(&context.saved);
    context.saved.uc_stack.ss_sp = stack;
    context.saved.uc_stack.ss_size = bytes;
    context.saved.uc_link = nullptr;
    makecontext(&context.saved, entry, 0);
}

void switch_context(Context& from, Context& to) { swapcontext(&from.saved, &to.saved); }

#endif

void StackPool::reserve(size_t count) {
    if (count <= count_) return;
    if (base_) munmap(base_ - guard, count_ * slot + guard);
    size_t total = count * slot + guard;
    void* memory = mmap(nullptr, total, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (memory == MAP_FAILED) {
        fprintf(stderr, "executor: no memory for %zu stacks\n", count);
        abort();
    }
    base_ = (char*)memory + guard;
    count_ = count;
    for (size_t number = 0; number < count; number++) mprotect(stack(number) - guard, guard, PROT_NONE);
}
