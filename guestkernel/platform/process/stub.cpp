#include "guestkernel/platform/process/stub.hpp"

#include <new>

#include "guestkernel/lib/assert.hpp"
#include "guestkernel/lib/format.hpp"
#include "guestkernel/platform/cpu.hpp"
#include "guestkernel/platform/host.hpp"
#include "guestkernel/platform/process/frame.hpp"
#include "guestkernel/platform/process/host_call.hpp"

namespace kvmsbx::platform::process {
namespace {

// System calls of the host, x86-64, and their flags.
constexpr uint64_t kMmap = 9, kMprotect = 10, kMunmap = 11, kClone = 56;
constexpr uint64_t kMapShared = 0x01, kMapFixed = 0x10, kMapPopulate = 0x8000;

// Stubs that were told to end and are not reaped yet: to wait for each would cost its last user the time.
constexpr unsigned kMostEnding = 12;

unsigned area_pages() { return static_cast<unsigned>(boot_info().runner_area_size / kPageSize); }
uint64_t file_offset(Phys phys) { return phys - abi::kRamGpa; }

}  // namespace

struct Ending {
    static inline List<Stub, &Stub::ending_hook_> stubs;  // oldest first
    static inline unsigned count;
};

// True if there was one.
bool Stub::reap(unsigned most) {
    const bool any = Ending::count > most;
    while (Ending::count > most) {
        Stub* stub = &Ending::stubs.front();
        stub->ending_hook_.unlink();
        --Ending::count;
        delete stub;
    }
    return any;
}

Result<Stub*> Stub::try_to_create() {
    auto* stub = new (std::nothrow) Stub;
    if (!stub) return Errno::kNOMEM;
    stub->orders_ = static_cast<abi::OrderPage*>(allocate_pages(1));
    const int64_t pid = stub->orders_ ? call_host(cpu(), host().create_stub, &cpu(), stub->orders_)
                                      : -static_cast<int64_t>(Errno::kNOMEM);
    if (pid < 0) {
        stub->ended_ = true;
        delete stub;
        return Errno{static_cast<int>(-pid)};
    }
    stub->pid_ = static_cast<int32_t>(pid);
    return stub;
}

Result<Stub*> Stub::create() {
    auto made = try_to_create();
    // Ending stubs have memory, and count against the host's limits.
    if (made.is_error() && reap(0)) return try_to_create();
    return made;
}

Stub::~Stub() {
    end();
    for (Runner& runner : runners_)
        if (runner.control) free_pages(runner.control, area_pages());
    if (orders_) free_pages(orders_, 1);
}

void Stub::end() {
    if (!ended_) call_host(cpu(), host().kill_stub, &cpu(), static_cast<uint64_t>(pid_));
    ended_ = true;
}

Result<> Stub::empty() {
    count_ = 0;
    failure_ = {};
    unmap(0, user_end);
    auto done = carry_out();
    if (done.is_error()) end();
    return done;
}

void Stub::give_back(Stub* stub, Content content) {
    if (stub->ended_ || (content == Content::kMapped && stub->empty().is_error())) {
        delete stub;
        return;
    }
    call_host(cpu(), host().end_stub, &cpu(), static_cast<uint64_t>(stub->pid_));
    Ending::stubs.push_back(*stub);
    ++Ending::count;
    reap(kMostEnding);
}

void Stub::add(uint64_t number, uint64_t a0, uint64_t a1, uint64_t a2, uint64_t a3, uint64_t a4, uint64_t a5) {
    if (count_ == abi::kMaxOrders)
        if (auto done = carry_out_orders(); done.is_error()) failure_ = done.error();
    orders_->orders[count_++] = {number, {a0, a1, a2, a3, a4, a5}, 0};
}

void Stub::map(uint64_t address, Phys phys, uint64_t length, unsigned protection, bool populate) {
    add(kMmap, address, length, protection, kMapShared | kMapFixed | (populate ? kMapPopulate : 0), abi::kStubRamFd,
        file_offset(phys));
}
void Stub::unmap(uint64_t address, uint64_t length) { add(kMunmap, address, length, 0, 0, 0, 0); }
void Stub::protect(uint64_t address, uint64_t length, unsigned protection) {
    add(kMprotect, address, length, protection, 0, 0, 0);
}

Result<int64_t> Stub::carry_out_orders() {
    const unsigned count = count_;
    count_ = 0;
    if (ended_) return Errno::kSRCH;
    if (count == 0) return int64_t{0};
    const int64_t result =
        call_host(cpu(), host().order, &cpu(), orders_, static_cast<uint64_t>(count), static_cast<uint64_t>(pid_));
    if (result < 0) return Errno{static_cast<int>(-result)};
    return result;
}

Result<> Stub::carry_out() {
    auto done = carry_out_orders();
    Result<> before = failure_;
    failure_ = {};
    if (before.is_ok() && done.is_ok()) return {};
    const Errno error = before.is_error() ? before.error() : done.error();
    if (!ended_) debug("stub {}: orders failed with error {}", pid_, static_cast<int>(error));
    return error;
}

// A new runner waits as if it had trapped, in a frame of ours.
Result<> Stub::try_to_create_runner(Runner& runner) {
    void* pages = allocate_pages(area_pages());
    if (!pages) return Errno::kNOMEM;
    const uint64_t at = runner_address(runner_count_);
    runner.control = static_cast<abi::RunnerControl*>(pages);
    runner.address = at;
    runner.control->state = static_cast<uint32_t>(abi::RunnerState::kTrapped);
    runner.control->context = at + make_first_frame(*runner.control, at);
    map(at, virt_to_phys(pages), boot_info().runner_area_size, kProtRead | kProtWrite, false);
    if (count_ == abi::kMaxOrders) TRY(carry_out());
    add(kClone, abi::kCloneRunner, 0, 0, at + offsetof(abi::RunnerControl, state), 0, at);
    runner.tid = static_cast<int32_t>(TRY(carry_out_orders()));
    return locate_frame(runner);
}

// An error leaves no runner, and its area unmapped.
Result<> Stub::create_runner() {
    Runner& runner = runners_[runner_count_];
    auto made = try_to_create_runner(runner);
    if (made.is_ok() && failure_.is_ok()) {
        ++runner_count_;
        return {};
    }
    const Errno error = made.is_error() ? made.error() : failure_.error();
    if (!ended_) debug("stub {}: no runner: error {}", pid_, static_cast<int>(error));
    if (!runner.control) return error;
    unmap(runner.address, boot_info().runner_area_size);
    if (made.is_ok() || carry_out_orders().is_error()) end();
    free_pages(runner.control, area_pages());
    runner = {};
    return error;
}

Result<> Stub::make_first_runner() {
    if (ended_) return Errno::kSRCH;
    if (runner_count_) return carry_out();
    auto made = create_runner();
    first_is_free_ = made.is_ok();
    return made;
}

// It is certain what of the rest is mapped, whatever becomes of it.
Result<> Stub::create_further_runner() {
    if (carry_out().is_error()) {
        end();
        return Errno::kSRCH;
    }
    auto made = create_runner();
    if (made.is_error() && !ended_ && reap(0)) return create_runner();
    return made;
}

Result<Runner*> Stub::runner(CpuArea& area) {
    Runner*& runner = of_cpu_[area.cpu_id];
    if (runner && runner->lost) end();
    if (ended_) return Errno::kSRCH;
    if (runner) return runner;
    if (runner_count_ == 0 && make_first_runner().is_error()) end();
    if (!ended_ && !first_is_free_ && create_further_runner().is_error() && !ended_) return Errno::kAGAIN;
    if (ended_) return Errno::kSRCH;
    runner = &runners_[first_is_free_ ? 0 : runner_count_ - 1];
    first_is_free_ = false;
    return runner;
}

uint64_t Stub::cpus() const {
    if (first_is_free_) return ~uint64_t{0};
    uint64_t bits = 0;
    for (unsigned cpu = 0; cpu < abi::kMaxCpus; ++cpu)
        if (of_cpu_[cpu]) bits |= uint64_t{1} << cpu;
    return bits;
}

}  // namespace kvmsbx::platform::process
