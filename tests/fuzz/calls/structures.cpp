// Structures with content that passes the first checks, and pointers to them: good and bad.
#include <fcntl.h>
#include <linux/aio_abi.h>
#include <linux/capability.h>
#include <linux/filter.h>
#include <linux/netlink.h>
#include <linux/openat2.h>
#include <linux/sched.h>
#include <netinet/in.h>
#include <poll.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/sem.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <time.h>

#include <cstdio>
#include <cstring>

#include "tests/fuzz/calls/calls.hpp"

namespace calls {
namespace {

// A word as some structure might have it.
uint64_t plausible_word(World& world) {
    Random& random = world.random;
    switch (random.below(8)) {
        case 0: return 0;
        case 1: return any_number(random);
        case 2: return (uint64_t)take_room(world, 64);
        case 3: return random_fd(random);
        case 4: return make_value(world, Kind::kFlags);
        case 5: return random.next();
        default: return random.below(64);
    }
}

void fill_words(World& world, void* bytes, size_t size) {
    for (size_t at = 0; at + 8 <= size; at += 8) {
        const uint64_t word = plausible_word(world);
        memcpy((char*)bytes + at, &word, 8);
    }
}

uint64_t words(World& world) {
    uint64_t content[64];
    const size_t size = one_in(world.random, 3) ? sizeof content : 8 * (1 + world.random.below(16));
    if (one_in(world.random, 6)) return 0;
    fill_words(world, content, size);
    return place(world, content, size);
}

// Short, so that few workers sleep for long.
timespec short_time(Random& random) {
    if (one_in(random, 12)) return {(time_t)any_number(random), (long)any_number(random)};
    return {0, (long)random.below(one_in(random, 4) ? 1'100'000'000 : 2'000'000)};
}

uint64_t times(World& world, unsigned count) {
    timespec content[2] = {short_time(world.random), short_time(world.random)};
    return one_in(world.random, 10) ? 0 : place(world, content, count * sizeof content[0]);
}

uint64_t set(World& world) {
    uint64_t content[16];
    for (uint64_t& word : content)
        word = one_in(world.random, 3) ? world.random.next() : make_value(world, Kind::kFlags);
    return one_in(world.random, 6) ? 0 : place(world, content, sizeof content);
}

uint64_t action(World& world) {
    struct {
        uint64_t handler, flags, restorer, mask;
    } content;
    Random& random = world.random;
    // Mostly ignored: what is caught at a random address ends this life.
    content.handler = random.below(10) ? 1 : one_in(random, 2) ? 0 : any_number(random);
    content.flags = random.below(2) ? make_value(world, Kind::kFlags) : SA_RESTART | 0x04000000;
    content.restorer = plausible_word(world);
    content.mask = one_in(random, 4) ? random.next() : 0;
    return place(world, &content, sizeof content);
}

uint64_t event(World& world) {
    uint64_t content[8] = {};
    Random& random = world.random;
    content[0] = plausible_word(world);
    content[1] = random.below(66) | random.below(6) << 32;
    content[2] = random_pid(world);
    return one_in(random, 5) ? 0 : place(world, content, sizeof content);
}

size_t fill_address(World& world, uint8_t* bytes) {
    Random& random = world.random;
    memset(bytes, 0, 128);
    switch (random.below(4)) {
        case 0: {
            auto* address = (sockaddr_in*)bytes;
            *address = {.sin_family = AF_INET,
                        .sin_port = htons(4000 + random.below(6)),
                        .sin_addr = {htonl(one_in(random, 5) ? random.next() : INADDR_LOOPBACK)},
                        .sin_zero = {}};
            return sizeof *address;
        }
        case 1: {
            auto* address = (sockaddr_in6*)bytes;
            address->sin6_family = AF_INET6;
            address->sin6_port = htons(4000 + random.below(6));
            address->sin6_addr.s6_addr[15] = random.below(2);
            return sizeof *address;
        }
        case 2: {
            auto* address = (sockaddr_nl*)bytes;
            *address = {.nl_family = AF_NETLINK,
                        .nl_pad = 0,
                        .nl_pid = (uint32_t)random.below(3),
                        .nl_groups = (uint32_t)make_value(world, Kind::kFlags)};
            return sizeof *address;
        }
        default: {
            auto* address = (sockaddr_un*)bytes;
            address->sun_family = AF_UNIX;
            return 3 + sprintf(address->sun_path + random.below(2), "s%u", (unsigned)random.below(4));
        }
    }
}

uint64_t socket_address(World& world) {
    uint8_t bytes[128];
    const size_t size = fill_address(world, bytes);
    if (one_in(world.random, 15)) bytes[world.random.below(size)] = world.random.next();
    return one_in(world.random, 8) ? 0 : place(world, bytes, sizeof bytes);
}

void fill_vectors(World& world, iovec* vectors, unsigned count) {
    for (unsigned i = 0; i < count; i++) {
        vectors[i].iov_base = (void*)make_value(world, one_in(world.random, 8) ? Kind::kAddress : Kind::kBuffer);
        vectors[i].iov_len = one_in(world.random, 8) ? make_value(world, Kind::kLength) : world.random.below(300);
    }
}

uint64_t vectors(World& world) {
    iovec content[20];
    fill_vectors(world, content, 20);
    return place(world, content, sizeof content);
}

// Descriptors, credentials, or nonsense.
size_t fill_control(World& world, uint8_t* bytes) {
    Random& random = world.random;
    auto* header = (cmsghdr*)bytes;
    const unsigned words = 1 + random.below(4);
    header->cmsg_level = one_in(random, 8) ? (int)random.below(50) : SOL_SOCKET;
    header->cmsg_type = one_in(random, 8) ? (int)random.below(8) : one_in(random, 4) ? SCM_CREDENTIALS : SCM_RIGHTS;
    auto* data = (int*)CMSG_DATA(header);
    for (unsigned i = 0; i < words; i++) data[i] = random_fd(random);
    if (header->cmsg_type == SCM_CREDENTIALS)
        data[0] = random_pid(world), data[1] = make_value(world, Kind::kUser), data[2] = 0;
    header->cmsg_len = one_in(random, 12) ? random.next() : CMSG_LEN(4 * words);
    return CMSG_SPACE(4 * words);
}

uint64_t message(World& world) {
    Random& random = world.random;
    mmsghdr content[4] = {};
    for (mmsghdr& one : content) {
        msghdr& header = one.msg_hdr;
        uint8_t bytes[128];
        iovec pieces[4];
        const size_t size = fill_address(world, bytes);
        if (one_in(random, 3))
            header.msg_name = (void*)place(world, bytes, sizeof bytes),
            header.msg_namelen = one_in(random, 8) ? random.next() : size;
        fill_vectors(world, pieces, 4);
        header.msg_iov = (iovec*)place(world, pieces, sizeof pieces);
        header.msg_iovlen = one_in(random, 20) ? any_number(random) : random.below(5);
        if (random.below(2)) {
            const size_t control = fill_control(world, bytes);
            header.msg_control = (void*)place(world, bytes, control);
            header.msg_controllen = one_in(random, 12) ? any_number(random) : control;
        }
        header.msg_flags = make_value(world, Kind::kFlags);
    }
    return place(world, content, sizeof content);
}

uint64_t polls(World& world) {
    pollfd content[20];
    for (pollfd& one : content) one = {random_fd(world.random), (short)world.random.next(), 0};
    return place(world, content, sizeof content);
}

uint64_t epoll_event_structure(World& world) {
    epoll_event content;
    content.events = one_in(world.random, 4) ? world.random.next() : 1 | make_value(world, Kind::kFlags);
    content.data.u64 = world.random.next();
    return place(world, &content, sizeof content);
}

uint64_t file_lock(World& world) {
    Random& random = world.random;
    if (random.below(2)) return any_number(random);  // most commands of fcntl take a number
    struct flock content = {};
    content.l_type = random.below(4);
    content.l_whence = random.below(4);
    content.l_start = one_in(random, 6) ? any_number(random) : random.below(100);
    content.l_len = one_in(random, 6) ? any_number(random) : random.below(100);
    return place(world, &content, sizeof content);
}

// Programs that allow most calls, so that the worker can go on.
uint64_t filter(World& world) {
    Random& random = world.random;
    sock_filter program[12];
    const unsigned count = 2 + random.below(10);
    for (unsigned i = 0; i < count; i++) {
        static constexpr uint16_t kCodes[] = {0x20, 0x15, 0x25, 0x35, 0x45, 0x05, 0x04, 0x14, 0x24, 0x34, 0x54,
                                              0x64, 0x74, 0x07, 0x87, 0x60, 0x61, 0x02, 0x03, 0x80, 0x16, 0x06};
        program[i] = {one_in(random, 30) ? (uint16_t)random.next() : kCodes[random.below(22)], (uint8_t)random.below(3),
                      (uint8_t)random.below(3), (uint32_t)(4 * random.below(17))};
    }
    program[count - 1] = {0x06, 0, 0, one_in(random, 4) ? (uint32_t)random.next() : 0x7fff0000};
    sock_fprog content = {(unsigned short)count, (sock_filter*)place(world, program, sizeof program[0] * count)};
    return place(world, &content, sizeof content);
}

uint64_t capability_header(World& world) {
    static constexpr uint32_t kVersions[] = {_LINUX_CAPABILITY_VERSION_1, _LINUX_CAPABILITY_VERSION_2,
                                             _LINUX_CAPABILITY_VERSION_3, 0, 7};
    __user_cap_header_struct content = {kVersions[world.random.below(5)],
                                        one_in(world.random, 2) ? 0 : random_pid(world)};
    return place(world, &content, sizeof content);
}

uint64_t control_blocks(World& world) {
    Random& random = world.random;
    uint64_t pointers[20];
    for (uint64_t& pointer : pointers) {
        iocb content = {};
        content.aio_lio_opcode = one_in(random, 10) ? random.below(12) : random.below(9);
        content.aio_fildes = random_fd(random);
        content.aio_buf = make_value(world, Kind::kBuffer);
        content.aio_nbytes = make_value(world, Kind::kLength);
        content.aio_offset = one_in(random, 6) ? any_number(random) : random.below(10000);
        content.aio_flags = random.below(4) ? 0 : random.below(4);
        content.aio_resfd = random_fd(random);
        content.aio_rw_flags = one_in(random, 6) ? random.below(64) : 0;
        pointer = place(world, &content, sizeof content);
    }
    return place(world, pointers, sizeof pointers);
}

uint64_t semaphores(World& world) {
    sembuf content[20];
    for (sembuf& one : content)
        one = {(unsigned short)world.random.below(22), (short)(world.random.below(7) - 3),
               (short)(world.random.below(3)     ? IPC_NOWAIT
                       : one_in(world.random, 2) ? SEM_UNDO
                                                 : 0)};
    return place(world, content, sizeof content);
}

uint64_t handle(World& world) {
    uint32_t content[34];
    for (uint32_t& word : content) word = one_in(world.random, 3) ? world.random.next() : world.random.below(20);
    content[0] = one_in(world.random, 8) ? world.random.next() : world.random.below(129);
    content[1] = world.random.below(4);
    return place(world, content, sizeof content);
}

uint64_t how_to_open(World& world) {
    open_how content[3] = {};
    content[0] = {make_value(world, Kind::kOpenFlags), make_value(world, Kind::kMode), world.random.below(64)};
    if (one_in(world.random, 8)) content[1].flags = world.random.next();
    if (one_in(world.random, 2)) content[0].resolve = 0;
    return place(world, content, sizeof content);
}

// Never the supervisor's priority.
uint64_t scheduling(World& world) {
    Random& random = world.random;
    struct {
        uint32_t size, policy;
        uint64_t flags;
        int32_t nice;
        uint32_t priority;
        uint64_t runtime, deadline, period;
        uint32_t least, most;
    } content = {};
    static_assert(sizeof content == 56);
    content.size = one_in(random, 6) ? (uint32_t)any_number(random) : 56;
    content.policy = random.below(8);
    content.flags = make_value(world, Kind::kFlags);
    content.nice = random.below(50) - 25;
    content.priority = random.below(98);
    if (one_in(random, 4)) fill_words(world, &content.runtime, 24);
    if (random.below(2)) content.size = random.below(98);  // as sched_param
    return place(world, &content, sizeof content);
}

uint64_t clone_arguments(World& world) {
    clone_args content = {};
    Random& random = world.random;
    fill_words(world, &content, sizeof content);
    content.exit_signal = one_in(random, 8) ? any_number(random) : 17;
    content.stack = 0, content.stack_size = 0;
    if (one_in(random, 2)) content.set_tid_size = 0, content.cgroup = 0;
    // Without its own stack the child is a copy; see spawn for what shares memory.
    content.flags = make_value(world, Kind::kFlags) & ~(uint64_t)(CLONE_VM | CLONE_VFORK);
    return place(world, &content, sizeof content);
}

uint64_t mount_request(World& world) {
    struct {
        uint32_t size, spare;
        uint64_t id, parameter;
    } content = {};
    content.size = one_in(world.random, 8) ? any_number(world.random) : 24;
    content.id = one_in(world.random, 2) ? ~0ULL : world.random.below(60) | (world.random.below(2) ? 1ULL << 32 : 0);
    content.parameter = one_in(world.random, 4) ? any_number(world.random) : world.random.below(64);
    return place(world, &content, sizeof content);
}

uint64_t futexes(World& world) {
    struct {
        uint64_t value, address;
        uint32_t flags, reserved;
    } content[20];
    for (auto& one : content) {
        one.value = one_in(world.random, 2) ? 0 : world.random.below(40);
        one.address = make_value(world, Kind::kBuffer) & (one_in(world.random, 8) ? ~0ULL : ~3ULL);
        one.flags = one_in(world.random, 6) ? world.random.next() : 2 | (world.random.below(2) ? 128 : 0);
        one.reserved = one_in(world.random, 20);
    }
    return place(world, content, sizeof content);
}

}  // namespace

uint64_t bad_pointer(Random& random) {
    static constexpr uint64_t kBad[] = {0,
                                        1,
                                        8,
                                        0x1000,
                                        kNoAccess,
                                        kNoAccess - 3,
                                        kReadOnly,
                                        kReadOnly + 0xffc,
                                        kBeyondEnd,
                                        kBeyondEnd - 4,
                                        0x7ffffffff000,
                                        0x7fffffffeff8,
                                        0x7ffffffffff0,
                                        0x800000000000,
                                        0xffff800000000000,
                                        0xffffffff80000000,
                                        0xffffffffffffffff,
                                        0xffffffffffffeff8,
                                        0xfffffffffffff000,
                                        0x8000000000000000,
                                        0xffff880000000000,
                                        0xffffffffff600000};
    return one_in(random, 8) ? random.next() : kBad[random.below(sizeof kBad / sizeof kBad[0])];
}

uint8_t* take_room(World& world, size_t size) {
    size = (size + 15) & ~15UL;
    if (world.filled + size > kWorkSize - 4096) world.filled = 0;  // the work pages are shared anyway
    auto* room = (uint8_t*)(kWork + world.filled);
    world.filled += size;
    return room;
}

uint64_t place(World& world, const void* bytes, size_t size) {
    Random& random = world.random;
    if (one_in(random, 40)) return bad_pointer(random);
    const unsigned way = random.below(10);
    if (way == 0 && size <= 4096) {
        memcpy((void*)(kNoAccess - size), bytes, size);  // the next byte is out of bounds
        return kNoAccess - size + (one_in(random, 3) ? random.below(size + 1) : 0);
    }
    uint8_t* room = take_room(world, size + 16) + (way == 1 ? random.below(16) : 0);
    memcpy(room, bytes, size);
    return (uint64_t)room + (way == 2 ? kReadOnly - kWork : 0);
}

uint64_t make_structure(World& world, Kind kind) {
    switch (kind) {
        case Kind::kWords: return words(world);
        case Kind::kTimespec: return times(world, 1);
        case Kind::kTimer: return times(world, 2);
        case Kind::kSet: return set(world);
        case Kind::kAction: return action(world);
        case Kind::kEvent: return event(world);
        case Kind::kSocketAddress: return socket_address(world);
        case Kind::kMessage: return message(world);
        case Kind::kVectors: return vectors(world);
        case Kind::kPolls: return polls(world);
        case Kind::kEpollEvent: return epoll_event_structure(world);
        case Kind::kFileLock: return file_lock(world);
        case Kind::kFilter: return filter(world);
        case Kind::kCapabilityHeader: return capability_header(world);
        case Kind::kControlBlocks: return control_blocks(world);
        case Kind::kSemaphores: return semaphores(world);
        case Kind::kHandle: return handle(world);
        case Kind::kOpenHow: return how_to_open(world);
        case Kind::kScheduling: return scheduling(world);
        case Kind::kCloneArguments: return clone_arguments(world);
        case Kind::kMountRequest: return mount_request(world);
        case Kind::kFutexes: return futexes(world);
        default: return 0;
    }
}

}  // namespace calls
