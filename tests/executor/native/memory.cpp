#include "memory.h"

#include <sys/mman.h>

#include <cstring>

Memory memory;

static constexpr size_t page = 4 << 10;
static constexpr size_t guard = 1 << 20;
static constexpr size_t remembered = 4096;  // freed allocations whose addresses stay reserved

static constexpr size_t large = 64 << 20;  // not to be touched as a whole

static void* reserve(size_t bytes, int protection) {
    void* memory = mmap(nullptr, bytes, protection, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (memory == MAP_FAILED) return nullptr;
    if (bytes >= large) madvise(memory, bytes, MADV_NOHUGEPAGE);
    return memory;
}

static size_t round_up(size_t bytes, size_t to) { return (bytes + to - 1) / to * to; }

static void set_to_zero(uintptr_t begin, size_t bytes) {
    uintptr_t first = round_up(begin, page), last = (begin + bytes) / page * page;
    if (bytes < large) {
        memset((void*)begin, 0, bytes);
        return;
    }
    memset((void*)begin, 0, first - begin);
    madvise((void*)first, last - first, MADV_DONTNEED);  // what is touched again is zero
    memset((void*)last, 0, begin + bytes - last);
}

Region* Memory::allocate(size_t bytes, uint32_t granule, int device, int64_t number, bool checked) {
    size_t usable = round_up(bytes ? bytes : 1, page);
    auto region = std::make_unique<Region>();
    region->mapped = usable + 2 * guard;
    region->mapping = (uintptr_t)reserve(region->mapped, PROT_NONE);
    if (!region->mapping) return nullptr;
    char* pages = (char*)region->mapping + guard;
    if (mprotect(pages, usable, PROT_READ | PROT_WRITE) != 0) {
        munmap((void*)region->mapping, region->mapped);
        return nullptr;
    }
    if (usable < large) memset(pages, 0xCB, usable);
    // As far up in its pages as alignment allows: running over the end soon meets the page without access.
    region->begin = (uintptr_t)pages + usable - round_up(bytes ? bytes : 1, 256);
    region->end = region->begin + bytes;
    region->reach_begin = 0, region->reach_end = bytes;
    region->granule = granule;
    region->device = device;
    region->number = number;
    region->checked = checked;
    if (checked) {
        region->cells = (Cell*)reserve(region->cell_count() * sizeof(Cell), PROT_READ | PROT_WRITE);
        region->others = (uint8_t*)reserve(bytes / 8 + 1, PROT_READ | PROT_WRITE);
        if (!region->cells || !region->others) {
            munmap((void*)region->mapping, region->mapped);
            if (region->cells) munmap(region->cells, region->cell_count() * sizeof(Cell));
            if (region->others) munmap(region->others, bytes / 8 + 1);
            return nullptr;
        }
    }
    Region* result = region.get();
    regions_[region->begin] = std::move(region);
    return result;
}

void Memory::free(Region* region, bool remember) {
    if (region->cells) munmap(region->cells, region->cell_count() * sizeof(Cell));
    if (region->others) munmap(region->others, region->bytes() / 8 + 1);
    if (remember) {
        // Fresh pages without access: the memory is given back, the addresses are not.
        mmap((void*)region->mapping, region->mapped, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED, -1, 0);
        freed_[region->begin] = {region->mapping, region->mapped, {region->begin, region->end, region->number}};
        order_of_freeing_.push_back(region->begin);
        if (order_of_freeing_.size() > remembered) retire();
    } else {
        munmap((void*)region->mapping, region->mapped);
    }
    latest_ = nullptr;
    regions_.erase(region->begin);
}

void Memory::retire() {
    auto oldest = freed_.find(order_of_freeing_.front());
    order_of_freeing_.pop_front();
    munmap((void*)oldest->second.mapping, oldest->second.mapped);
    freed_.erase(oldest);
}

void Memory::begin_generation() {
    for (auto& entry : regions_) entry.second->generation++;
}

Region* Memory::find(uintptr_t address) {
    if (latest_ && address >= latest_->begin && address < latest_->end) return latest_;
    Region* region = before(address);
    if (!region || address >= region->end) return nullptr;
    latest_ = region;
    return region;
}

Region* Memory::before(uintptr_t address) {
    auto next = regions_.upper_bound(address);
    return next == regions_.begin() ? nullptr : std::prev(next)->second.get();
}

Region* Memory::after(uintptr_t address) {
    auto next = regions_.upper_bound(address);
    return next == regions_.end() ? nullptr : next->second.get();
}

const Freed* Memory::find_freed(uintptr_t address) const {
    auto next = freed_.upper_bound(address);
    if (next == freed_.begin()) return nullptr;
    const Freed& freed = std::prev(next)->second.freed;
    return address < freed.end ? &freed : nullptr;
}

void Region::mark(size_t offset, size_t count, bool written) {
    if (count == bytes()) return mark_all(written);
    bool other = written != whole;
    auto mark_one = [&](size_t byte) { others[byte / 8] = (others[byte / 8] & ~(1 << byte % 8)) | other << byte % 8; };
    size_t end = offset + count;
    for (; offset < end && offset % 8; offset++) mark_one(offset);
    if (offset + 8 <= end) {
        memset(others + offset / 8, other ? 0xFF : 0, (end - offset) / 8);
        offset += (end - offset) / 8 * 8;
    }
    for (; offset < end; offset++) mark_one(offset);
}

void Region::mark_all(bool written) {
    set_to_zero((uintptr_t)others, bytes() / 8 + 1);
    whole = written;
}

bool Region::is_written(size_t offset, size_t count) const {
    for (size_t end = offset + count; offset < end; offset++)
        if (!is_written(offset)) return false;
    return true;
}

void Region::clear(size_t offset, size_t count) { set_to_zero(begin + offset, count); }
