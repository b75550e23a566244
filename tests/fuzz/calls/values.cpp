// Arguments: for each kind a pool, mostly of what reaches deep, sometimes of what should not be there.
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/syscall.h>

#include <cstdio>
#include <cstring>

#include "tests/fuzz/calls/calls.hpp"

namespace calls {
namespace {

template <typename T, size_t kSize>
T pick(Random& random, const T (&pool)[kSize]) {
    return pool[random.below(kSize)];
}

constexpr uint64_t kEdges[] = {0,           1,           2,          ~0ULL,      ~1ULL,         0x7fffffff,
                               0x80000000,  0xffffffff,  1ULL << 32, 1ULL << 63, ~0ULL >> 1,    4095,
                               4096,        4097,        65536,      1ULL << 21, (1ULL << 31),  (1ULL << 47) - 4096,
                               1ULL << 62,  -4096ULL,    -22ULL,     255,        256,           1024,
                               0x100000000, 0x123456789, 1000000000, 999999999,  1000000000000, 0xdeadbeef};

uint64_t some_bits(Random& random) {
    uint64_t value = 0;
    for (uint64_t i = 0, count = random.below(4); i < count; i++)
        value |= 1ULL << random.below(one_in(random, 8) ? 64 : 20);
    return value;
}

uint64_t length(Random& random) {
    switch (random.below(8)) {
        case 0: return pick(random, kEdges);
        case 1: return 4096 * random.below(64);
        case 2: return random.below(200000);
        case 3: return 0;
        default: return random.below(300);
    }
}

constexpr int kIoctls[] = {0x5401, 0x5402, 0x5403, 0x5404, 0x5405, 0x5408, 0x5409, 0x540a, 0x540b, 0x540c, 0x540d,
                           0x540e, 0x540f, 0x5410, 0x5411, 0x5412, 0x5413, 0x5414, 0x5415, 0x541b, 0x541d, 0x5420,
                           0x5421, 0x5422, 0x5423, 0x5424, 0x5425, 0x5429, 0x5450, 0x5451, 0x5452, 0x5460, 0x8901,
                           0x8902, 0x8903, 0x8904, 0x8905, 0x8906, 0x8907, 0x8910, 0x8912, 0x8913, 0x8914, 0x8915,
                           0x8919, 0x891b, 0x8921, 0x8927, 0x8933, 0x8942, 0x8970};
constexpr unsigned kLongIoctls[] = {0x80045430, 0x40045431, 0x80045432, 0x80045438, 0x80045439, 0x80045440, 0x5441,
                                    0x80086601, 0x40086602, 0xc020660b, 0x40049409, 0x4020940d, 0x801c581f, 0x00000001,
                                    0x00000002, 0x80081272, 0x1260,     0x8030942f, 0xc0189436, 0x5437,     0x802c542a};

uint64_t ioctl_request(Random& random) {
    if (one_in(random, 12)) return random.next();
    if (one_in(random, 3)) return pick(random, kLongIoctls);
    return pick(random, kIoctls);
}

// Seldom one that ends or stops its receiver whatever it has done.
uint64_t signal_number(Random& random) {
    static constexpr uint64_t kSynchronous =
        1 << 4 | 1 << 5 | 1 << 7 | 1 << 8 | 1 << 9 | 1 << 11 | 1 << 19 | 1ULL << 31;
    if (one_in(random, 20)) return any_number(random);
    const uint64_t number = random.below(66);
    return number < 32 && kSynchronous >> number & 1 && random.below(8) ? 0 : number;
}

uint64_t priority(Random& random) { return random.below(50) - 25; }

uint64_t ipc_id(World& world, Kind kind) {
    Random& random = world.random;
    return one_in(random, 8)   ? pick(random, kEdges)
           : one_in(random, 8) ? random.below(12)
                               : world.ids[(unsigned)kind - (unsigned)Kind::kShmId];
}

uint64_t address(World& world) {
    Random& random = world.random;
    if (one_in(random, 40)) return bad_pointer(random);
    if (one_in(random, 30)) return kPrecious + random.below(kPreciousSize);
    if (one_in(random, 80)) return kArena + 4096 * random.below(0x500);
    if (one_in(random, 10)) return 0;
    return kFree + 4096 * random.below(one_in(random, 4) ? kFreeSize / 4096 : 32) +
           (one_in(random, 12) ? random.below(4096) : 0);
}

uint64_t buffer(World& world) {
    Random& random = world.random;
    if (one_in(random, 12)) return bad_pointer(random);
    const size_t size = one_in(random, 4) ? 8 + random.below(9000) : 256;
    uint8_t* room = take_room(world, size);
    // A word of what might be read: zero, a number, a pointer.
    const uint64_t word = one_in(random, 3) ? random.next() : random.below(40);
    memcpy(room, &word, 8);
    return (uint64_t)room;
}

uint64_t length_pointer(World& world) {
    const uint32_t value = one_in(world.random, 6) ? (uint32_t)pick(world.random, kEdges) : world.random.below(160);
    return place(world, &value, sizeof value);
}

uint64_t strings(World& world) {
    Random& random = world.random;
    static const char* const kWordsOfCommands[] = {"sh",     "true", "cat",       "",   "-c",
                                                   "exit 3", "A=1",  "PATH=/bin", "ls", "--"};
    uint64_t pointers[12];
    const size_t count = random.below(11);
    for (size_t i = 0; i < count; i++) {
        const char* word = pick(random, kWordsOfCommands);
        pointers[i] = one_in(random, 30) ? bad_pointer(random) : place(world, word, strlen(word) + 1);
    }
    pointers[count] = 0;
    return place(world, pointers, 8 * (count + (one_in(random, 40) ? 0 : 1)));
}

uint64_t one_of(World& world, const char* const* texts, size_t count) {
    const char* text = texts[world.random.below(count)];
    return one_in(world.random, 30) ? bad_pointer(world.random) : place(world, text, strlen(text) + 1);
}

template <size_t kCount>
uint64_t one_of(World& world, const char* const (&texts)[kCount]) {
    return one_of(world, texts, kCount);
}

constexpr const char* kNames[] = {"",   "size=64k",    "mode=700", "source", "memfd",
                                  "ro", "nr_inodes=9", "/",        "user",   "uid=0"};
constexpr const char* kQueueNames[] = {"q1", "q2", "q3", "q4", "/q1", "", "."};
constexpr const char* kTypes[] = {"tmpfs",  "tmpfs",   "tmpfs", "proc",     "sysfs", "devpts",
                                  "mqueue", "cgroup2", "9p",    "devtmpfs", "ext4",  ""};
constexpr const char* kAttributeNames[] = {"user.a",
                                           "user.a",
                                           "user.a",
                                           "user.b",
                                           "user.",
                                           "trusted.a",
                                           "security.capability",
                                           "system.posix_acl_access",
                                           "",
                                           "user.a very long name that goes on and on and on and on and on and on and "
                                           "on and on and on and on and on and on and "
                                           "on and on and on and on and on and on and on and on and on and on and on "
                                           "and on and on and on and on and on, past 255"};

uint64_t path_argument(World& world, void (*make)(World&, char*)) {
    if (one_in(world.random, 30)) return bad_pointer(world.random);
    static_assert(kStackSize > 3 * 8192);
    char text[8192];
    make(world, text);
    return place(world, text, strlen(text) + (one_in(world.random, 60) ? 0 : 1));
}

void make_mount_path(World& world, char* text) {
    sprintf(text, one_in(world.random, 20) ? "f%u" : "m%u", (unsigned)world.random.below(3));
}

uint64_t open_flags(Random& random) {
    static constexpr uint64_t kUsual[] = {O_RDONLY,
                                          O_WRONLY,
                                          O_RDWR,
                                          O_RDWR | O_CREAT,
                                          O_RDWR | O_CREAT | O_TRUNC,
                                          O_PATH,
                                          O_DIRECTORY,
                                          O_RDWR | O_APPEND | O_CREAT,
                                          O_TMPFILE | O_RDWR,
                                          O_RDWR | O_DIRECT,
                                          O_RDONLY | O_NOFOLLOW,
                                          O_WRONLY | O_EXCL | O_CREAT};
    return pick(random, kUsual) | (one_in(random, 3) ? 0 : O_NONBLOCK) | (one_in(random, 6) ? some_bits(random) : 0);
}

constexpr int kFcntls[] = {F_DUPFD,  F_GETFD, F_SETFD, F_GETFL, F_SETFL, F_GETLK, F_SETLK, F_SETOWN,
                           F_GETOWN, 10,      11,      15,      16,      17,      36,      37,
                           38,       1024,    1025,    1026,    1030,    1031,    1032,    1033,
                           1034,     1035,    1036,    1037,    1038,    1039,    1040};
constexpr int kPrctls[] = {1,  2,  3,  4,  7,  8,  13, 14, 15, 16, 19, 20, 21, 22, 23,         24,
                           25, 26, 27, 28, 29, 30, 33, 34, 35, 36, 37, 38, 39, 40, 41,         42,
                           43, 44, 45, 47, 50, 53, 54, 62, 65, 66, 67, 68, 69, 70, 0x53564d41, 0x59616d61};
constexpr int kLevels[] = {1, 0, 6, 17, 41, 270, 58, 255};
constexpr int kFamilies[] = {1, 1, 1, 2, 2, 10, 10, 16, 16, 17, 3, 40, 38, 44};
constexpr int kAdvice[] = {0,  1,  2,  3,  4,  8,  9,  10, 11, 12,  13,  14,  15, 16,
                           17, 18, 19, 20, 21, 22, 23, 24, 25, 100, 101, 102, 103};
constexpr int kArchCommands[] = {0x1001, 0x1002, 0x1003, 0x1004, 0x1011, 0x1012, 0x1021,
                                 0x1022, 0x1023, 0x1024, 0x2001, 0x3001, 0x4001, 0x5001};

uint64_t prctl_option(Random& random) { return one_in(random, 20) ? random.below(100) : pick(random, kPrctls); }

uint64_t map_flags(Random& random) {
    uint64_t flags = (random.below(2) ? MAP_PRIVATE : MAP_SHARED) | (random.below(3) ? MAP_FIXED : 0) |
                     (random.below(2) ? MAP_ANONYMOUS : 0);
    if (one_in(random, 6)) flags |= some_bits(random);
    return flags;
}

uint64_t ptrace_request(Random& random) { return one_in(random, 4) ? 0x4200 + random.below(0x12) : random.below(34); }

uint64_t number_of_kind(World& world, Kind kind) {
    Random& random = world.random;
    switch (kind) {
        case Kind::kAny: return any_number(random);
        case Kind::kSmall: return one_in(random, 16) ? any_number(random) : random.below(20);
        case Kind::kLength: return length(random);
        case Kind::kOffset:
            if (one_in(random, 20)) return kPrecious + random.below(kPreciousSize);  // of /proc/1/mem
            return one_in(random, 3) ? any_number(random) : random.below(100000);
        case Kind::kFlags: return one_in(random, 3) ? 0 : one_in(random, 12) ? any_number(random) : some_bits(random);
        case Kind::kMode: return one_in(random, 10) ? random.below(0x20000) : random.below(01000) | 0600;
        case Kind::kOpenFlags: return open_flags(random);
        case Kind::kSignal: return signal_number(random);
        case Kind::kClock: return one_in(random, 4) ? any_number(random) : random.below(12);
        case Kind::kUser:
            return one_in(random, 2)   ? -1ULL
                   : one_in(random, 8) ? any_number(random)
                   : random.below(2)   ? 0
                                       : 1000 + random.below(8);
        case Kind::kIpcKey: return random.below(6) ? 0x5000 + random.below(6) : 0;
        case Kind::kShmId:
        case Kind::kSemId:
        case Kind::kMsgId:
        case Kind::kAioId: return ipc_id(world, kind);
        case Kind::kAccess: return random.below(one_in(random, 20) ? 100 : 8);
        case Kind::kWaitFlags:
            return one_in(random, 8) ? any_number(random)
                                     : 1 | random.below(16) | (one_in(random, 3) ? 0x40000000 << random.below(2) : 0);
        case Kind::kSetSize: return one_in(random, 12) ? any_number(random) : 8;
        case Kind::kHowSize: return one_in(random, 8) ? any_number(random) : 24 + 8 * random.below(9);
        case Kind::kSeccomp: return one_in(random, 12) ? any_number(random) : random.below(4);
        case Kind::kEpollOp: return random.below(5);
        case Kind::kIpcCommand: return one_in(random, 10) ? any_number(random) : random.below(21);
        case Kind::kIoctl: return ioctl_request(random);
        case Kind::kFcntl: return one_in(random, 15) ? any_number(random) : pick(random, kFcntls);
        case Kind::kPrctl: return prctl_option(random);
        case Kind::kFutexOp: return random.below(14) | (random.below(2) ? 128 : 0) | (random.below(4) ? 0 : 256);
        case Kind::kPtrace: return ptrace_request(random);
        case Kind::kProtection: return one_in(random, 10) ? some_bits(random) : random.below(8);
        case Kind::kMapFlags: return map_flags(random);
        case Kind::kAdvice: return pick(random, kAdvice);
        case Kind::kFamily: return one_in(random, 20) ? random.below(50) : pick(random, kFamilies);
        case Kind::kSocketType: return (1 + random.below(one_in(random, 6) ? 12 : 3)) | (random.below(3) ? 04000 : 0);
        case Kind::kLevel: return pick(random, kLevels);
        case Kind::kOption: return random.below(one_in(random, 6) ? 300 : 76);
        case Kind::kResource: return random.below(18);
        case Kind::kRemapFlags: return one_in(random, 10) ? some_bits(random) : random.below(8);
        case Kind::kArchCommand: return pick(random, kArchCommands);
        case Kind::kPriority: return priority(random);
        default: return 0;
    }
}

}  // namespace

bool one_in(Random& random, unsigned count) { return random.below(count) == 0; }

uint64_t any_number(Random& random) {
    switch (random.below(5)) {
        case 0: return random.next();
        case 1: return some_bits(random);
        case 2: return random.below(70);
        default: return pick(random, kEdges);
    }
}

int random_fd(Random& random) {
    if (one_in(random, 25)) return (int)any_number(random);
    return 3 + random.below(kFirstRange + 9 * kRange);
}

// Pid 1 is the supervisor. One worker kind may not harm it; the others have its uid and could.
int random_pid(World& world) {
    Random& random = world.random;
    switch (random.below(12)) {
        case 0: return 0;
        case 1: return world.identity == Identity::kUser && random.below(3) ? 1 : 2 + random.below(40);
        case 2: return one_in(random, 8) ? -1 : -world.pids[0];
        case 3: return 2 + random.below(40000);
        case 4: {
            const int pid = (int)any_number(random);
            return pid == 1 && world.identity != Identity::kUser ? 2 : pid;
        }
        case 5:
        case 6: return (int)call(SYS_gettid);
        case 7: return (int)call(SYS_getpid);
        default: return world.pid_count ? world.pids[random.below(world.pid_count)] : (int)call(SYS_getpid);
    }
}

uint64_t make_value(World& world, Kind kind) {
    Random& random = world.random;
    switch (kind) {
        case Kind::kFd: return random_fd(random);
        case Kind::kDirFd: return one_in(random, 3) ? random_fd(random) : AT_FDCWD;
        case Kind::kPid: return random_pid(world);
        case Kind::kAddress: return address(world);
        case Kind::kBuffer: return buffer(world);
        case Kind::kLengthPointer: return length_pointer(world);
        case Kind::kPath: return path_argument(world, make_path);
        case Kind::kOwnPath: return path_argument(world, make_own_path);
        case Kind::kMountPath: return path_argument(world, make_mount_path);
        case Kind::kName: return one_in(random, 4) ? 0 : one_of(world, kNames);
        case Kind::kAttributeName: return one_of(world, kAttributeNames);
        case Kind::kQueueName: return one_of(world, kQueueNames);
        case Kind::kStrings: return strings(world);
        case Kind::kFileSystem: return one_of(world, kTypes);
        default: break;
    }
    if (kind >= Kind::kSocketFd && kind <= Kind::kPipeFd)
        return one_in(random, 10) ? random_fd(random) : range_of(kind) + random.below(kRange);
    if (kind > Kind::kStrings) return make_structure(world, kind);
    return number_of_kind(world, kind);
}

}  // namespace calls
