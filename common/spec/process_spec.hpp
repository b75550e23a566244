#pragma once
// A process to be started in the sandbox: config.json's `process`, or what `exec` is given. Boundary 2 and 4; written
// on the host (oci/), read by the Sentry. Kind: wire::Owned or wire::Viewed.
#include "common/wire/codec.hpp"

namespace kvmsbx::spec {

// Capability sets; bit n is capability n of capability(7).
struct Capabilities {
    uint64_t bounding = 0, effective = 0, inheritable = 0, permitted = 0, ambient = 0;
    KVMSBX_WIRE_FIELDS(bounding, effective, inheritable, permitted, ambient)
};

struct Rlimit {
    uint32_t resource = 0;  // RLIMIT_*
    uint64_t soft = 0, hard = 0;
    KVMSBX_WIRE_FIELDS(resource, soft, hard)
};

// sched_setattr(2) as far as the Sentry has it.
struct Scheduling {
    uint32_t policy = 0;  // SCHED_*
    int32_t nice = 0;
    uint32_t priority = 0;  // 1 to 99 of the real-time policies
    bool reset_on_fork = false;
    KVMSBX_WIRE_FIELDS(policy, nice, priority, reset_on_fork)
};

// struct sock_filter.
struct BpfInstruction {
    uint16_t code = 0;
    uint8_t jump_true = 0, jump_false = 0;
    uint32_t k = 0;
    KVMSBX_WIRE_FIELDS(code, jump_true, jump_false, k)
};

template <typename Kind>
struct ProcessSpec {
    using Text = typename Kind::Text;
    template <typename T>
    using List = typename Kind::template List<T>;

    List<Text> args, env;
    Text cwd;
    uint32_t uid = 0, gid = 0, umask = 022;
    List<uint32_t> groups;
    bool no_new_privileges = false;
    Capabilities capabilities;
    List<Rlimit> rlimits;
    // A terminal with a line discipline of the Sentry's over the first stream; else three byte streams.
    bool terminal = false;
    uint32_t rows = 0, columns = 0;
    // Streams after the standard ones, which become descriptors 3, 4 ... (--preserve-fds).
    uint32_t more_streams = 0;
    int32_t oom_score_adj = 0;
    Scheduling scheduling;
    uint32_t io_priority = 0;      // as ioprio_set(2) takes it; 0: none
    uint64_t first_affinity = 0;   // execCPUAffinity.initial: bit n is vCPU n; 0: all
    uint64_t affinity = 0;         // execCPUAffinity.final
    uint32_t personality = 0;      // personality(2)
    List<BpfInstruction> seccomp;  // over struct seccomp_data; empty: none
    uint32_t seccomp_flags = 0;    // SECCOMP_FILTER_FLAG_*
    KVMSBX_WIRE_FIELDS(args, env, cwd, uid, gid, umask, groups, no_new_privileges, capabilities, rlimits, terminal,
                       rows, columns, more_streams, oom_score_adj, scheduling, io_priority, first_affinity, affinity,
                       personality, seccomp, seccomp_flags)
};

}  // namespace kvmsbx::spec
