// Address spaces on the process platform when the host refuses: whatever order fails, the caller gets an error that Linux knows or its stub
// ends, no other process notices, and nothing is lost. The host is a model of stubs' mappings.
#include <cerrno>
#include <map>
#include <optional>

#include "guestkernel/platform/process/mirror.hpp"
#include "tests/unit/sentry_mm.hpp"

namespace kvmsbx {
namespace {

using platform::kPageSize;

constexpr uint64_t kMmap = 9, kMprotect = 10, kMunmap = 11, kClone = 56;

struct Mapping {
    platform::Phys phys;
    bool writable;
};

struct HostStub {
    bool alive = true;
    std::map<uint64_t, Mapping> pages;
    unsigned runners = 0;

    unsigned mappings() const {
        unsigned count = 0;
        const std::pair<const uint64_t, Mapping>* before = nullptr;
        for (const auto& page : pages) {
            count += !before || before->first + kPageSize != page.first ||
                     before->second.phys + kPageSize != page.second.phys ||
                     before->second.writable != page.second.writable;
            before = &page;
        }
        return count;
    }
};

// The host: stubs by PID, and which of its calls fail.
struct Host {
    enum class Fault { kNone, kRefuses, kRefusesFromNowOn, kKillsTheStub };
    std::map<int32_t, HostStub> stubs;
    int32_t last_pid = 100;
    Fault fault = Fault::kNone;
    unsigned failing = 0, calls = 0;  // the call whose number is `failing` fails
    unsigned most_mappings = 65'530;
    bool refuses_threads = false;
    unsigned seen_mappings = 0;  // the most that a stub had

    bool fails() {
        ++calls;
        return calls == failing || (fault == Fault::kRefusesFromNowOn && failing && calls > failing);
    }

    int64_t carry_out(HostStub& stub, const abi::Order& order) {
        const uint64_t at = order.arguments[0], end = at + order.arguments[1];
        switch (order.number) {
            case kMmap:
                if (stub.mappings() >= most_mappings) return -ENOMEM;
                for (uint64_t page = at; page < end; page += kPageSize)
                    stub.pages[page] = {order.arguments[5] + abi::kRamGpa + (page - at), (order.arguments[2] & 2) != 0};
                seen_mappings = std::max(seen_mappings, stub.mappings());
                return 0;
            case kMprotect:
                for (uint64_t page = at; page < end; page += kPageSize) {
                    if (!stub.pages.count(page)) return -ENOMEM;
                    stub.pages[page].writable = (order.arguments[2] & 2) != 0;
                }
                return 0;
            case kMunmap: stub.pages.erase(stub.pages.lower_bound(at), stub.pages.lower_bound(end)); return 0;
            case kClone: return refuses_threads ? int64_t{-EAGAIN} : int64_t{1000} + ++stub.runners;
        }
        ADD_FAILURE() << "order " << order.number;
        return -EINVAL;
    }

