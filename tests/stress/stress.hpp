#pragma once
// A randomized stress of one kernel: workers do operations in random order, each checks its own result. Everything
// random comes from the seed, the worker's number and the count of its operations, so that one operation of a failed
// run can be repeated alone: stress --seed N --worker W --operation K.
#include <cstdint>
#include <cstdio>
#include <cstdlib>

#include "tests/lib/random.hpp"

namespace stress {

using seeded::Random;

struct Operation {
    const char* name;
    void (*run)(Random& random);
    Operation* next = nullptr;
    Operation(const char* its_name, void (*body)(Random&));
};

// Ends the process that found a fault with exit code 99 and one line: the operation, the worker, the place.
[[noreturn]] void fault(const char* file, int line, const char* what);

// FNV-1a; `start` is the sum of what came before.
uint64_t checksum(const void* bytes, size_t size, uint64_t start = 0xcbf29ce484222325);
void fill(void* bytes, size_t size, uint64_t seed);
// The exit code of a forked child; a fault when it does not end by itself.
int exit_code_of(int pid);

}  // namespace stress

#define OPERATION(name)                                                  \
    static void operation_##name(stress::Random& random);                \
    static stress::Operation registered_##name(#name, operation_##name); \
    static void operation_##name(stress::Random& random)
#define EXPECT(condition)                                                \
    do {                                                                 \
        if (!(condition)) stress::fault(__FILE__, __LINE__, #condition); \
    } while (0)
