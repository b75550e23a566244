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

void Stub::reap(unsigned most) {
    while (Ending::count > most) {
        Stub* stub = &Ending::stubs.front();
        stub->ending_hook_.unlink();
        --Ending::count;
        delete stub;
    }
}

Result<Stub*> Stub::create() {
    auto* stub = new (std::nothrow) Stub;
    if (!stub) reap(0);
    if (!stub) return Errno::kNOMEM;
    stub->orders_ = static_cast<abi::OrderPage*>(allocate_pages(1));
    const int64_t pid = stub->orders_ ? call_host(cpu(), host().create_stub, &cpu(), stub->orders_) : -12;
    if (pid < 0) {
        stub->ended_ = true;
        delete stub;
        if (Ending::count) {  // they count against the host's limits
            reap(0);
            return create();
        }
        return Errno{static_cast<int>(-pid)};
    }
    stub->pid_ = static_cast<int32_t>(pid);
    return stub;
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
    unmap(0, user_end);
    return carry_out();
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
    if (count_ == abi::kMaxOrders) ignore(carry_out(), "an error ends the stub, which the next carry_out() tells");
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
    if (done.is_ok()) return {};
    if (!ended_) debug("stub {}: orders failed with error {}; it ends", pid_, static_cast<int>(done.error()));
    end();
    return done.error();
}

// A new runner waits as if it had trapped, in a frame of ours.
Result<> Stub::create_runner(Runner& runner, CpuArea& area) {
    void* pages = allocate_pages(area_pages());
    if (!pages) return Errno::kNOMEM;
    runner.control = static_cast<abi::RunnerControl*>(pages);
    const uint64_t at = runner_address(area);
    runner.control->state = static_cast<uint32_t>(abi::RunnerState::kTrapped);
    runner.control->context = at + make_first_frame(*runner.control, at);
    if (count_ + 2 > abi::kMaxOrders) TRY(carry_out());
    map(at, virt_to_phys(pages), boot_info().runner_area_size, kProtRead | kProtWrite, false);
    add(kClone, abi::kCloneRunner, 0, 0, at + offsetof(abi::RunnerControl, state), 0, at);
    auto tid = carry_out_orders();
    if (tid.is_error()) {
        // The area may be mapped by now.
        if (!ended_) unmap(at, boot_info().runner_area_size);
        const Errno error = tid.error();
        ignore(carry_out(), "an error ends the stub: the area is not mapped then, either");
        free_pages(pages, area_pages());
        runner = {};
        return error;
    }
    runner.tid = static_cast<int32_t>(tid.value());
    return locate_frame(runner, area);
}

Result<Runner*> Stub::runner(CpuArea& area) {
    Runner& runner = runners_[area.cpu_id];
    if (runner.lost) end();
    if (ended_) return Errno::kSRCH;
    if (!runner.control)
        if (auto made = create_runner(runner, area); made.is_error()) {
            debug("stub {}: no runner: error {}", pid_, static_cast<int>(made.error()));
            end();
            return made.error();
        }
    return &runner;
}

}  // namespace kvmsbx::platform::process
