// Bounds, alignment, unwritten memory, and data races by happens-before.
//
// The order of accesses is known from clocks, with CUDA's memory rules:
// - __syncthreads orders all accesses of the block before it and after it;
// - __syncwarp orders those of the lanes in its mask; shuffles and ballots order nothing;
// - a fence, then an atomic or volatile write, which another thread reads by an atomic or volatile access followed by
//   a fence, orders what came before the first fence before what comes after the second.  __threadfence_block does so
//   inside a block only;
// - atomic and volatile accesses do not race with each other, but a volatile write does with another thread's write.
#include "checker.h"

#include <algorithm>
#include <cstdio>
#include <cstring>
#include <unordered_map>

#include "scheduler.h"

// ------------------------------------------------------------------ what happened before what

static void join(VectorClock& into, const VectorClock& from) {
    for (auto& [who, clock] : from) {
        uint32_t& known = into[who];
        known = std::max(known, clock);
    }
}

static bool covers(const VectorClock& clock, const Access& access, uint32_t block) {
    if (clock.empty()) return false;
    auto of_thread = clock.find(access.thread);
    if (of_thread != clock.end() && access.thread_clock < of_thread->second) return true;
    auto of_block = clock.find(block_entry | block);
    return of_block != clock.end() && access.block_clock < of_block->second;
}

static uint32_t block_of(const Access& access) { return launch.options.first_block + access.thread / launch.options.threads; }

static bool happened_before(const Access& access, const Thread& thread) {
    if (access.thread == thread.global) return true;
    const Knowledge& knowledge = thread.knowledge;
    uint32_t count = launch.options.threads, block = block_of(access), number = access.thread % count;
    if (block == thread.block->number) {
        if (access.block_clock < thread.block->clock) return true;
        if (number / 32 == thread.number / 32 && access.thread_clock < knowledge.lanes[number % 32]) return true;
    }
    return covers(knowledge.acquired, access, block) || covers(thread.block->acquired, access, block);
}

void begin_knowledge(Thread& thread) {
    Knowledge& knowledge = thread.knowledge;
    knowledge.clock = 1;
    memset(knowledge.lanes, 0, sizeof knowledge.lanes);
    for (VectorClock* clock : {&knowledge.acquired, &knowledge.pending_near, &knowledge.pending_far, &knowledge.released, &knowledge.released_near}) clock->clear();
}

void meet_at_barrier(Block& block) {
    for (auto& thread : block.threads) {
        Knowledge& knowledge = thread.knowledge;
        knowledge.clock++;
        if (knowledge.acquired.empty()) continue;
        join(block.acquired, knowledge.acquired);
        knowledge.acquired.clear();
    }
}

void meet_in_warp(std::vector<Thread*>& threads) {
    uint32_t lanes[32] = {};
    VectorClock acquired;
    for (Thread* thread : threads) {
        Knowledge& knowledge = thread->knowledge;
        knowledge.clock++;
        for (int lane = 0; lane < 32; lane++) lanes[lane] = std::max(lanes[lane], knowledge.lanes[lane]);
        join(acquired, knowledge.acquired);
    }
    for (Thread* thread : threads) lanes[thread->lane] = thread->knowledge.clock;
    for (Thread* thread : threads) {
        memcpy(thread->knowledge.lanes, lanes, sizeof lanes);
        if (!acquired.empty()) thread->knowledge.acquired = acquired;
    }
}

// What fences have published by writing a location: for all threads, and for those of the writer's block.
struct Published {
    VectorClock far, near;
};
static std::unordered_map<uintptr_t, std::map<uint32_t, Published>> published;  // location, block of the writer

static void publish(uintptr_t address, bool reads, bool writes) {
    Thread& thread = *launch.running;
    Knowledge& knowledge = thread.knowledge;
    uint32_t block = thread.block->number;
    auto location = published.find(address);
    if (reads && location != published.end())
        for (auto& [writer, what] : location->second) {
            join(writer == block ? knowledge.pending_near : knowledge.pending_far, what.far);
            if (writer == block) join(knowledge.pending_near, what.near);
        }
    if (!writes) return;
    if (!reads && location != published.end()) location->second.clear();  // a plain store: only read-modify-writes go on
    if (!knowledge.released.empty()) join(published[address][block].far, knowledge.released);
    if (!knowledge.released_near.empty()) join(published[address][block].near, knowledge.released_near);
}

static void acquire_and_release(bool of_device) {
    Thread& thread = *launch.running;
    Knowledge& knowledge = thread.knowledge;
    join(knowledge.acquired, knowledge.pending_near);
    if (of_device) join(knowledge.acquired, knowledge.pending_far);
    knowledge.clock++;
    VectorClock& released = of_device ? knowledge.released : knowledge.released_near;
    released = thread.block->acquired;
    join(released, knowledge.acquired);
    uint32_t first_lane = thread.global - thread.lane;
    for (uint32_t lane = 0; lane < 32; lane++)
        if (knowledge.lanes[lane]) released[first_lane + lane] = knowledge.lanes[lane];
    released[thread.global] = knowledge.clock;
    released[block_entry | thread.block->number] = thread.block->clock;
    if (of_device) knowledge.released_near = released;
}

