#pragma once
// What a sandbox is: the parts of config.json that the Sentry applies. Boundary 2; written on the host (oci/), read by
// the Sentry at its start. Kind: wire::Owned or wire::Viewed.
#include "common/spec/process_spec.hpp"

namespace kvmsbx::spec {

inline constexpr uint32_t kSandboxSpecVersion = 1;

// Flags are mount(2)'s MS_*. For type "9p" the source is the aname for Tattach: "" for the root, the index in
// config.json's mounts (decimal) for a bind mount. The first mount is the root.
template <typename Kind>
struct Mount {
    typename Kind::Text type, source, destination, data;
    uint64_t flags = 0;
    bool shared_access = false;       // 9p: what the host changes is seen (--file-access=shared)
    bool recursive_readonly = false;  // rro
    bool copy_up = false;             // tmpcopyup: a tmpfs begins with what was below
    KVMSBX_WIRE_FIELDS(type, source, destination, data, flags, shared_access, recursive_readonly, copy_up)
};

template <typename Kind>
struct Setting {
    typename Kind::Text name, value;
    KVMSBX_WIRE_FIELDS(name, value)
};

// linux.devices.
template <typename Kind>
struct Device {
    typename Kind::Text path;
    uint32_t type = 0;  // S_IFCHR, S_IFBLK, S_IFIFO
    uint32_t major = 0, minor = 0;
    uint32_t mode = 0666;  // permission bits
    uint32_t uid = 0, gid = 0;
    KVMSBX_WIRE_FIELDS(path, type, major, minor, mode, uid, gid)
};

// hooks.startContainer: run inside the sandbox, before the first process, with `state` on stdin.
template <typename Kind>
struct Hook {
    typename Kind::Text path;
    typename Kind::template List<typename Kind::Text> args, env;
    uint32_t timeout_s = 0;  // 0: none
    KVMSBX_WIRE_FIELDS(path, args, env, timeout_s)
};

// linux.resources as the Sentry enforces them; `update` sends it again.
struct Limits {
    uint64_t memory = 0;                     // bytes; 0: none
    bool host_counts_memory = false;         // the host has a limit for the sandbox, too, and counts what it touches
    uint64_t pids = 0;                       // threads; 0: none
    uint64_t cpu_quota = 0, cpu_period = 0;  // us; quota 0: none
    uint64_t cpu_shares = 0;                 // cgroup v1's; 0: default
    KVMSBX_WIRE_FIELDS(memory, host_counts_memory, pids, cpu_quota, cpu_period, cpu_shares)
};

template <typename Kind>
struct SandboxSpec {
    using Text = typename Kind::Text;
    template <typename T>
    using List = typename Kind::template List<T>;

    uint32_t version = kSandboxSpecVersion;
    Text hostname, domainname;
    List<Setting<Kind>> sysctls;
    List<Mount<Kind>> mounts;
    List<Text> masked_paths, readonly_paths;
    List<Device<Kind>> devices;
    bool overlay = false;  // writes to the root go to a tmpfs layer
    Limits limits;
    int64_t monotonic_offset_ns = 0, boottime_offset_ns = 0;  // linux.timeOffsets
    List<Hook<Kind>> start_hooks;
    Text hook_state;  // the JSON that start_hooks read
    // The first process waits for control::Start; else it runs at once.
    bool wait_for_start = false;
    ProcessSpec<Kind> process;
    KVMSBX_WIRE_FIELDS(version, hostname, domainname, sysctls, mounts, masked_paths, readonly_paths, devices, overlay,
                       limits, monotonic_offset_ns, boottime_offset_ns, start_hooks, hook_state, wait_for_start,
                       process)
};

}  // namespace kvmsbx::spec
