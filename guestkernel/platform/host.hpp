#pragma once
// What the host does for the Sentry (console, events, log, time, memory, the gofer's doorbell, the end), and what the
// Sentry knows of the machine as a whole (boot information, RAM).
//
// platform/ is what the Sentry needs from a machine: host.hpp, cpu.hpp (a vCPU), user_context.hpp (an application that
// runs or has trapped), address_space.hpp (its memory) and call_post.hpp (its system calls without a trap). kvm/
// implements these headers in a KVM guest, of either privilege mode: by the generated code of the CpuArea, LAPIC
// registers in memory, and unprivileged instructions. process/ implements them in a process of the host, by the VMM's
// functions (common/abi/stub.hpp). test/ is the machine of unit tests. freestanding/ is what kvm/ and process/ share.
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string_view>

#include "common/abi/boot_info.hpp"
#include "common/abi/cpu_area.hpp"
#include "common/abi/hypercall.hpp"
#include "common/abi/layout.hpp"
#include "common/base/result.hpp"

namespace kvmsbx::platform {

using Phys = uint64_t;  // guest-physical address in bytes

inline constexpr size_t kPageSize = abi::kPageSize;
inline constexpr size_t kHugePageSize = abi::kHugePageSize;

const abi::BootInfo& boot_info();

// RAM through the direct map. phys must lie in RAM, the channel or the device page.
void* phys_to_virt(Phys phys);
Phys virt_to_phys(const void* address);

// Applications' memory ends here: the first address that none can map.
extern const uint64_t user_end;

#if __STDC_HOSTED__
uint64_t read_tsc();
#else
inline uint64_t read_tsc() { return __builtin_ia32_rdtsc(); }
#endif

// The host's clocks now.
abi::HostTime host_time();

// The VMM's services. No call blocks. All memory that is passed lies in the direct map, which stacks and heap do.

// Streams of the host by number: 0, 1 and 2 are the first process's stdin, stdout and stderr. A read gives the number of
// bytes, 0 at the end of the file; a write gives how many bytes went out, at least one. EAGAIN: not now, and a HostEvent
// of type kConsole follows. EPIPE: a write to a stream that nobody reads. EBADF: there is no such stream, or it is not
// for that. EIO: other failures.
Result<size_t> console_read(unsigned stream, std::span<std::byte> to);
Result<size_t> console_write(unsigned stream, std::span<const std::byte> bytes);
// What the stream can be used for; neither: there is none.
struct StreamAccess {
    bool readable, writable;
};
StreamAccess console_access(unsigned stream);
// Gives the stream up; its number may come again.
void console_close(unsigned stream);

// Control frames (common/control/messages.hpp): bytes of whole frames from the monitor, and bytes to it. EAGAIN: none,
// or no room; a HostEvent of type kControl follows. EPIPE: there is no monitor.
Result<size_t> control_read(std::span<std::byte> to);
Result<size_t> control_write(std::span<const std::byte> bytes);
bool has_monitor();

// The next event that the VMM has for the Sentry; none: all were taken.
std::optional<abi::HostEvent> next_host_event();

// Makes at least `bytes` from the start of RAM usable; gives how many are. ENOMEM.
Result<uint64_t> back_memory(uint64_t bytes);
// Gives up what is in [phys, phys + length), in bytes, multiples of kPageSize: the next touch finds zeroes.
Result<> release_memory(Phys phys, uint64_t length);

// What the command line asks for.
bool debug_lines_wanted();  // --debug
bool strace_wanted();       // --strace
// A line with its newline, for the VMM's log.
void write_log(std::string_view line);

// Rings the gofer's doorbell.
void ring_gofer();
// Ends the sandbox with this exit code, 0 to 255.
[[noreturn]] void end_sandbox(int code);
// Ends the sandbox after an exception in the Sentry itself. `cpu` is the vCPU that had it.
[[noreturn]] void panic_with_fault(const abi::SentryFault& fault, abi::CpuArea& cpu);

}  // namespace kvmsbx::platform
