#include "scheduler.h"

#include <dlfcn.h>

#include <algorithm>
#include <cstdarg>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>

Launch launch;
StackPool stacks;
extern "C" ExecutorIndices executor_indices;
ExecutorIndices executor_indices;

uint32_t random_number() {
    launch.random ^= launch.random << 13;
    launch.random ^= launch.random >> 7;
    launch.random ^= launch.random << 17;
    return (uint32_t)(launch.random >> 16);
}

// ------------------------------------------------------------------ messages

static char* next_buffer() {
    static char buffers[8][512];
    static int turn = 0;
    return buffers[turn++ % 8];
}

// The Python side replaces {code OFFSET} by file and line, from the module's line table.
const char* text_of_code(uint64_t code) {
    char* text = next_buffer();
    Dl_info module;
    if (code && dladdr((void*)code, &module)) snprintf(text, 512, "{code %#llx}", (unsigned long long)(code - (uint64_t)module.dli_fbase));
    else snprintf(text, 512, "an unknown place");
    return text;
}

const char* text_of(const Site& site) {
    if (!site.file) return site.code ? text_of_code((uint64_t)site.code) : "the start";
    char* text = next_buffer();
    snprintf(text, 512, "%s:%d", site.file, site.line);
    return text;
}

static void to(Thread* next);

void fail(const char* format, ...) {
    if (!launch.failed) {
        launch.failed = true;
        int used = 0;
        if (launch.running) used = snprintf(launch.message, sizeof launch.message, "block %u, thread %u: ", launch.running->block->number, launch.running->number);
        va_list values;
        va_start(values, format);
        vsnprintf(launch.message + used, sizeof launch.message - used, format, values);
        va_end(values);
    }
    if (launch.running) to(nullptr);
}

// ------------------------------------------------------------------ turns

// Go on as another thread, or in the main context if there is none.
static void to(Thread* next) {
    Thread* current = launch.running;
    if (current == next) return;
    launch.running = next;
    launch.switches++;
    if (next) {
        executor_indices.thread = {next->number, 0, 0};
        executor_indices.block = {next->block->number, 0, 0};
    }
    switch_context(current ? current->context : launch.main, next ? next->context : launch.main);
}

static Thread* choose() {
    auto& ready = launch.ready;
    if (ready.empty()) return nullptr;
    Thread* thread;
    if (launch.options.order == in_order) {
        thread = ready.front();
        ready.pop_front();
    } else {
        if (launch.options.order == random_order) std::swap(ready[random_number() % ready.size()], ready.back());
        thread = ready.back();
        ready.pop_back();
    }
    return thread;
}

static void wake(Thread& thread) {
    thread.state = State::ready;
    launch.ready.push_back(&thread);
}

static void count_point() {
    if (++launch.points <= launch.options.budget) return;
    // Name the places where the unfinished threads are, each once.
    char text[4096];
    int used = 0, places = 0;
    std::vector<std::pair<std::string, int>> seen;
    for (auto& block : launch.resident)
        for (auto& thread : block->threads) {
            if (block->finished || block->number == no_block || thread.state == State::done) continue;
            std::string place = std::string(thread.site.action) + " at " + text_of(thread.site);
            auto same = std::find_if(seen.begin(), seen.end(), [&](auto& one) { return one.first == place; });
            if (same != seen.end()) same->second++;
            else seen.emplace_back(place, 1);
        }
    text[0] = 0;
    for (auto& [place, count] : seen)
        if (places++ < 8) used += snprintf(text + used, sizeof text - used, "; %d in %s", count, place.c_str());
    fail("livelock: no thread finished within %llu scheduling points%s", (unsigned long long)launch.options.budget, text);
}

void pass_turn() {
    Thread& current = *launch.running;
    current.state = State::ready;
    // Behind all others, in reversed order too, where the back is the front.
    if (launch.options.order == reversed_order) launch.ready.push_front(&current);
    else launch.ready.push_back(&current);
    to(choose());
}

void maybe_pass_turn(bool plain) {
    count_point();
    if (launch.options.order == random_order) {
        if (random_number() < launch.options.preemption * 4294967295.0) pass_turn();
    } else if (!plain && ++launch.running->points % 256 == 0) {
        pass_turn();  // a thread that spins must let the one run that it waits for
    }
}

static void wait(State state) {
    launch.running->state = state;
    to(choose());
}

// ------------------------------------------------------------------ threads and blocks

static void finish_barrier(Block& block) {
    block.arrived = 0;
    block.clock++;
    if (launch.options.checked) meet_at_barrier(block);
    for (auto& thread : block.threads)
        if (thread.state == State::at_barrier) wake(thread);
}

