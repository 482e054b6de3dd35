// Threads of resident blocks, in which order they run, and where they wait for each other.
#pragma once
#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <vector>

#include "fibers.h"
#include "interface.h"
#include "memory.h"

// Sparse vector clock: number of a thread in the grid, or of a block with `block_entry`, to a clock.
using VectorClock = std::map<uint64_t, uint32_t>;
constexpr uint64_t block_entry = 1ull << 32;

// Accesses of others that happened before a thread's next one (checker.cpp).
struct Knowledge {
    uint32_t clock;      // the thread's own; advances when it synchronises
    uint32_t lanes[32];  // of its warp, through __syncwarp
    VectorClock acquired;
    VectorClock pending_near, pending_far;  // read by a relaxed access, not yet acquired by a fence
    VectorClock released, released_near;    // what a write publishes, since its last fence
};

// Where a thread was last seen; either file and line, or an address in the module.
struct Site {
    const char* action = "starts";
    const char* file = nullptr;
    int line = 0;
    void* code = nullptr;
};

enum class State { ready, at_barrier, in_warp, done };

struct Block;
struct Warp;

struct Thread {
    Context context;
    char* stack;
    Block* block;
    Warp* warp;
    uint32_t number, lane, global;  // `global` : among the threads of the blocks that run
    State state;
    Site site;
    uint32_t points;  // scheduling points passed
    Knowledge knowledge;
};

// Lanes that meet in one collective.
struct Meeting {
    uint32_t mask, arrived = 0;
    int collective;
    Site site;
    uint64_t given[32], result[32];
    std::vector<Thread*> waiting;
};

struct Warp {
    std::vector<std::unique_ptr<Meeting>> meetings;  // one a mask
    uint32_t live, existing;
};

struct SharedVariable {
    const void* declaration;
    Region* region;
    bool begun;  // by the block that is resident now
};

struct Block {
    uint32_t number = no_block;
    std::vector<Thread> threads;
    std::vector<Warp> warps;
    uint32_t live = 0, arrived = 0;
    uint32_t clock = 0;  // barriers passed
    bool finished = false;
    Site barrier;
    VectorClock acquired;  // by its threads, before the last barrier
    std::vector<SharedVariable> shared;
};

enum Order { in_order, reversed_order, random_order };

struct LaunchOptions {
    uint64_t seed, budget, dynamic_shared;
    double preemption;
    int32_t order, resident, blocks, threads, checked, initialised, device, first_block;
};

struct Launch {
    void (*entry)(void**);
    void** arguments;
    LaunchOptions options;
    Thread* running = nullptr;
    Context main;
    std::deque<Thread*> ready;
    std::vector<std::unique_ptr<Block>> resident;
    uint64_t random = 1;
    uint64_t switches = 0, accesses = 0;
    uint64_t points = 0;  // scheduling points since a thread last finished
    bool failed = false;
    char message[8192];
    uintptr_t module_begin = 0, module_end = 0;
};

extern Launch launch;
extern StackPool stacks;

uint32_t random_number();

// End the launch with a message, from a running thread (which never goes on) or from the main context.
[[gnu::format(printf, 1, 2)]] void fail(const char* format, ...);

// Text of a place for messages; rotating buffers, so that several can stand in one message.
const char* text_of(const Site& site);
const char* text_of_code(uint64_t code);

// A place where another thread may run: always passes the turn / passes it by chance.
void pass_turn();
void maybe_pass_turn(bool plain = false);

// Run all blocks; true unless the launch failed.
bool run_blocks();

// Knowledge that synchronising passes on (checker.cpp).
void begin_knowledge(Thread& thread);
void meet_at_barrier(Block& block);
void meet_in_warp(std::vector<Thread*>& threads);
