#pragma once
// The control protocol. Boundary 4: verbs -> monitor -> sandbox process -> Sentry, and back, over stream sockets.
//
// A frame is a FrameHeader and a body, which is the encoded message. Descriptors (SCM_RIGHTS) come with the first byte
// of their frame: the streams of an Exec. The VMM passes frames through, in both directions, without looking into them;
// but it numbers the streams that it takes, and writes the first number into the header (kConsoleRead and its kin use
// these numbers). Streams 0, 1 and 2 are the first process's, and those behind them its more_streams. A stream is
// polled before it is read or written, so that it may be a blocking one; but a terminal has to be O_NONBLOCK.
//
// Each request is answered by one frame with the request's id: the reply named below, or Failed. An Exec's id names its
// process from then on: in Signal, Resize and Exited. Id 0 is the first process's.
#include "common/spec/process_spec.hpp"
#include "common/spec/sandbox_spec.hpp"

namespace kvmsbx::control {

inline constexpr uint32_t kMagic = 0x3178766b;        // "kvx1": the version is in it
inline constexpr uint32_t kMaxFrame = 2 << 20;        // bytes with the header
inline constexpr uint32_t kMaxStreams = 1024;         // that a sandbox process has at once
inline constexpr uint32_t kMaxFrameDescriptors = 64;  // that one frame brings
inline constexpr uint32_t kNoStream = ~0U;            // first_stream: there was no room, the streams are closed

struct FrameHeader {
    uint32_t magic = kMagic;
    uint32_t size = 0;          // bytes of the frame, the header included
    uint16_t type = 0;          // kType of the message
    uint16_t descriptors = 0;   // that come with it
    uint32_t first_stream = 0;  // written by the VMM; or kNoStream
    uint64_t id = 0;
    KVMSBX_WIRE_FIELDS(magic, size, type, descriptors, first_stream, id)
};
inline constexpr uint32_t kHeaderSize = 24;

#define KVMSBX_CONTROL_MESSAGE(name, number)  \
    static constexpr uint16_t kType = number; \
    static constexpr const char* kName = #name

// ---- the Sentry's

// Sentry -> monitor, id 0: the first process is ready to start (its program is there, everything is mounted). Or
// Failed, and the sandbox ends.
struct Ready {
    KVMSBX_CONTROL_MESSAGE(Ready, 1);
    KVMSBX_WIRE_FIELDS()
};

// -> Done, when the first process runs its program.
struct Start {
    KVMSBX_CONTROL_MESSAGE(Start, 2);
    KVMSBX_WIRE_FIELDS()
};

// A new process beside the first. Its streams come with the frame: one for a terminal, else three; then more_streams.
// -> Started; later Exited.
template <typename Kind>
struct Exec {
    KVMSBX_CONTROL_MESSAGE(Exec, 3);
    spec::ProcessSpec<Kind> process;
    KVMSBX_WIRE_FIELDS(process)
};

// -> Done, also when the process is gone.
struct Signal {
    KVMSBX_CONTROL_MESSAGE(Signal, 4);
    uint64_t target = 0;  // id of an Exec, 0: the first process
    uint32_t number = 0;
    bool all = false;  // to every process of the sandbox
    // A user's, from the keyboard: to the foreground group, where the target has a terminal; and without a handler it
    // ends the first process, too, which other signals than SIGKILL else do not.
    bool foreground = false;
    KVMSBX_WIRE_FIELDS(target, number, all, foreground)
};

// -> Done.
struct Resize {
    KVMSBX_CONTROL_MESSAGE(Resize, 5);
    uint64_t target = 0;
    uint32_t rows = 0, columns = 0;
    KVMSBX_WIRE_FIELDS(target, rows, columns)
};

// -> Processes.
struct Ps {
    KVMSBX_CONTROL_MESSAGE(Ps, 6);
    KVMSBX_WIRE_FIELDS()
};

// -> Usage.
struct Stats {
    KVMSBX_CONTROL_MESSAGE(Stats, 7);
    KVMSBX_WIRE_FIELDS()
};

// -> Done. Fields that are 0 take a limit away.
struct Update {
    KVMSBX_CONTROL_MESSAGE(Update, 8);
    spec::Limits limits;
    KVMSBX_WIRE_FIELDS(limits)
};

// What each task waits for. -> Report.
struct Stacks {
    KVMSBX_CONTROL_MESSAGE(Stacks, 9);
    KVMSBX_WIRE_FIELDS()
};

// For tests of the Sentry's panic: kind 0 panics, 1 writes through a null pointer. No answer.
struct Crash {
    KVMSBX_CONTROL_MESSAGE(Crash, 10);
    uint32_t kind = 0;
    KVMSBX_WIRE_FIELDS(kind)
};

// ---- the monitor's, which the Sentry never sees

// Stops the sandbox's processes, or lets them go on. -> Done.
struct Pause {
    KVMSBX_CONTROL_MESSAGE(Pause, 32);
    KVMSBX_WIRE_FIELDS()
};
struct Resume {
    KVMSBX_CONTROL_MESSAGE(Resume, 33);
    KVMSBX_WIRE_FIELDS()
};

// The host's processes that stand for the container: the monitor and who waits for an Exec. -> HostPids.
struct HostProcesses {
    KVMSBX_CONTROL_MESSAGE(HostProcesses, 34);
    KVMSBX_WIRE_FIELDS()
};

// ---- answers

struct Done {
    KVMSBX_CONTROL_MESSAGE(Done, 64);
    KVMSBX_WIRE_FIELDS()
};

// `text` says what failed and why, for people; `code` is the exit code that goes with it (125, 126 or 127).
template <typename Kind>
struct Failed {
    KVMSBX_CONTROL_MESSAGE(Failed, 65);
    uint32_t code = 125;
    typename Kind::Text text;
    KVMSBX_WIRE_FIELDS(code, text)
};

struct Started {
    KVMSBX_CONTROL_MESSAGE(Started, 66);
    int32_t pid = 0;  // in the sandbox
    KVMSBX_WIRE_FIELDS(pid)
};

// The process of the Exec with this frame's id has ended.
struct Exited {
    KVMSBX_CONTROL_MESSAGE(Exited, 67);
    int32_t status = 0;  // as wait4(2) gives it
    KVMSBX_WIRE_FIELDS(status)
};

template <typename Kind>
struct ProcessEntry {
    int32_t pid = 0, parent = 0;
    uint32_t uid = 0;
    uint32_t threads = 0;
    uint64_t cpu_ns = 0;
    uint64_t resident = 0;         // bytes
    uint64_t started_s = 0;        // CLOCK_REALTIME
    uint8_t state = 0;             // as the third field of proc(5)'s stat
    typename Kind::Text terminal;  // "pts/0", "?"
    typename Kind::Text command;   // arguments, separated by blanks; [comm] without
    KVMSBX_WIRE_FIELDS(pid, parent, uid, threads, cpu_ns, resident, started_s, state, terminal, command)
};

template <typename Kind>
struct Processes {
    KVMSBX_CONTROL_MESSAGE(Processes, 68);
    typename Kind::template List<ProcessEntry<Kind>> entries;
    KVMSBX_WIRE_FIELDS(entries)
};

struct Usage {
    KVMSBX_CONTROL_MESSAGE(Usage, 69);
    uint64_t cpu_user_ns = 0, cpu_system_ns = 0;
    uint64_t cpu_periods = 0, cpu_throttled_periods = 0, cpu_throttled_ns = 0;
    uint64_t memory = 0, memory_peak = 0, memory_limit = 0, memory_cache = 0;  // bytes; limit 0: none
    uint64_t memory_failures = 0, oom_kills = 0;
    uint64_t minor_faults = 0, major_faults = 0;
    uint64_t pids = 0, pids_limit = 0;  // threads
    KVMSBX_WIRE_FIELDS(cpu_user_ns, cpu_system_ns, cpu_periods, cpu_throttled_periods, cpu_throttled_ns, memory,
                       memory_peak, memory_limit, memory_cache, memory_failures, oom_kills, minor_faults, major_faults,
                       pids, pids_limit)
};

template <typename Kind>
struct Report {
    KVMSBX_CONTROL_MESSAGE(Report, 70);
    typename Kind::Text text;
    KVMSBX_WIRE_FIELDS(text)
};

template <typename Kind>
struct HostPids {
    KVMSBX_CONTROL_MESSAGE(HostPids, 96);
    typename Kind::template List<int32_t> pids;
    KVMSBX_WIRE_FIELDS(pids)
};

// kPROTO: shorter than a header, of another version, or sizes that cannot be.
inline Result<FrameHeader> decode_header(std::span<const uint8_t> in) {
    FrameHeader header;
    wire::Decoder decoder(in);
    decoder.get(header);
    if (decoder.bad() || header.magic != kMagic || header.size < kHeaderSize || header.size > kMaxFrame ||
        header.descriptors > kMaxFrameDescriptors)
        return Errno::kPROTO;
    return header;
}

// Writes the whole frame; gives its size, which is larger than `out` where it did not fit. With an empty span it only
// counts.
template <typename M>
size_t encode_frame(std::span<uint8_t> out, uint64_t id, const M& message, uint16_t descriptors = 0) {
    FrameHeader header;
    header.type = M::kType;
    header.id = id;
    header.descriptors = descriptors;
    header.size = static_cast<uint32_t>(kHeaderSize + wire::encoded_size(message));
    wire::Encoder encoder(out);
    encoder.put(header);
    encoder.put(message);
    return encoder.position();
}

}  // namespace kvmsbx::control