static void run_thread() {
    launch.entry(launch.arguments);
    Thread& thread = *launch.running;
    Block& block = *thread.block;
    thread.state = State::done;
    launch.points = 0;
    thread.warp->live &= ~(1u << thread.lane);
    for (auto& meeting : thread.warp->meetings)
        if (meeting->arrived && (meeting->mask >> thread.lane & 1))
            fail("lane %u exits, while others wait for it at %s in mask %#010x", thread.lane, text_of(meeting->site), meeting->mask);
    block.live--;
    if (block.live && block.arrived == block.live) finish_barrier(block);  // those that have exited count as arrived
    block.finished = block.live == 0;
    to(block.finished ? nullptr : choose());
    abort();  // nobody switches to a thread that is done
}

static void begin_block(Block& block, uint32_t number) {
    uint32_t count = launch.options.threads;
    block.number = number;
    block.live = count;
    block.arrived = block.clock = 0;
    block.finished = false;
    block.acquired.clear();
    for (auto& variable : block.shared) variable.begun = false;
    for (auto& warp : block.warps) {
        warp.meetings.clear();
        warp.live = 0;
    }
    for (uint32_t i = 0; i < count; i++) {
        Thread& thread = block.threads[i];
        thread.block = &block;
        thread.warp = &block.warps[i / 32];
        thread.number = i;
        thread.lane = i % 32;
        thread.global = (number - launch.options.first_block) * count + i;
        thread.site = Site();
        thread.points = 0;
        thread.warp->live |= 1u << thread.lane;
        if (launch.options.checked) begin_knowledge(thread);
        prepare(thread.context, thread.stack, StackPool::bytes, run_thread);
        wake(thread);
    }
    for (auto& warp : block.warps) warp.existing = warp.live;
}

static void report_deadlock() {
    std::vector<std::pair<std::string, int>> places;
    for (auto& block : launch.resident)
        for (auto& thread : block->threads) {
            if (block->finished || block->number == no_block) continue;
            if (thread.state != State::at_barrier && thread.state != State::in_warp) continue;
            char text[1024];
            snprintf(text, sizeof text, "block %u waits in %s at %s", block->number, thread.site.action, text_of(thread.site));
            if (places.empty() || places.back().first != text) places.emplace_back(text, thread.number);
        }
    char text[4096];
    int used = 0, shown = 0;
    text[0] = 0;
    for (auto& [place, thread] : places)
        if (shown++ < 8) used += snprintf(text + used, sizeof text - used, "%s thread %d of %s", shown > 1 ? ";" : "", thread, place.c_str());
    fail("deadlock:%s", text);
}

bool run_blocks() {
    const LaunchOptions& options = launch.options;
    uint32_t count = options.blocks - options.first_block, threads = options.threads;
    std::vector<uint32_t> numbers(count);
    for (uint32_t i = 0; i < count; i++) numbers[i] = options.first_block + (options.order == reversed_order ? count - 1 - i : i);
    if (options.order == random_order)
        for (uint32_t i = count; i > 1; i--) std::swap(numbers[i - 1], numbers[random_number() % i]);

    uint32_t resident = std::min<uint32_t>(options.resident, count), begun = 0;
    stacks.reserve((size_t)resident * threads);
    for (uint32_t i = 0; i < resident; i++) {
        auto block = std::make_unique<Block>();
        block->threads.resize(threads);
        block->warps.resize((threads + 31) / 32);
        for (uint32_t t = 0; t < threads; t++) block->threads[t].stack = stacks.stack((size_t)i * threads + t);
        launch.resident.push_back(std::move(block));
    }
    for (auto& block : launch.resident) begin_block(*block, numbers[begun++]);

    while (!launch.failed) {
        bool all_finished = true;
        for (auto& block : launch.resident) {
            if (block->finished && begun < count) begin_block(*block, numbers[begun++]);
            all_finished = all_finished && block->finished;
        }
        if (all_finished) break;
        if (Thread* next = choose()) to(next);
        else report_deadlock();
    }
    for (auto& block : launch.resident)
        for (auto& variable : block->shared) memory.free(variable.region, false);
    launch.resident.clear();
    launch.ready.clear();
    launch.running = nullptr;
    return !launch.failed;
}

// ------------------------------------------------------------------ what kernels call

