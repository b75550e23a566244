// The VMM's pieces that need no KVM: guest memory, page tables, host events, the console, seccomp filters.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <csignal>
#include <cstring>
#include <set>
#include <string>
#include <utility>

#include "common/host/log.hpp"
#include "vmm/console.hpp"
#include "vmm/guest_memory.hpp"
#include "vmm/host_events.hpp"
#include "vmm/kvm/page_tables.hpp"
#include "vmm/seccomp.hpp"

namespace kvmsbx::vmm {
namespace {

constexpr uint64_t kRam = 4 << 20;
const host::Log kSilent(-1, false);

GuestPhys ram(uint64_t offset) { return {abi::kRamGpa + offset}; }

TEST(GuestMemory, CopiesInsideRamOnly) {
    auto memory = GuestMemory::create(kSilent, kRam).release_value();
    uint64_t value = 0x1234, back = 0;
    EXPECT_TRUE(memory.copy_out_value(ram(kRam - 8), value).is_ok());
    EXPECT_TRUE(memory.copy_in_value(ram(kRam - 8), back).is_ok());
    EXPECT_EQ(back, value);
    for (GuestPhys bad : {ram(kRam - 7), ram(kRam), ram(~uint64_t{0} - abi::kRamGpa), GuestPhys{0},
                          GuestPhys{abi::kRamGpa - 8}, GuestPhys{abi::kChannelGpa}, GuestPhys{~uint64_t{0}}}) {
        EXPECT_EQ(memory.copy_in_value(bad, back).error(), Errno::kFAULT) << std::hex << bad.value;
        EXPECT_EQ(memory.copy_out_value(bad, value).error(), Errno::kFAULT) << std::hex << bad.value;
    }
}

TEST(GuestMemory, ReleasedPagesReadZero) {
    auto memory = GuestMemory::create(kSilent, kRam).release_value();
    uint64_t value = 7;
    ASSERT_TRUE(memory.copy_out_value(ram(4096), value).is_ok());
    EXPECT_TRUE(memory.release(ram(4096), 4096).is_ok());
    ASSERT_TRUE(memory.copy_in_value(ram(4096), value).is_ok());
    EXPECT_EQ(value, 0u);
    EXPECT_TRUE(memory.release(ram(0), 0).is_ok());
    EXPECT_TRUE(memory.release(ram(0), kRam).is_ok());
    EXPECT_EQ(memory.release(ram(1), 4096).error(), Errno::kINVAL);
    EXPECT_EQ(memory.release(ram(0), 4095).error(), Errno::kINVAL);
    EXPECT_EQ(memory.release(ram(4096), kRam).error(), Errno::kINVAL);
    EXPECT_EQ(memory.release(ram(4096), ~uint64_t{4095}).error(), Errno::kINVAL);
}

TEST(GuestMemory, OfAFileGivesPagesBackToTheFile) {
    int fd = memfd_create("ram", MFD_CLOEXEC);
    {
        constexpr uint64_t kAddress = 0x1001'0000'0000;
        auto memory = GuestMemory::map_file(kSilent, fd, kAddress, kRam).release_value();
        EXPECT_EQ(memory.host_base(), reinterpret_cast<void*>(kAddress));
        uint64_t value = 7;
        ASSERT_TRUE(memory.copy_out_value(ram(4096), value).is_ok());
        ASSERT_EQ(pread(fd, &value, sizeof value, 4096), 8);
        EXPECT_EQ(value, 7u);
        EXPECT_TRUE(memory.release(ram(4096), 4096).is_ok());
        ASSERT_TRUE(memory.copy_in_value(ram(4096), value).is_ok());
        EXPECT_EQ(value, 0u);
        EXPECT_EQ(memory.release(ram(0), 4095).error(), Errno::kINVAL);
        struct stat status {};
        fstat(fd, &status);
        EXPECT_EQ(status.st_size, static_cast<off_t>(kRam));
        EXPECT_TRUE(GuestMemory::map_file(kSilent, fd, kAddress, kRam).is_error());  // taken
    }
    close(fd);
}

TEST(BootMemory, AlignsAndEnds) {
    auto memory = GuestMemory::create(kSilent, kRam).release_value();
    BootMemory boot(memory);
    EXPECT_EQ(boot.allocate(1).value().value, abi::kRamGpa);
    EXPECT_EQ(boot.allocate(4097, 32768).value().value, abi::kRamGpa + 32768);
    EXPECT_EQ(boot.first_free().value, abi::kRamGpa + 32768 + 8192);
    EXPECT_EQ(boot.allocate(kRam).error(), Errno::kNOMEM);
    EXPECT_EQ(boot.allocate(~uint64_t{0} - 8192).error(), Errno::kNOMEM);
}

// What the CPU would find: address | flags of the leaf, 0 if not present.
uint64_t walk(BootMemory& boot, GuestPhys root, uint64_t address) {
    uint64_t entry = root.value | 1;
    for (int shift = 39; shift >= 12; shift -= 9) {
        entry = boot.as<uint64_t>({entry & 0x000f'ffff'ffff'f000})[address >> shift & 511];
        if (!(entry & 1) || (entry & 0x80)) break;
    }
    return entry & 1 ? entry : 0;
}

TEST(PageTables, MapsPagesAndHugePages) {
    auto memory = GuestMemory::create(kSilent, kRam).release_value();
    BootMemory boot(memory);
    auto tables = PageTableBuilder::create(boot, true).release_value();
    ASSERT_TRUE(tables.map(abi::kGateBase, {0x5000}, 8192, kLeafUser).is_ok());
    ASSERT_TRUE(tables.map_huge(abi::kDirectMap, {0x40000000}, 4 << 20, kLeafWrite | kLeafNoExecute).is_ok());
    EXPECT_EQ(walk(boot, tables.root(), abi::kGateBase), 0x5000u | 1 | 4 | 0x60);
    EXPECT_EQ(walk(boot, tables.root(), abi::kGateBase + 4096), 0x6000u | 1 | 4 | 0x60);
    EXPECT_EQ(walk(boot, tables.root(), abi::kGateBase + 8192), 0u);
    EXPECT_EQ(walk(boot, tables.root(), abi::kDirectMap + (2 << 20)), (0x40200000u | 1 | 2 | 0x80 | 0x60 | 1ULL << 63));
    EXPECT_EQ(tables.map(abi::kGateBase, {0x5000}, 4096, 0).error(), Errno::kEXIST);
    EXPECT_EQ(tables.map(abi::kDirectMap, {0x5000}, 4096, 0).error(), Errno::kEXIST);
}

TEST(HostEvents, TellsEachStreamOnce) {
    HostEvents events;
    abi::HostEvent event{};
    EXPECT_FALSE(events.pop(event));
    events.push_control(), events.push_control();
    for (unsigned stream : {2u, 0u, 2u, 1023u}) events.push_console(stream);
    for (unsigned stream : {0u, 2u, 1023u}) {
        ASSERT_TRUE(events.pop(event));
        EXPECT_EQ(event.type, abi::HostEventType::kConsole);
        EXPECT_EQ(event.arg, stream);
    }
    ASSERT_TRUE(events.pop(event));
    EXPECT_EQ(event.type, abi::HostEventType::kControl);
    EXPECT_FALSE(events.pop(event));
}

struct Pipe {
    int read_end, write_end;
    Pipe() {
        int ends[2];
        if (pipe2(ends, O_CLOEXEC) != 0) abort();
        read_end = ends[0], write_end = ends[1];
    }
    ~Pipe() { close(read_end), close(write_end); }
};

int copy_of(int fd) { return fcntl(fd, F_DUPFD_CLOEXEC, 3); }

std::vector<pollfd> wanted(Console& console) {
    std::vector<pollfd> polled;
    console.prepare_poll(polled);
    return polled;
}

TEST(Console, ReadsWhatIsThereAndArmsOtherwise) {
    Pipe input;
    int wake = eventfd(0, EFD_NONBLOCK);
    const int mine = copy_of(input.read_end);
    Console console(std::array{mine, -1, -1}, wake);
    std::byte bytes[16];
    EXPECT_TRUE(wanted(console).empty());
    EXPECT_EQ(console.read(0, bytes).error(), Errno::kAGAIN);
    auto polled = wanted(console);
    ASSERT_EQ(polled.size(), 1u);
    EXPECT_EQ(polled[0].fd, mine);
    EXPECT_EQ(polled[0].events, POLLIN);
    uint64_t count = 0;
    EXPECT_EQ(read(wake, &count, sizeof count), 8);
    HostEvents events;
    abi::HostEvent event{};
    EXPECT_FALSE(console.take_ready(polled, events));
    polled[0].revents = POLLIN;
    EXPECT_TRUE(console.take_ready(polled, events));
    EXPECT_TRUE(events.pop(event) && event.arg == 0);
    EXPECT_TRUE(wanted(console).empty());
    ASSERT_EQ(write(input.write_end, "ab", 2), 2);
    EXPECT_EQ(console.read(0, bytes).value(), 2u);
    close(input.write_end);
    EXPECT_EQ(console.read(0, bytes).value(), 0u);
    close(wake);
}

TEST(Console, NeverBlocksOnAFullPipe) {
    Pipe output;
    int wake = eventfd(0, EFD_NONBLOCK);
    Console console(std::array{-1, copy_of(output.write_end), -1}, wake);
    std::vector<std::byte> bytes(1 << 20);
    size_t sent = 0;
    Result<size_t> put = console.write(1, bytes);
    for (; put.is_ok(); put = console.write(1, bytes)) {
        EXPECT_GT(*put, 0u);
        sent += *put;
    }
    EXPECT_EQ(put.error(), Errno::kAGAIN);
    EXPECT_GT(sent, 4096u);
    ASSERT_EQ(wanted(console).size(), 1u);
    EXPECT_EQ(wanted(console)[0].events, POLLOUT);
    signal(SIGPIPE, SIG_IGN);
    close(output.read_end);
    EXPECT_EQ(console.write(1, bytes).error(), Errno::kPIPE);
    EXPECT_EQ(console.write(2, bytes).value(), bytes.size());  // closed streams swallow
    close(wake);
}

TEST(Console, NeverBlocksOnAFullSocketOrTerminal) {
    int wake = eventfd(0, EFD_NONBLOCK);
    int ends[2];
    ASSERT_EQ(socketpair(AF_UNIX, SOCK_STREAM, 0, ends), 0);
    int master = posix_openpt(O_RDWR | O_NOCTTY);
    ASSERT_TRUE(master >= 0 && grantpt(master) == 0 && unlockpt(master) == 0);
    int terminal = open(ptsname(master), O_RDWR | O_NOCTTY);
    int again = open_terminal_again(terminal);
    EXPECT_NE(again, terminal);
    EXPECT_EQ(open_terminal_again(ends[0]), ends[0]);
    EXPECT_EQ(fcntl(terminal, F_GETFL) & O_NONBLOCK, 0);
    Console console(std::array{-1, ends[0], again}, wake);
    std::vector<std::byte> bytes(100'000);
    for (unsigned stream : {1, 2}) {
        Result<size_t> put = console.write(stream, bytes);
        for (int i = 0; i < 1000 && put.is_ok(); i++) put = console.write(stream, bytes);
        EXPECT_EQ(put.error(), Errno::kAGAIN);
    }
    for (int fd : {wake, ends[0], ends[1], master, terminal, again}) close(fd);
}

std::vector<host::Fd> some_pipes(unsigned count, const Pipe& pipe) {
    std::vector<host::Fd> fds;
    for (unsigned i = 0; i < count; i++) fds.emplace_back(copy_of(i == 0 ? pipe.read_end : pipe.write_end));
    return fds;
}

TEST(Console, StreamsComeInARowAndGoForBothSides) {
    Pipe pipe;
    int wake = eventfd(0, EFD_NONBLOCK);
    Console console(std::array{-1, -1, -1}, wake);
    EXPECT_EQ(console.add(some_pipes(3, pipe)).value(), 3u);
    EXPECT_EQ(console.add(some_pipes(2, pipe)).value(), 6u);
    std::byte bytes[4]{};
    EXPECT_EQ(console.write(3, bytes).error(), Errno::kBADF);  // a read end
    EXPECT_EQ(console.read(4, bytes).error(), Errno::kBADF);
    EXPECT_EQ(console.read(4, std::span(bytes).first(0)).error(), Errno::kBADF);
    EXPECT_EQ(console.write(4, bytes).value(), 4u);
    EXPECT_EQ(console.read(6, bytes).value(), 4u);
    EXPECT_EQ(console.read(8, bytes).error(), Errno::kBADF);
    EXPECT_EQ(console.read(~0u, bytes).error(), Errno::kBADF);
    EXPECT_TRUE(console.close(4).is_ok());
    EXPECT_EQ(console.close(4).error(), Errno::kBADF);
    EXPECT_EQ(console.write(4, bytes).error(), Errno::kBADF);
    EXPECT_EQ(console.add(some_pipes(2, pipe)).value(), 8u);  // one free number is no row of two
    EXPECT_EQ(console.add(some_pipes(1, pipe)).value(), 4u);
    close(wake);
}

TEST(Console, ClosedStreamsLetTheirReadersSeeTheEnd) {
    Pipe pipe;
    int wake = eventfd(0, EFD_NONBLOCK);
    Console console(std::array{-1, copy_of(pipe.write_end), -1}, wake);
    close(std::exchange(pipe.write_end, -1));
    EXPECT_TRUE(console.close(1).is_ok());
    EXPECT_TRUE(wanted(console).empty());
    char byte;
    EXPECT_EQ(read(pipe.read_end, &byte, 1), 0);
    close(wake);
}

TEST(Console, RefusesMoreStreamsThanTheProcessMayHave) {
    Pipe pipe;
    int wake = eventfd(0, EFD_NONBLOCK);
    rlimit before{};
    getrlimit(RLIMIT_NOFILE, &before);
    const rlimit few{700, before.rlim_max};
    ASSERT_EQ(setrlimit(RLIMIT_NOFILE, &few), 0);
    Console console({}, wake);
    unsigned streams = 0;
    auto added = console.add(some_pipes(10, pipe));
    for (; added.is_ok(); added = console.add(some_pipes(10, pipe))) streams += 10;
    EXPECT_EQ(added.error(), Errno::kMFILE);
    EXPECT_GE(streams, 300u);
    EXPECT_LT(streams, 400u);
    setrlimit(RLIMIT_NOFILE, &before);
    for (unsigned i = 0; i < streams; i++) EXPECT_TRUE(console.close(i).is_ok());
    wanted(console);
    close(wake);
}

int exit_status_under_filter(ThreadKind kind, void (*act)()) {
    pid_t child = fork();
    if (child == 0) {
        if (install_thread_seccomp(kSilent, kind).is_error()) _exit(99);
        act();
        syscall(SYS_exit_group, 0);
    }
    int status = 0;
    waitpid(child, &status, 0);
    return status;
}

constexpr ThreadKind kKinds[] = {ThreadKind::kVcpu, ThreadKind::kMain, ThreadKind::kProcessVcpu,
                                 ThreadKind::kProcessMain};

TEST(Seccomp, KillsWhatIsNotListed) {
    for (ThreadKind kind : kKinds) {
        EXPECT_EQ(exit_status_under_filter(kind, [] {}), 0);
        for (auto act :
             {+[] { syscall(SYS_openat, AT_FDCWD, "/", O_RDONLY); }, +[] { syscall(SYS_socket, 1, 1, 0); },
              +[] { syscall(SYS_execve, "/", nullptr, nullptr); }, +[] { syscall(SYS_clone, SIGCHLD, 0, 0, 0, 0); },
              +[] { syscall(SYS_ptrace, 0, 0, 0, 0); }, +[] { syscall(SYS_ioctl, 0, 0x5401, 0); }}) {
            int status = exit_status_under_filter(kind, act);
            EXPECT_TRUE(WIFSIGNALED(status) && WTERMSIG(status) == SIGSYS) << status;
        }
    }
}

TEST(Seccomp, EveryRuleHasItsReasonAndStandsOnce) {
    for (ThreadKind kind : kKinds) {
        std::set<std::pair<int, uint64_t>> seen;
        for (const SeccompRule& rule : seccomp_rules(kind)) {
            EXPECT_GT(strlen(rule.reason), 4u);
            EXPECT_TRUE(seen.insert({rule.system_call, rule.argument ? rule.argument->value : 0}).second)
                << rule.reason;
        }
    }
}

}  // namespace
}  // namespace kvmsbx::vmm