    int64_t order(const abi::OrderPage& page, uint32_t count, int32_t pid) {
        HostStub& stub = stubs.at(pid);
        int64_t result = 0;
        for (uint32_t i = 0; i < count; ++i) {
            if (!stub.alive) return -ESRCH;
            const abi::Order& order = page.orders[i];
            // What unmaps all needs no memory of the host.
            const bool needs_nothing = order.number == kMunmap && fault != Fault::kKillsTheStub;
            if (!needs_nothing && fails()) {
                if (fault == Fault::kKillsTheStub) return end(pid), -ESRCH;
                return order.number == kClone ? -EAGAIN : -ENOMEM;
            }
            if (const int64_t done = carry_out(stub, order); done < 0)
                return done;
            else if (done > 0)
                result = done;
        }
        return result;
    }
    void end(int32_t pid) {
        stubs.at(pid).alive = false;
        stubs.at(pid).pages.clear();
    }
} host;

int64_t order(abi::CpuArea*, abi::OrderPage* page, uint32_t count, int32_t pid) {
    return host.order(*page, count, pid);
}
int64_t create_stub(abi::CpuArea*, abi::OrderPage*) {
    if (host.fails()) return -EAGAIN;
    host.stubs[++host.last_pid] = {};
    return host.last_pid;
}
void end_stub(abi::CpuArea*, int32_t pid) { host.end(pid); }
void kill_stub(abi::CpuArea*, int32_t pid) { ASSERT_EQ(host.stubs.erase(pid), 1U) << "killed twice"; }

constexpr abi::ProcessHost kCalls{nullptr, nullptr, nullptr,     nullptr, nullptr,  nullptr,
                                  nullptr, order,   create_stub, nullptr, end_stub, kill_stub};

int32_t loaded_pid;

}  // namespace

namespace platform {

extern "C" int64_t call_on_host_stack(uint64_t function, uint64_t, uint64_t a0, uint64_t a1, uint64_t a2, uint64_t a3) {
    // SAFETY: as call_host() gives them.
    return reinterpret_cast<int64_t (*)(uint64_t, uint64_t, uint64_t, uint64_t)>(function)(a0, a1, a2, a3);
}

// The platform's own ends here: the rest of it is the host's registers.
Result<> UserSpace::load(CpuArea& area) {
    loaded_pid = mirror_->pid();
    TRY(mirror_->runner(area));
    return {};
}

}  // namespace platform

namespace {

using mm::AddressSpace;
using Space = RefPtr<AddressSpace>;

constexpr mm::UserAddress kAt = 0x1000'0000;

platform::CpuArea& vcpu(unsigned id) {
    static platform::CpuArea areas[2];
    areas[id].cpu_id = id;
    return areas[id];
}

class Processes {
  public:
    enum class Outcome { kDone, kRefused, kKilled };

    Outcome make(Space& space) {
        auto made = AddressSpace::create();
        if (made.is_error()) return refused(made.error());
        space = made.release_value();
        mm::map_anonymous(*space, 64 * kPageSize, mm::kMapPrivate, kAt);
        space->tell_platform_of_all(AddressSpace::Tell::kAll);
        if (auto ready = space->user_space().get_ready(); ready.is_error()) {
            space = {};
            return refused(ready.error());
        }
        return Outcome::kDone;
    }

    Outcome fork(AddressSpace& parent, Space& child) {
        auto made = parent.fork();
        if (made.is_error()) return refused(made.error());
        child = made.release_value();
        return Outcome::kDone;
    }

    // The application reads or writes a page, and faults until it has it.
    Outcome touch(Space& space, unsigned page, mm::Access access) {
        const mm::UserAddress at = kAt + page * kPageSize;
        for (int attempt = 0; attempt < 6; ++attempt) {
            if (space->user_space().load(vcpu(0)).is_error()) return Outcome::kKilled;
            const HostStub& stub = host.stubs.at(loaded_pid);
            if (!stub.alive) return Outcome::kKilled;  // kTrapGone
            const auto found = stub.pages.find(at);
            if (found != stub.pages.end() && (found->second.writable || access == mm::Access::kRead)) {
                check(*space, stub);
                return Outcome::kDone;
            }
            EXPECT_TRUE(space->fault(at, access, AddressSpace::Flush::kLater).is_ok());
            space->tell_platform(at);
        }
        ADD_FAILURE() << "the application faults for ever at page " << page;
        return Outcome::kKilled;
    }

    Outcome write_some(Space& space, unsigned first) {
        for (unsigned page = first; page < 32; page += 3)
            if (auto done = touch(space, page, mm::Access::kWrite); done != Outcome::kDone) return done;
        return touch(space, first + 1, mm::Access::kRead);
    }