extern "C" {

unsigned executor_lane() { return launch.running->lane; }

void executor_fail(const char* what, const char* file, int line) {
    fail("%s at %s:%d", what, file, line);
    abort();  // fail does not return to a thread
}

void executor_pause(const char* file, int line) {
    launch.running->site = {"__nanosleep", file, line, nullptr};
    count_point();
    pass_turn();
}

void executor_barrier(const char* file, int line) {
    Thread& thread = *launch.running;
    Block& block = *thread.block;
    thread.site = {"__syncthreads", file, line, nullptr};
    count_point();
    if (block.arrived && (block.barrier.line != line || strcmp(block.barrier.file, file) != 0))
        fail("__syncthreads at %s:%d, while other threads of the block wait at %s", file, line, text_of(block.barrier));
    block.barrier = thread.site;
    if (++block.arrived < block.live) {
        wait(State::at_barrier);
        return;
    }
    finish_barrier(block);
    if (launch.options.order != in_order) pass_turn();
}

const uint64_t* executor_exchange(unsigned mask, uint64_t value, int collective, const char* file, int line) {
    static const char* const names[] = {"__syncwarp", "__shfl_sync", "__shfl_xor_sync", "__shfl_down_sync",
                                        "__shfl_up_sync", "a ballot", "__match_any_sync", "a warp reduction"};
    Thread& thread = *launch.running;
    Warp& warp = *thread.warp;
    thread.site = {names[collective], file, line, nullptr};
    count_point();
    const char* name = names[collective];
    if (!(mask >> thread.lane & 1)) fail("%s at %s:%d: mask %#010x lacks the calling lane %u", name, file, line, mask, thread.lane);
    if (mask & ~warp.existing) fail("%s at %s:%d: mask %#010x names lanes %#010x, which the block does not have", name, file, line, mask, mask & ~warp.existing);
    if (mask & ~warp.live) fail("%s at %s:%d: mask %#010x names lanes %#010x, which have exited", name, file, line, mask, mask & ~warp.live);
    Meeting* meeting = nullptr;
    for (auto& one : warp.meetings)
        if (one->mask == mask) meeting = one.get();
    if (!meeting) {
        warp.meetings.push_back(std::make_unique<Meeting>());
        meeting = warp.meetings.back().get();
        meeting->mask = mask;
    }
    if (meeting->arrived && (meeting->collective != collective || meeting->site.line != line || strcmp(meeting->site.file, file) != 0))
        fail("%s at %s:%d, while other lanes of mask %#010x wait in %s at %s", name, file, line, mask, meeting->site.action, text_of(meeting->site));
    meeting->collective = collective;
    meeting->site = thread.site;
    meeting->arrived |= 1u << thread.lane;
    meeting->given[thread.lane] = value;
    meeting->waiting.push_back(&thread);
    if (meeting->arrived != mask) {
        wait(State::in_warp);
        return meeting->result;  // not overwritten before this lane has come again
    }
    memcpy(meeting->result, meeting->given, sizeof meeting->given);
    meeting->arrived = 0;
    std::vector<Thread*> met;
    met.swap(meeting->waiting);
    // A shuffle or ballot passes values on, but does not order memory.
    if (collective == EXECUTOR_SYNCWARP && launch.options.checked) meet_in_warp(met);
    for (Thread* one : met)
        if (one != &thread) wake(*one);
    if (launch.options.order != in_order) pass_turn();
    return meeting->result;
}

static void* shared_variable(const void* declaration, uint64_t bytes, const char* name) {
    Thread& thread = *launch.running;
    Block& block = *thread.block;
    const LaunchOptions& options = launch.options;
    SharedVariable* variable = nullptr;
    for (auto& one : block.shared)
        if (one.declaration == declaration) variable = &one;
    if (!variable) {
        uint64_t total = declaration ? bytes : 0;
        for (auto& one : block.shared)
            if (one.declaration) total += one.region->bytes();
        if (total > 48 << 10) fail("the block has %llu bytes of static shared memory; CUDA gives 49152", (unsigned long long)total);
        Region* region = memory.allocate(bytes, bytes % 4 ? 1 : 4, options.device, -1, options.checked);
        if (!region) fail("no memory for %llu bytes of shared memory", (unsigned long long)bytes);
        region->shared_name = name;
        block.shared.push_back({declaration, region, true});
        variable = &block.shared.back();
        region->block = block.number;
    } else if (!variable->begun) {
        Region* region = variable->region;
        region->block = block.number;
        memset((void*)region->begin, 0xCB, region->bytes());
        region->generation++;
        if (options.checked) region->mark_all(false);
        variable->begun = true;
    }
    return (void*)variable->region->begin;
}

void* executor_shared(const void* declaration, uint64_t bytes, const char* name) { return shared_variable(declaration, bytes, name); }

void* executor_dynamic_shared() { return shared_variable(nullptr, launch.options.dynamic_shared, "extern __shared__ memory"); }
}
