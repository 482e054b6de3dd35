// The device's memory: which addresses belong to which allocation, and what is known about their bytes.
//
// Memory is real where it has been touched only, so that an array may be larger than the machine's memory.
//
// Every allocation lies between pages without access, and the addresses of freed ones are not given out again for
// a long time, so that an access after free can be told from an access to something else.
#pragma once
#include <cstddef>
#include <cstdint>
#include <deque>
#include <map>
#include <memory>

constexpr uint32_t no_block = ~0u;

// One access that a later one may race with.
struct Access {
    uint32_t generation = 0;  // of the region when it was made; others have been forgotten
    uint32_t thread;          // number among those that run
    uint32_t thread_clock, block_clock;
    uint64_t code : 48;  // address of the instruction after it
    uint64_t bytes : 8;  // which bytes of the granule, a bit each
    uint64_t atomic : 1;    // or volatile
    uint64_t relaxed : 1;   // volatile
    uint64_t log2_width : 3;
};

// What the race detector remembers of a granule.
struct Cell {
    Access write, reads[2];
};

struct Region {
    uintptr_t begin, end;
    int64_t number;  // of the array, or -1
    int device;
    const char* shared_name = nullptr;  // of a __shared__ variable
    uint32_t block = no_block;          // whose shared memory it is
    uint32_t granule = 1;               // bytes a cell
    uint32_t generation = 1;
    size_t reach_begin, reach_end;  // the bytes that kernels have been given
    bool writable = true;           // by kernels
    bool checked = false;
    uintptr_t mapping = 0;
    size_t mapped = 0;
    Cell* cells = nullptr;
    bool whole = false;          // whether all bytes are written, but for those whose bit is set
    uint8_t* others = nullptr;   // a bit for each byte

    size_t bytes() const { return end - begin; }
    size_t cell_count() const { return bytes() / granule + 1; }
    void mark(size_t offset, size_t count, bool written);
    void mark_all(bool written);
    bool is_written(size_t offset) const { return (others[offset / 8] >> offset % 8 & 1) != whole; }
    bool is_written(size_t offset, size_t count) const;
    void clear(size_t offset, size_t count);  // to zeros
};

struct Freed {
    uintptr_t begin, end;
    int64_t number;
};

class Memory {
public:
    // Bytes aligned to 256, as cudaMalloc's, filled with 0xCB, large ones with 0; nullptr if there are none left.
    Region* allocate(size_t bytes, uint32_t granule, int device, int64_t number, bool checked);
    void free(Region* region, bool remember);
    Region* find(uintptr_t address);
    const Freed* find_freed(uintptr_t address) const;
    void begin_generation();  // accesses so far are ordered before all that follow
    Region* before(uintptr_t address);  // the nearest that ends at or below the address
    Region* after(uintptr_t address);   // the nearest that begins above it

private:
    void retire();
    std::map<uintptr_t, std::unique_ptr<Region>> regions_;
    Region* latest_ = nullptr;
    struct Retired {
        uintptr_t mapping;
        size_t mapped;
        Freed freed;
    };
    std::map<uintptr_t, Retired> freed_;
    std::deque<uintptr_t> order_of_freeing_;
};

extern Memory memory;