  private:
    static Outcome refused(Errno error) {
        EXPECT_TRUE(error == Errno::kNOMEM || error == Errno::kAGAIN) << static_cast<int>(error);
        return Outcome::kRefused;
    }
    // What the stub has mapped is what the page table gives.
    static void check(AddressSpace& space, const HostStub& stub) {
        for (const auto& [address, mapping] : stub.pages) {
            if (address >= platform::boot_info().stub_base) continue;
            char* there = space.translate(address, mapping.writable ? mm::Access::kWrite : mm::Access::kRead);
            ASSERT_NE(there, nullptr) << std::hex << address;
            ASSERT_EQ(platform::virt_to_phys(there), mapping.phys) << std::hex << address;
        }
    }
};

using Outcome = Processes::Outcome;

// A process that forks, writes, unmaps and protects; its child does, too, and executes a program. How many were killed.
unsigned live(Processes& processes) {
    Space parent, child, program;
    unsigned killed = 0;
    const auto note = [&](Outcome outcome, Space& space) {
        if (outcome != Outcome::kKilled) return;
        ++killed;
        space = {};
    };
    if (processes.make(parent) != Outcome::kDone) return 0;
    note(processes.write_some(parent, 0), parent);
    if (parent) (void)processes.fork(*parent, child);
    if (child) note(processes.write_some(child, 0), child);
    if (parent) note(processes.write_some(parent, 1), parent);
    for (Space* space : {&parent, &child}) {
        if (!*space) continue;
        EXPECT_TRUE((*space)->unmap(kAt + 3 * kPageSize, 2 * kPageSize).is_ok());
        EXPECT_TRUE((*space)->protect(kAt + 8 * kPageSize, 4 * kPageSize, mm::kProtRead).is_ok());
        note(processes.touch(*space, 9, mm::Access::kRead), *space);
        if (*space) note(processes.touch(*space, 40, mm::Access::kWrite), *space);
    }
    if (child && processes.make(program) == Outcome::kDone) {
        child = program;
        program = {};
        note(processes.write_some(child, 2), child);
    }
    if (parent) note(processes.write_some(parent, 12), parent);
    return killed;
}

// Stubs that were only told to end go when the host has none left.
void reap() {
    host.fault = Host::Fault::kRefusesFromNowOn;
    host.failing = 1, host.calls = 1;
    EXPECT_EQ(AddressSpace::create().error(), Errno::kAGAIN);
    host.fault = Host::Fault::kNone, host.failing = 0;
}

void in_sandbox(std::function<void(Processes&)> body) {
    mm::in_sentry([&] {
        // SAFETY: the test machine's own object, which is not const.
        auto& info = const_cast<abi::BootInfo&>(platform::boot_info());
        info.process_host = &kCalls;
        info.stub_base = abi::kProcessUserEnd;
        info.stub_mappings = 60'000;
        info.runner_area_size = abi::kRunnerStride;
        info.frame_xstate_size = info.fpu_area_size;
        host = {};
        Processes processes;
        EXPECT_EQ(live(processes), 0U);  // what is made once and kept
        reap();
        const uint64_t before = mm::free_memory();
        body(processes);
        reap();
        EXPECT_TRUE(host.stubs.empty());
        EXPECT_FALSE(platform::holds_frames);
        EXPECT_EQ(mm::free_memory(), before);
    });
}

// The N-th call of the host fails, for every N that there is. `most`: processes that may be killed for it.
void fail_each_call(Host::Fault fault, unsigned most) {
    in_sandbox([&](Processes& processes) {
        const uint64_t before = mm::free_memory();
        unsigned number = 0;
        do {
            SCOPED_TRACE("call " + std::to_string(++number));
            host.fault = fault;
            host.failing = number, host.calls = 0;
            const unsigned killed = live(processes);
            EXPECT_LE(killed, most);
            const bool met = host.calls >= number;
            reap();
            EXPECT_TRUE(host.stubs.empty());
            EXPECT_FALSE(platform::holds_frames);
            EXPECT_EQ(mm::free_memory(), before);
            if (!met) break;
        } while (!testing::Test::HasFailure());
        EXPECT_GT(number, 25U);  // the scenario calls the host so often
    });
}

TEST(StubFaults, ACallThatIsRefusedOnceKillsNobody) { fail_each_call(Host::Fault::kRefuses, 0); }
TEST(StubFaults, AHostThatRefusesAllFromSomeMomentOnLeavesNothingBehind) {
    fail_each_call(Host::Fault::kRefusesFromNowOn, 2);
}
TEST(StubFaults, AKilledStubKillsOneProcess) { fail_each_call(Host::Fault::kKillsTheStub, 1); }

TEST(StubFaults, ForkGivesEagainWithoutThreadsOfTheHost) {
    in_sandbox([](Processes& processes) {
        Space parent, child;
        ASSERT_EQ(processes.make(parent), Outcome::kDone);
        ASSERT_EQ(processes.write_some(parent, 0), Outcome::kDone);
        host.refuses_threads = true;
        EXPECT_EQ(parent->fork().error(), Errno::kAGAIN);
        EXPECT_EQ(processes.make(child), Outcome::kRefused);
        EXPECT_EQ(processes.write_some(parent, 1), Outcome::kDone);
        host.refuses_threads = false;
        EXPECT_EQ(processes.fork(*parent, child), Outcome::kDone);
        EXPECT_EQ(processes.write_some(child, 1), Outcome::kDone);
    });
}

TEST(StubFaults, AVcpuWithoutAThreadOfTheHostNamesThoseThatHaveOne) {
    in_sandbox([](Processes& processes) {
        Space space;
        ASSERT_EQ(processes.make(space), Outcome::kDone);
        platform::UserSpace& user = space->user_space();
        EXPECT_EQ(user.usable_cpus(), ~uint64_t{0});  // the first that comes
        EXPECT_TRUE(user.load(vcpu(1)).is_ok());
        EXPECT_EQ(user.usable_cpus(), 2U);
        host.refuses_threads = true;
        EXPECT_EQ(user.load(vcpu(0)).error(), Errno::kAGAIN);
        EXPECT_EQ(user.usable_cpus(), 2U);
        EXPECT_TRUE(user.load(vcpu(1)).is_ok());
        host.refuses_threads = false;
        EXPECT_TRUE(user.load(vcpu(0)).is_ok());
        EXPECT_EQ(user.usable_cpus(), 3U);
        EXPECT_EQ(host.stubs.at(loaded_pid).runners, 2U);
    });
}

// Each page is another mapping of the host.
void touch_scattered_pages(Processes& processes) {
    Space space;
    ASSERT_EQ(processes.make(space), Outcome::kDone);
    constexpr unsigned kFirst = 1024, kEnd = kFirst + 128;
    for (unsigned page = kFirst; page < kEnd; page += 2)
        mm::map_anonymous(*space, kPageSize, mm::kMapPrivate, kAt + page * kPageSize);
    for (int round = 0; round < 3; ++round)
        for (unsigned page = kFirst; page < kEnd; page += 2)
            ASSERT_EQ(processes.touch(space, page, mm::Access::kWrite), Outcome::kDone);
}

TEST(StubFaults, MappingsStayBelowTheHostsLimit) {
    in_sandbox([](Processes& processes) {
        const_cast<abi::BootInfo&>(platform::boot_info()).stub_mappings = 20;
        host.seen_mappings = 0;
        touch_scattered_pages(processes);
        EXPECT_GT(host.seen_mappings, 10U);
        EXPECT_LE(host.seen_mappings, 21U);  // with the runner's area
    });
}

TEST(StubFaults, AHostWithFewerMappingsThanItSaidIsEnough) {
    in_sandbox([](Processes& processes) {
        host.most_mappings = 20;
        host.seen_mappings = 0;
        touch_scattered_pages(processes);
        EXPECT_EQ(host.seen_mappings, 20U);
    });
}

}  // namespace
}  // namespace kvmsbx
