// Checks of one access before it is made.
#pragma once
#include <cstdint>

enum class Kind { plain, atomic, relaxed };

// `aligned`: the compiler takes the address for a multiple of the size.
void check_access(uintptr_t address, uint64_t bytes, bool reads, bool writes, Kind kind, bool aligned, void* code);