void forget_published() { published.clear(); }

// ------------------------------------------------------------------ one access

// The Python side replaces {array NUMBER} by the array's name.
static const char* name_of(const Region& region) {
    static char texts[4][256];
    static int turn = 0;
    char* text = texts[turn++ % 4];
    if (region.shared_name) snprintf(text, 256, "shared '%s' of block %u", region.shared_name, region.block);
    else snprintf(text, 256, "{array %lld}", (long long)region.number);
    return text;
}

static const char* verb(bool writes, Kind kind) {
    if (kind == Kind::atomic) return "atomic update";
    if (kind == Kind::relaxed) return writes ? "volatile write" : "volatile read";
    return writes ? "write" : "read";
}

static void report_outside(uintptr_t address, uint64_t bytes, const char* access, const char* place) {
    if (const Freed* freed = memory.find_freed(address)) {
        fail("%s of %llu bytes at %s: the memory has been freed, byte %llu of {array %lld}", access, (unsigned long long)bytes, place,
             (unsigned long long)(address - freed->begin), (long long)freed->number);
        return;
    }
    if (address < 4096) {
        fail("%s of %llu bytes at %s: null pointer (address %#llx)", access, (unsigned long long)bytes, place, (unsigned long long)address);
        return;
    }
    Region* before = memory.before(address);
    Region* after = memory.after(address);
    uint64_t past = before ? address - before->end : ~0ull, ahead = after ? after->begin - address : ~0ull;
    if (!before && !after) fail("out of bounds %s of %llu bytes at %s: the device has no memory", access, (unsigned long long)bytes, place);
    else if (past <= ahead)
        fail("out of bounds %s of %llu bytes at %s: %llu bytes past the end of %s", access, (unsigned long long)bytes, place, (unsigned long long)past, name_of(*before));
    else
        fail("out of bounds %s of %llu bytes at %s: %llu bytes before the begin of %s", access, (unsigned long long)bytes, place, (unsigned long long)ahead, name_of(*after));
}

static bool conflict(const Access& earlier, const Access& now, bool both_write, const Region& region) {
    bool lost = both_write && (earlier.relaxed || now.relaxed);
    bool harmless = earlier.atomic && now.atomic && !lost && earlier.log2_width == now.log2_width;
    return earlier.generation == region.generation && (earlier.bytes & now.bytes) && !harmless && !happened_before(earlier, *launch.running);
}

static void report_race(const Region& region, uintptr_t address, const Access& earlier, const Access& now, bool earlier_writes, const char* access, const char* place) {
    uint32_t count = launch.options.threads;
    if (earlier.atomic && now.atomic && earlier.log2_width != now.log2_width) {
        fail("atomics of different widths at %s and at %s: byte %llu of %s", place, text_of_code(earlier.code), (unsigned long long)(address - region.begin), name_of(region));
        return;
    }
    fail("data race on byte %llu of %s: %s at %s, and %s%s by block %u, thread %u at %s, in no order", (unsigned long long)(address - region.begin), name_of(region), access,
         place, earlier.atomic ? "atomic or volatile " : "", earlier_writes ? "write" : "read", block_of(earlier), earlier.thread % count, text_of_code(earlier.code));
}

static void remember(Cell& cell, const Access& now, bool writes, const Region& region) {
    if (writes) {
        cell.write = now;
        if (!now.atomic) cell.reads[0].generation = cell.reads[1].generation = 0;  // ordered before this write
        return;
    }
    auto free_for_it = [&](const Access& read) { return read.generation != region.generation || read.thread == now.thread; };
    int slot = free_for_it(cell.reads[0]) ? 0 : free_for_it(cell.reads[1]) ? 1 : random_number() & 1;
    cell.reads[slot] = now;
}

