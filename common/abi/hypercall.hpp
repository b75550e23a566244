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
    // Streams are the descriptors that the host gave: 0, 1 and 2 of the first process, others by control frames
    // (common/control/messages.hpp).
    kConsoleRead =
        5,  // gpa, length, stream: bytes read; 0 = end of file, -EAGAIN = none now (kConsole follows), -EBADF
    kConsoleWrite = 6,   // gpa, length, stream: bytes written; -EAGAIN = cannot now (kConsole follows), -EPIPE, -EBADF
    kNextHostEvent = 7,  // gpa of a HostEvent: fills it; 1 = one event taken, 0 = none
    kGetTime = 8,        // gpa of HostTime: fills it
    kDebugLevel = 9,     // returns bit 0: --debug, bit 1: --strace
    kBackMemory = 12,  // bytes: makes at least that many bytes from ram_gpa usable (KVM's tables for RAM cost start-up
                       // time); returns how many now are, or -ENOMEM
    kConsoleClose = 13,  // stream: closes it; its number may come again. -EBADF
    kControlRead =
        14,  // gpa, length: the next bytes of the control frames for the Sentry; -EAGAIN = none now (kControl
             // follows). Whole frames only become readable
    kControlWrite = 15,  // gpa, length: bytes for the monitor, which gets them as they are; -EAGAIN = the queue is full
                         // (kControl follows), -EPIPE = there is no monitor
};

enum class HostEventType : uint32_t {
    kNone = 0,
    kConsole = 1,  // arg = stream that can be read or written again
    kControl = 2,  // there are control frames to read, or room to write some
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
