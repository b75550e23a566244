#pragma once
// A fuzzer of the boundary application -> Sentry: workers make random system calls whose arguments come from typed
// pools, run hostile instructions, and race each other. They may die of it; the supervisor (supervisor.cpp) starts
// them again, and checks between rounds that the sandbox is whole. Everything random of a worker's life comes from
// the seed, the round, the worker's number and the number of the life.
//
// A worker uses no thread-local storage and no heap: a call may take either from it at any time.
#include <cstddef>
#include <cstdint>
#include <cstdio>

#include "tests/lib/random.hpp"

namespace calls {

using seeded::Random;

// What an argument is; see values.cpp.
// clang-format off
enum class Kind : uint8_t {
    kNone,
    // numbers
    kAny, kSmall, kLength, kOffset, kFlags, kMode, kAccess, kOpenFlags, kSignal, kClock, kUser, kPid, kIpcKey,
    kShmId, kSemId, kMsgId, kAioId, kIpcCommand, kIoctl, kFcntl, kPrctl, kFutexOp, kPtrace, kProtection, kMapFlags,
    kAdvice, kFamily, kSocketType, kLevel, kOption, kResource, kRemapFlags, kArchCommand, kPriority, kWaitFlags,
    kSetSize, kHowSize, kSeccomp, kEpollOp,
    // descriptors, in the order of the ranges in which descriptors.cpp puts them
    kFd, kDirFd, kSocketFd, kEpollFd, kTimerFd, kSignalFd, kWatchFd, kQueueFd, kPidFd, kMountFd, kPipeFd,
    // addresses
    kAddress, kBuffer, kLengthPointer, kPath, kFileSystem, kOwnPath, kMountPath, kName, kAttributeName, kQueueName,
    kStrings,
    // structures: a pointer to one, or to an array of them
    kWords, kTimespec, kTimer, kSet, kAction, kEvent, kSocketAddress, kMessage, kVectors, kPolls, kEpollEvent,
    kFileLock, kFilter, kCapabilityHeader, kControlBlocks, kSemaphores, kHandle, kOpenHow, kScheduling,
    kCloneArguments, kFutexes, kMountRequest,
};
// clang-format on

struct Call {
    uint16_t number;
    const char* name;
    Kind arguments[6];
};
extern const Call kCalls[];
extern const unsigned kCallCount;

enum class Identity : uint8_t {
    kUser,   // a uid of its own, no capability
    kRoot,   // uid 0 with a container's usual capabilities
    kAdmin,  // uid 0 with all of them but CAP_SYS_RESOURCE
};

// Shared with the supervisor, which believes nothing of it: a worker may write what it likes.
struct Slot {
    uint64_t operations;  // of this life
    uint64_t calls;       // of all lives
    uint64_t succeeded;   // of them
    uint32_t call;
    uint32_t good[512];  // by number: those that succeeded
};
inline constexpr unsigned kMaxWorkers = 16;

struct Life {
    uint64_t seed, round;
    unsigned worker, number;
};

// The arena of a worker, at a fixed address. A work page that is both readable and writable, and what pointers can go
// wrong with.
inline constexpr uint64_t kArena = 0x2'0000'0000, kWork = kArena, kWorkSize = 0x10000, kNoAccess = kArena + kWorkSize,
                          kReadOnly = kArena + 0x20000,  // the work pages again
    kBeyondEnd = kArena + 0x40000,                       // of a file: SIGBUS
    kStacks = kArena + 0x50000, kStackSize = 0x8000, kStackCount = 8, kFree = kArena + 0x100000,
                          kFreeSize = 0x400000;  // for mmap and its kin

// Memory of the supervisor that must stay as it is. Workers have a copy.
inline constexpr uint64_t kPrecious = 0x1'0000'0000;
inline constexpr size_t kPreciousSize = 1 << 20;

// What one thread of a worker has.
struct World {
    Random random;
    Life life;
    Identity identity;
    Slot* slot;
    int32_t pids[8];  // of children and threads
    unsigned pid_count;
    unsigned depth;   // of forks
    bool among_own;   // no paths to what is foreign: not as a link's target, which a root worker might follow
    uint64_t ids[4];  // the latest of shared memory, semaphores, messages, AIO
    uint64_t filled;  // of the work pages, by the present operation
};

// values.cpp: an argument of this kind.
uint64_t make_value(World& world, Kind kind);
uint64_t any_number(Random& random);
int random_fd(Random& random);
int random_pid(World& world);
// A string of a path; `text` has room for 8192 bytes. Own: in the worker's directory, for calls that change names.
void make_path(World& world, char* text);
void make_own_path(World& world, char* text);

// structures.cpp: a pointer to a structure of this kind, perhaps a bad one.
uint64_t make_structure(World& world, Kind kind);
// A pointer to a copy of the bytes: aligned, not, at the end of a page, read-only.
uint64_t place(World& world, const void* bytes, size_t size);
uint64_t bad_pointer(Random& random);
// Room of `size` bytes that no other part of this operation has.
uint8_t* take_room(World& world, size_t size);
bool one_in(Random& random, unsigned count);

// descriptors.cpp: some descriptors of random kinds come. Those of a kind have a range of numbers; others are below.
void open_some(World& world, unsigned count);
inline constexpr unsigned kFirstRange = 64, kRange = 8;
constexpr unsigned range_of(Kind kind) { return kFirstRange + kRange * ((unsigned)kind - (unsigned)Kind::kSocketFd); }

// scenarios.cpp: what one call alone does not reach. Each forks a child where it would end the caller.
void run_scenario(World& world);
// Starts a task by clone with a stack of its own and a world of its own, which `body` ends.
void spawn(World& world, uint64_t flags, void (*body)(World*));

// worker.cpp
extern const char* only_calls;  // their names, with commas; null: all
void run_operations(World& world, unsigned count);
[[noreturn]] void live(const Life& life, Slot* slot, bool alone);

long raw_call(uint64_t number, uint64_t a = 0, uint64_t b = 0, uint64_t c = 0, uint64_t d = 0, uint64_t e = 0,
              uint64_t f = 0);
// As raw_call, for a caller with an address in place of a number.
template <typename... Arguments>
long call(uint64_t number, Arguments... arguments) {
    return raw_call(number, (uint64_t)arguments...);
}

// checks.cpp: the supervisor's view of the sandbox. Each prints a line that starts with FAULT and gives false.
bool remember_sandbox();
bool check_sandbox(bool judge_memory);
void clean_sandbox();
// A file of proc, whatever stands at /proc. Null: errno says why.
FILE* open_proc(const char* name);

}  // namespace calls
