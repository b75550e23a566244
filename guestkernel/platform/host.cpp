// The VMM's services as functions with types. All platforms have them in common; they differ in hypercall().
#include "guestkernel/platform/host.hpp"

#include <algorithm>

#include "guestkernel/lib/assert.hpp"
#include "guestkernel/platform/hypercall.hpp"

namespace kvmsbx::platform {
namespace {

using abi::HypercallNumber;

constexpr uint64_t kDebugBit = 1, kStraceBit = 2;  // of kDebugLevel's result

Errno error_of(int64_t result) { return Errno{static_cast<int>(-result)}; }

uint64_t debug_level() { return static_cast<uint64_t>(hypercall(HypercallNumber::kDebugLevel)); }

}  // namespace

abi::HostTime host_time() {
    abi::HostTime time{};
    VERIFY(hypercall(HypercallNumber::kGetTime, virt_to_phys(&time)) >= 0);
    return time;
}

Result<size_t> console_read(unsigned stream, std::span<std::byte> to) {
    const int64_t got = hypercall(HypercallNumber::kConsoleRead, virt_to_phys(to.data()), to.size(), stream);
    if (got < 0) return error_of(got);
    if (static_cast<size_t>(got) > to.size()) return Errno::kIO;
    return static_cast<size_t>(got);
}

Result<size_t> console_write(unsigned stream, std::span<const std::byte> bytes) {
    const int64_t sent = hypercall(HypercallNumber::kConsoleWrite, virt_to_phys(bytes.data()), bytes.size(), stream);
    if (sent < 0) return error_of(sent);
    if (sent == 0) return Errno::kIO;
    return std::min(static_cast<size_t>(sent), bytes.size());
}

StreamAccess console_access(unsigned stream) {
    std::byte nothing{};
    const uint64_t at = virt_to_phys(&nothing);
    return {hypercall(HypercallNumber::kConsoleRead, at, 0, stream) >= 0,
            hypercall(HypercallNumber::kConsoleWrite, at, 0, stream) >= 0};
}

void console_close(unsigned stream) { hypercall(HypercallNumber::kConsoleClose, stream); }

Result<size_t> control_read(std::span<std::byte> to) {
    const int64_t got = hypercall(HypercallNumber::kControlRead, virt_to_phys(to.data()), to.size());
    if (got < 0) return error_of(got);
    if (got == 0 || static_cast<size_t>(got) > to.size()) return Errno::kIO;
    return static_cast<size_t>(got);
}

Result<size_t> control_write(std::span<const std::byte> bytes) {
    const int64_t sent = hypercall(HypercallNumber::kControlWrite, virt_to_phys(bytes.data()), bytes.size());
    if (sent < 0) return error_of(sent);
    if (sent == 0) return Errno::kIO;
    return std::min(static_cast<size_t>(sent), bytes.size());
}

bool has_monitor() {
    std::byte nothing{};
    return hypercall(HypercallNumber::kControlWrite, virt_to_phys(&nothing), 0) >= 0;
}

std::optional<abi::HostEvent> next_host_event() {
    abi::HostEvent event{};
    if (hypercall(HypercallNumber::kNextHostEvent, virt_to_phys(&event)) != 1) return std::nullopt;
    return event;
}

Result<uint64_t> back_memory(uint64_t bytes) {
    const int64_t backed = hypercall(HypercallNumber::kBackMemory, bytes);
    if (backed < 0) return error_of(backed);
    return static_cast<uint64_t>(backed);
}

Result<> release_memory(Phys phys, uint64_t length) {
    const int64_t result = hypercall(HypercallNumber::kReleaseMemory, phys, length);
    if (result != 0) return error_of(result);
    return {};
}

bool debug_lines_wanted() { return debug_level() & kDebugBit; }
bool strace_wanted() { return debug_level() & kStraceBit; }

void write_log(std::string_view line) { hypercall(HypercallNumber::kLog, virt_to_phys(line.data()), line.size()); }

void end_sandbox(int code) {
    for (;;) hypercall(HypercallNumber::kExit, static_cast<uint64_t>(code));
}

}  // namespace kvmsbx::platform