void check_access(uintptr_t address, uint64_t bytes, bool reads, bool writes, Kind kind, bool aligned, void* code) {
    Thread* running = launch.running;
    if (!running || !launch.options.checked || launch.failed) return;
    if (address - (uintptr_t)running->stack < StackPool::bytes) return;
    if (address - (uintptr_t)&executor_indices < sizeof executor_indices) return;
    if (address >= launch.module_begin && address < launch.module_end) return;
    launch.accesses++;
    if (kind == Kind::plain) {
        running->site = {verb(writes, kind), nullptr, 0, code};
        maybe_pass_turn(true);
    }
    const char* access = verb(writes, kind);
    Region* region = memory.find(address);
    if (!region) {
        if (stacks.contains(address)) fail("%s of %llu bytes at %s: another thread's local memory", access, (unsigned long long)bytes, text_of_code((uint64_t)code));
        else report_outside(address, bytes, access, text_of_code((uint64_t)code));
        return;
    }
    uint64_t offset = address - region->begin;
    if (bytes > region->end - address) {
        fail("out of bounds %s of %llu bytes at %s: byte %llu on of %s, which has %llu", access, (unsigned long long)bytes, text_of_code((uint64_t)code), (unsigned long long)offset,
             name_of(*region), (unsigned long long)region->bytes());
        return;
    }
    if (offset < region->reach_begin || offset + bytes > region->reach_end) {
        fail("out of bounds %s of %llu bytes at %s: byte %llu of %s, of which the kernel has been given bytes %llu to %llu", access, (unsigned long long)bytes,
             text_of_code((uint64_t)code), (unsigned long long)offset, name_of(*region), (unsigned long long)region->reach_begin, (unsigned long long)region->reach_end);
        return;
    }
    if (writes && !region->writable) {
        fail("%s of %llu bytes at %s: byte %llu of %s, which the kernel has been given only to be read", access, (unsigned long long)bytes, text_of_code((uint64_t)code),
             (unsigned long long)offset, name_of(*region));
        return;
    }
    if (region->block != no_block && region->block != running->block->number) {
        fail("%s of %llu bytes at %s: %s, which is another block", access, (unsigned long long)bytes, text_of_code((uint64_t)code), name_of(*region));
        return;
    }
    if (region->device != launch.options.device) {
        fail("%s of %llu bytes at %s: %s is memory of another device", access, (unsigned long long)bytes, text_of_code((uint64_t)code), name_of(*region));
        return;
    }
    if (aligned && bytes > 1 && address % bytes) {
        fail("misaligned %s of %llu bytes at %s: byte %llu of %s", access, (unsigned long long)bytes, text_of_code((uint64_t)code), (unsigned long long)offset, name_of(*region));
        return;
    }
    if (reads && launch.options.initialised && !region->is_written(offset, bytes)) {
        fail("%s of %llu bytes at %s: nobody has written byte %llu of %s", access, (unsigned long long)bytes, text_of_code((uint64_t)code), (unsigned long long)offset, name_of(*region));
        return;
    }
    if (writes) region->mark(offset, bytes, true);

    Access now;
    now.generation = region->generation;
    now.thread = running->global;
    now.thread_clock = running->knowledge.clock;
    now.block_clock = running->block->clock;
    now.code = (uint64_t)code;
    now.atomic = kind != Kind::plain;
    now.relaxed = kind == Kind::relaxed;
    now.log2_width = 63 - __builtin_clzll(bytes | 1);
    uint64_t granule = region->granule;
    for (uint64_t at = offset, end = offset + bytes; at < end;) {
        uint64_t next = std::min((at / granule + 1) * granule, end);
        now.bytes = ((1u << (next - at)) - 1) << at % granule;
        Cell& cell = region->cells[at / granule];
        if (conflict(cell.write, now, writes, *region)) return report_race(*region, region->begin + at, cell.write, now, true, access, text_of_code((uint64_t)code));
        if (writes)
            for (const Access& read : cell.reads)
                if (conflict(read, now, false, *region)) return report_race(*region, region->begin + at, read, now, false, access, text_of_code((uint64_t)code));
        remember(cell, now, writes, *region);
        at = next;
    }
}

// ------------------------------------------------------------------ what kernels call

extern "C" {

void executor_atomic(void* address, unsigned bytes, void* code) {
    launch.running->site = {"an atomic", nullptr, 0, code};
    maybe_pass_turn();
    if (!launch.options.checked) return;
    check_access((uintptr_t)address, bytes, true, true, Kind::atomic, true, code);
    publish((uintptr_t)address, true, true);
}

void executor_relaxed(const void* address, unsigned bytes, int writes, void* code) {
    launch.running->site = {"a volatile access", nullptr, 0, code};
    maybe_pass_turn();
    if (!launch.options.checked) return;
    check_access((uintptr_t)address, bytes, !writes, writes, Kind::relaxed, true, code);
    publish((uintptr_t)address, !writes, writes);
}

void executor_read_only(const void* address, unsigned bytes, void* code) {
    if (!launch.options.checked) return;
    Region* region = memory.find((uintptr_t)address);
    if (!region) return;  // the read itself is reported
    uint64_t offset = (uintptr_t)address - region->begin;
    for (uint64_t cell = offset / region->granule; cell <= (offset + bytes - 1) / region->granule && cell < region->cell_count(); cell++) {
        const Access& write = region->cells[cell].write;
        if (write.generation != region->generation) continue;
        fail("read of %u bytes at %s through the read-only cache: byte %llu of %s, which this launch writes at %s", bytes, text_of_code((uint64_t)code), (unsigned long long)offset,
             name_of(*region), text_of_code(write.code));
    }
}

void executor_fence(int of_device, const char* file, int line) {
    launch.running->site = {"__threadfence", file, line, nullptr};
    if (launch.options.checked) acquire_and_release(of_device);
    maybe_pass_turn();
}
}
