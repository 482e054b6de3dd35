// What the Python side calls: memory and launches.  One call at a time.
#include <link.h>
#include <pthread.h>
#include <signal.h>
#include <sys/time.h>
#include <time.h>
#include <ucontext.h>

#include <algorithm>
#include <cstdio>
#include <cstring>

#include "checker.h"
#include "scheduler.h"

void forget_published();

// ------------------------------------------------------------------ faults become errors

static const int signals[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL};
static struct sigaction previous[4];
static stack_t previous_stack;
static char signal_stack[64 << 10];

// A fault in a running thread ends the launch.  The thread's context is left for good, so that leaving the handler by
// a switch is safe.
static void on_fault(int signal, siginfo_t* information, void* context) {
    if (!launch.running) {
        for (int i = 0; i < 4; i++) sigaction(signals[i], &previous[i], nullptr);
        return;  // the fault happens again, with the handler that was there before
    }
#if defined(__x86_64__)
    uint64_t code = ((ucontext_t*)context)->uc_mcontext.gregs[REG_RIP] + 1;
#else
    uint64_t code = 0;
#endif
    uintptr_t address = (uintptr_t)information->si_addr;
    if (signal == SIGSEGV || signal == SIGBUS) fail("segmentation fault at %s: address %#llx", text_of_code(code), (unsigned long long)address);
    else if (signal == SIGFPE) fail("division by zero at %s", text_of_code(code));
    else fail("illegal instruction at %s", text_of_code(code));
}

static void catch_faults() {
    stack_t stack = {};
    stack.ss_sp = signal_stack;
    stack.ss_size = sizeof signal_stack;
    sigaltstack(&stack, &previous_stack);
    struct sigaction action = {};
    action.sa_sigaction = on_fault;
    action.sa_flags = SA_SIGINFO | SA_ONSTACK | SA_NODEFER;
    for (int i = 0; i < 4; i++) sigaction(signals[i], &action, &previous[i]);
}

// A loop that neither touches memory nor waits passes no scheduling point: the launch ends when a thread has run for
// long without any.
static constexpr double endless_s = 1.0;
static pthread_t launching;
static uint64_t progress_seen;
static double seconds_then;

static double seconds() {
    timespec now;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
    return now.tv_sec + 1e-9 * now.tv_nsec;
}

static void on_tick(int signal, siginfo_t*, void* context) {
    if (!launch.running) return;
    if (!pthread_equal(pthread_self(), launching)) {
        pthread_kill(launching, signal);
        return;
    }
    uint64_t progress = launch.switches + launch.accesses + launch.points;
    if (progress != progress_seen) {
        progress_seen = progress;
        seconds_then = seconds();
        return;
    }
    if (seconds() - seconds_then < endless_s) return;
#if defined(__x86_64__)
    uint64_t code = ((ucontext_t*)context)->uc_mcontext.gregs[REG_RIP] + 1;
#else
    uint64_t code = 0;
#endif
    fail("endless loop at %s: it reaches no place where threads are switched", text_of_code(code));
}

static struct sigaction previous_tick;

static void watch(bool on) {
    itimerval every = {};
    if (on) {
        launching = pthread_self();
        progress_seen = 0, seconds_then = seconds();
        struct sigaction action = {};
        action.sa_sigaction = on_tick;
        action.sa_flags = SA_SIGINFO | SA_ONSTACK | SA_NODEFER | SA_RESTART;
        sigaction(SIGVTALRM, &action, &previous_tick);
        every.it_interval.tv_usec = every.it_value.tv_usec = 250'000;
    }
    setitimer(ITIMER_VIRTUAL, &every, nullptr);
    if (!on) sigaction(SIGVTALRM, &previous_tick, nullptr);
}

static void release_faults() {
    for (int i = 0; i < 4; i++) sigaction(signals[i], &previous[i], nullptr);
    sigaltstack(&previous_stack, nullptr);
}

// ------------------------------------------------------------------ the module's own variables, which are not checked

static int find_module(dl_phdr_info* information, size_t, void* entry) {
    for (int i = 0; i < information->dlpi_phnum; i++) {
        const auto& header = information->dlpi_phdr[i];
        uintptr_t begin = information->dlpi_addr + header.p_vaddr;
        if (header.p_type != PT_LOAD || (uintptr_t)entry < begin || (uintptr_t)entry >= begin + header.p_memsz) continue;
        launch.module_begin = information->dlpi_addr;
        launch.module_end = 0;
        for (int j = 0; j < information->dlpi_phnum; j++) {
            const auto& part = information->dlpi_phdr[j];
            if (part.p_type == PT_LOAD) launch.module_end = std::max<uintptr_t>(launch.module_end, information->dlpi_addr + part.p_vaddr + part.p_memsz);
        }
        return 1;
    }
    return 0;
}

extern "C" {

// Handle of a new allocation, or null.
Region* executor_allocate(uint64_t bytes, uint32_t granule, int32_t device, int64_t number, int32_t checked) {
    return memory.allocate(bytes, granule, device, number, checked);
}
uint64_t executor_address(Region* region) { return region->begin; }
void executor_free(Region* region) { memory.free(region, true); }

// Kernels have been given these bytes alone, to write or only to read, until this is called again.
void executor_limit(Region* region, uint64_t begin, uint64_t end, int32_t writable) {
    region->reach_begin = begin, region->reach_end = end;
    region->writable = writable;
}

void executor_mark(Region* region, uint64_t offset, uint64_t bytes, int32_t written) {
    if (region->checked) region->mark(offset, bytes, written);
}

int32_t executor_is_written(Region* region, uint64_t offset, uint64_t bytes) { return !region->checked || region->is_written(offset, bytes); }

void executor_clear(Region* region, uint64_t offset, uint64_t bytes) {
    region->clear(offset, bytes);
    executor_mark(region, offset, bytes, true);
}

// After a copy: what of the target is written is what of the source was.
void executor_copy_written(Region* target, uint64_t target_offset, Region* source, uint64_t source_offset, uint64_t bytes) {
    if (!target->checked || !source->checked) return;
    for (uint64_t i = 0; i < bytes; i++) target->mark(target_offset + i, 1, source->is_written(source_offset + i));
}

// 0, or 1 with a message.  `statistics`: switches and checked accesses.
int executor_launch(void (*entry)(void**), void** arguments, const LaunchOptions* options, char* message, uint64_t message_bytes, uint64_t* statistics) {
    launch.entry = entry;
    launch.arguments = arguments;
    launch.options = *options;
    launch.random = (options->seed + 1) * 0x9E3779B97F4A7C15ull | 1;
    launch.switches = launch.accesses = launch.points = 0;
    launch.failed = false;
    launch.running = nullptr;
    launch.message[0] = 0;
    executor_indices.block_size = {(unsigned)options->threads, 1, 1};
    executor_indices.grid_size = {(unsigned)options->blocks, 1, 1};
    memory.begin_generation();
    forget_published();
    dl_iterate_phdr(find_module, (void*)entry);
    catch_faults();
    watch(true);
    bool succeeded = run_blocks();
    watch(false);
    release_faults();
    snprintf(message, message_bytes, "%s", launch.message);
    statistics[0] = launch.switches;
    statistics[1] = launch.accesses;
    return succeeded ? 0 : 1;
}
}
