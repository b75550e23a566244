#pragma once
// Sentry -> VMM calls. Boundary 2. The Sentry fills CpuArea::hypercall and writes 4 bytes to kDeviceGpa +
// kHypercallOffset; the VMM copies the block in, checks it and writes `result` back. All addresses are guest-physical,
// inside RAM; the VMM copies bytes before it looks at them. No call blocks the vCPU. An answered call has number kNone:
// a vCPU that asks with that wrote its call into another's block, which ends the sandbox.
#include <cstdint>

namespace kvmsbx::abi {

enum class HypercallNumber : uint64_t {
    kNone = 0,
    kLog = 1,    // gpa, length: debug text for the VMM's log (with --debug; --strace lines too)
    kPanic = 2,  // gpa of PanicInfo: prints it, symbolised, and ends the sandbox. Does not return
    kExit = 3,   // code: the container's first process ended with this exit code (128+N for a signal). Does not return
    kReleaseMemory = 4,  // gpa, length (multiples of 4 KiB): contents are given up, next touch reads zeroes
    kConsoleRead = 5,    // gpa, length, stream 0: bytes from the host's stdin; 0 = end of file, -EAGAIN = none now
                         // (kHostEventConsole follows)
    // gpa, length, stream 1 or 2: bytes written, -EAGAIN = cannot now (kHostEventConsole follows), -EPIPE.
    kConsoleWrite = 6,
    kNextHostEvent = 7,  // gpa of a HostEvent: fills it; 1 = one event taken, 0 = none
    kGetTime = 8,        // gpa of HostTime: fills it
    kDebugLevel = 9,     // returns bit 0: --debug, bit 1: --strace
    kBackMemory = 12,  // bytes: makes at least that many bytes from ram_gpa usable (KVM's tables for RAM cost start-up
                       // time); returns how many now are, or -ENOMEM
};

enum class HostEventType : uint32_t {
    kNone = 0,
    kConsole = 1,  // arg = stream that can be read or written again
    // arg = signal number for the container's first process (the foreground group where there is a terminal).
    kSignal = 2,
    kWindowSize = 3,  // arg = rows << 16 | columns
    kCrash = 4,       // debug: the Sentry panics (arg 0) or writes through a null pointer (arg 1)
};

struct HostEvent {
    HostEventType type;
    uint32_t pad;
    uint64_t arg;
    uint64_t id;
};
static_assert(sizeof(HostEvent) == 24);

struct HostTime {
    uint64_t realtime_ns;   // CLOCK_REALTIME
    uint64_t monotonic_ns;  // CLOCK_MONOTONIC
    uint64_t boottime_ns;   // CLOCK_BOOTTIME
};

struct PanicInfo {
    char message[256];       // NUL-terminated
    uint64_t registers[24];  // SentryFault as it stands, or zeroes
    uint64_t backtrace[32];  // return addresses, innermost first, 0 ends
};

}  // namespace kvmsbx::abi
