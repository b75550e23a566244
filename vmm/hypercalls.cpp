#include "vmm/hypercalls.hpp"

#include <time.h>

#include <algorithm>
#include <cstring>

#include "common/abi/cpu_area.hpp"
#include "common/host/exit_code.hpp"

namespace kvmsbx::vmm {
namespace {

using abi::CpuArea;
using abi::HypercallBlock;
using abi::HypercallNumber;

constexpr size_t kMaxTransfer =
    16 * 1024;  // bytes of a stream, of control frames or of the log per call; the Sentry calls again for the rest

int64_t to_result(Errno error) { return -static_cast<int64_t>(error); }

template <typename T>
int64_t to_result(const Result<T>& result) {
    if (result.is_error()) return to_result(result.error());
    if constexpr (std::is_void_v<T>)
        return 0;
    else
        return result.value();
}

Result<int64_t> log_text(SandboxState& state, const HypercallBlock& call) {
    std::array<std::byte, kMaxTransfer> text;
    size_t length = std::min<uint64_t>(call.args[1], text.size());
    TRY(state.memory.copy_in({call.args[0]}, std::span(text).first(length)));
    // SAFETY: bytes as characters.
    if (state.config.debug || state.config.strace) state.log.raw({reinterpret_cast<const char*>(text.data()), length});
    return static_cast<int64_t>(length);
}

// No number that is none becomes one by being cut.
unsigned stream_of(uint64_t argument) { return static_cast<unsigned>(std::min<uint64_t>(argument, Console::kStreams)); }

Result<int64_t> console_read(SandboxState& state, const HypercallBlock& call) {
    std::array<std::byte, kMaxTransfer> bytes;
    size_t length = std::min<uint64_t>(call.args[1], bytes.size());
    // Checked before bytes are taken from the host, which could not be given back.
    TRY(state.memory.copy_in({call.args[0]}, std::span(bytes).first(length)));
    size_t got = TRY(state.console.read(stream_of(call.args[2]), std::span(bytes).first(length)));
    TRY(state.memory.copy_out({call.args[0]}, std::span(bytes).first(got)));
    return static_cast<int64_t>(got);
}

Result<int64_t> console_write(SandboxState& state, const HypercallBlock& call) {
    std::array<std::byte, kMaxTransfer> bytes;
    size_t length = std::min<uint64_t>(call.args[1], bytes.size());
    TRY(state.memory.copy_in({call.args[0]}, std::span(bytes).first(length)));
    return static_cast<int64_t>(TRY(state.console.write(stream_of(call.args[2]), std::span(bytes).first(length))));
}

Result<int64_t> control_read(SandboxState& state, const HypercallBlock& call) {
    const size_t length = std::min<uint64_t>(call.args[1], kMaxTransfer);
    return static_cast<int64_t>(TRY(state.control.read(
        length, [&](std::span<const std::byte> bytes) { return state.memory.copy_out({call.args[0]}, bytes); })));
}

Result<int64_t> control_write(SandboxState& state, const HypercallBlock& call) {
    std::array<std::byte, kMaxTransfer> bytes;
    size_t length = std::min<uint64_t>(call.args[1], bytes.size());
    TRY(state.memory.copy_in({call.args[0]}, std::span(bytes).first(length)));
    return static_cast<int64_t>(TRY(state.control.write(std::span(bytes).first(length))));
}

Result<int64_t> next_host_event(SandboxState& state, const HypercallBlock& call) {
    abi::HostEvent event{};
    TRY(state.memory.copy_out_value({call.args[0]},
                                    event));  // is the address good? An event taken could not be put back
    if (!state.events.pop(event)) return int64_t{0};
    TRY(state.memory.copy_out_value({call.args[0]}, event));
    return int64_t{1};
}

Result<int64_t> get_time(SandboxState& state, const HypercallBlock& call) {
    auto now = [](clockid_t clock) {
        timespec t{};
        clock_gettime(clock, &t);
        return static_cast<uint64_t>(t.tv_sec) * 1'000'000'000 + t.tv_nsec;
    };
    abi::HostTime time{now(CLOCK_REALTIME), now(CLOCK_MONOTONIC), now(CLOCK_BOOTTIME)};
    TRY(state.memory.copy_out_value({call.args[0]}, time));
    return int64_t{0};
}

void panic(SandboxState& state, const HypercallBlock& call) {
    abi::PanicInfo info{};
    bool readable = state.memory.copy_in_value({call.args[0]}, info).is_ok();
    if (!readable) strcpy(info.message, "(the panic's description is not in guest RAM)");
    state.ending.set(host::kExitOwnFailure, [&] { print_panic(state.log, state.sentry, info); });
}

Result<int64_t> answer(SandboxState& state, const HypercallBlock& call) {
    switch (HypercallNumber{call.number}) {
        case HypercallNumber::kLog: return log_text(state, call);
        case HypercallNumber::kReleaseMemory: return to_result(state.memory.release({call.args[0]}, call.args[1]));
        case HypercallNumber::kConsoleRead: return console_read(state, call);
        case HypercallNumber::kConsoleWrite: return console_write(state, call);
        case HypercallNumber::kConsoleClose: return to_result(state.console.close(stream_of(call.args[0])));
        case HypercallNumber::kControlRead: return control_read(state, call);
        case HypercallNumber::kControlWrite: return control_write(state, call);
        case HypercallNumber::kNextHostEvent: return next_host_event(state, call);
        case HypercallNumber::kGetTime: return get_time(state, call);
        case HypercallNumber::kDebugLevel: return int64_t{state.config.debug} | int64_t{state.config.strace} << 1;
        case HypercallNumber::kBackMemory: return static_cast<int64_t>(TRY(state.platform.extend_ram(call.args[0])));
        case HypercallNumber::kNone:
        case HypercallNumber::kPanic:
        case HypercallNumber::kExit: break;
    }
    return Errno::kNOSYS;
}

}  // namespace

void handle_hypercall(SandboxState& state, unsigned cpu) {
    GuestPhys block = state.platform.cpu_area(cpu) + offsetof(CpuArea, hypercall);
    HypercallBlock call{};
    MUST(state.memory.copy_in_value(block, call));  // the VMM's own address: in RAM
    switch (HypercallNumber{call.number}) {
        case HypercallNumber::kPanic: return panic(state, call);
        case HypercallNumber::kExit: return static_cast<void>(state.ending.set(call.args[0] & 0xff));
        case HypercallNumber::kNone:
            state.ending.set(host::kExitOwnFailure, [&] {
                state.log.error("vCPU %u made a hypercall without a number: the Sentry wrote it for another vCPU", cpu);
            });
            return;
        default: break;
    }
    call.result = to_result(answer(state, call));
    call.number = static_cast<uint64_t>(HypercallNumber::kNone);
    MUST(state.memory.copy_out_value(block, call));
}

void print_panic(const host::Log& log, const SentryElf& sentry, abi::PanicInfo info) {
    info.message[sizeof info.message - 1] = 0;
    for (char& c : info.message)
        if (c != 0 && (c < ' ' || c > '~')) c = '?';
    log.error("the Sentry panicked: %s", info.message);
    static constexpr const char* kNames[] = {"r15",   "r14", "r13", "r12", "rbp",    "rbx", "r11", "r10",
                                             "r9",    "r8",  "rax", "rcx", "rdx",    "rsi", "rdi", "vector",
                                             "error", "cr2", "rip", "cs",  "rflags", "rsp", "ss"};
    bool have_registers =
        std::any_of(std::begin(info.registers), std::end(info.registers), [](uint64_t r) { return r != 0; });
    auto hex = [](uint64_t value) { return static_cast<unsigned long long>(value); };
    for (size_t i = 0; have_registers && i < std::size(kNames); i += 4) {
        char line[160];
        int used = 0;
        for (size_t j = i; j < std::min(i + 4, std::size(kNames)); j++)
            used += snprintf(line + used, sizeof line - used, "  %-6s %016llx", kNames[j], hex(info.registers[j]));
        log.error("%s", line);
    }
    if (have_registers)
        log.error("  at %016llx %s", hex(info.registers[18]), symbolise(sentry, info.registers[18]).c_str());
    for (uint64_t address : info.backtrace) {
        if (address == 0) break;
        log.error("  by %016llx %s", hex(address),
                  symbolise(sentry, address - 1).c_str());  // the call before the return address
    }
}

}  // namespace kvmsbx::vmm
