#include "oci/names.hpp"

#include <sys/mount.h>
#include <sys/resource.h>

#include <algorithm>
#include <array>
#include <iterator>

namespace kvmsbx::oci {
namespace {

// In the order of linux/capability.h: the index is the number.
constexpr std::array<std::string_view, 41> kCapabilities = {"CAP_CHOWN",
                                                            "CAP_DAC_OVERRIDE",
                                                            "CAP_DAC_READ_SEARCH",
                                                            "CAP_FOWNER",
                                                            "CAP_FSETID",
                                                            "CAP_KILL",
                                                            "CAP_SETGID",
                                                            "CAP_SETUID",
                                                            "CAP_SETPCAP",
                                                            "CAP_LINUX_IMMUTABLE",
                                                            "CAP_NET_BIND_SERVICE",
                                                            "CAP_NET_BROADCAST",
                                                            "CAP_NET_ADMIN",
                                                            "CAP_NET_RAW",
                                                            "CAP_IPC_LOCK",
                                                            "CAP_IPC_OWNER",
                                                            "CAP_SYS_MODULE",
                                                            "CAP_SYS_RAWIO",
                                                            "CAP_SYS_CHROOT",
                                                            "CAP_SYS_PTRACE",
                                                            "CAP_SYS_PACCT",
                                                            "CAP_SYS_ADMIN",
                                                            "CAP_SYS_BOOT",
                                                            "CAP_SYS_NICE",
                                                            "CAP_SYS_RESOURCE",
                                                            "CAP_SYS_TIME",
                                                            "CAP_SYS_TTY_CONFIG",
                                                            "CAP_MKNOD",
                                                            "CAP_LEASE",
                                                            "CAP_AUDIT_WRITE",
                                                            "CAP_AUDIT_CONTROL",
                                                            "CAP_SETFCAP",
                                                            "CAP_MAC_OVERRIDE",
                                                            "CAP_MAC_ADMIN",
                                                            "CAP_SYSLOG",
                                                            "CAP_WAKE_ALARM",
                                                            "CAP_BLOCK_SUSPEND",
                                                            "CAP_AUDIT_READ",
                                                            "CAP_PERFMON",
                                                            "CAP_BPF",
                                                            "CAP_CHECKPOINT_RESTORE"};

struct RlimitName {
    std::string_view name;
    uint32_t number;
};
constexpr RlimitName kRlimits[] = {
    {"RLIMIT_CPU", RLIMIT_CPU},           {"RLIMIT_FSIZE", RLIMIT_FSIZE},
    {"RLIMIT_DATA", RLIMIT_DATA},         {"RLIMIT_STACK", RLIMIT_STACK},
    {"RLIMIT_CORE", RLIMIT_CORE},         {"RLIMIT_RSS", RLIMIT_RSS},
    {"RLIMIT_NPROC", RLIMIT_NPROC},       {"RLIMIT_NOFILE", RLIMIT_NOFILE},
    {"RLIMIT_MEMLOCK", RLIMIT_MEMLOCK},   {"RLIMIT_AS", RLIMIT_AS},
    {"RLIMIT_LOCKS", RLIMIT_LOCKS},       {"RLIMIT_SIGPENDING", RLIMIT_SIGPENDING},
    {"RLIMIT_MSGQUEUE", RLIMIT_MSGQUEUE}, {"RLIMIT_NICE", RLIMIT_NICE},
    {"RLIMIT_RTPRIO", RLIMIT_RTPRIO},     {"RLIMIT_RTTIME", RLIMIT_RTTIME},
};

constexpr uint64_t kAtimeFlags = MS_NOATIME | MS_RELATIME | MS_STRICTATIME;

struct NamedMountOption {
    std::string_view name;
    MountOption option;
};
constexpr NamedMountOption kMountOptions[] = {
    {"ro", {MS_RDONLY, 0}},
    {"rw", {0, MS_RDONLY}},
    {"nosuid", {MS_NOSUID, 0}},
    {"suid", {0, MS_NOSUID}},
    {"nodev", {MS_NODEV, 0}},
    {"dev", {0, MS_NODEV}},
    {"noexec", {MS_NOEXEC, 0}},
    {"exec", {0, MS_NOEXEC}},
    {"sync", {MS_SYNCHRONOUS, 0}},
    {"async", {0, MS_SYNCHRONOUS}},
    {"dirsync", {MS_DIRSYNC, 0}},
    {"noatime", {MS_NOATIME, kAtimeFlags}},
    {"atime", {0, MS_NOATIME}},
    {"relatime", {MS_RELATIME, kAtimeFlags}},
    {"norelatime", {0, MS_RELATIME}},
    {"strictatime", {MS_STRICTATIME, kAtimeFlags}},
    {"nostrictatime", {0, MS_STRICTATIME}},
    {"nodiratime", {MS_NODIRATIME, 0}},
    {"diratime", {0, MS_NODIRATIME}},
    {"rro", {MS_RDONLY, 0}},
    {"rnosuid", {MS_NOSUID, 0}},
    {"rnodev", {MS_NODEV, 0}},
    {"rnoexec", {MS_NOEXEC, 0}},
    // Without a meaning inside: the sandbox's mounts are its own, nothing propagates.
    {"bind", {0, 0}},
    {"rbind", {0, 0}},
    {"defaults", {0, 0}},
    {"mand", {0, 0}},
    {"nomand", {0, 0}},
    {"loud", {0, 0}},
    {"silent", {0, 0}},
    {"private", {0, 0}},
    {"rprivate", {0, 0}},
    {"shared", {0, 0}},
    {"rshared", {0, 0}},
    {"slave", {0, 0}},
    {"rslave", {0, 0}},
    {"unbindable", {0, 0}},
    {"runbindable", {0, 0}},
};

}  // namespace

std::optional<unsigned> capability_number(std::string_view name) {
    const auto found = std::find(kCapabilities.begin(), kCapabilities.end(), name);
    if (found == kCapabilities.end()) return std::nullopt;
    return static_cast<unsigned>(found - kCapabilities.begin());
}

std::optional<uint32_t> rlimit_number(std::string_view name) {
    const auto* found =
        std::find_if(std::begin(kRlimits), std::end(kRlimits), [&](const RlimitName& r) { return r.name == name; });
    if (found == std::end(kRlimits)) return std::nullopt;
    return found->number;
}

std::optional<MountOption> mount_option(std::string_view name) {
    const auto* found = std::find_if(std::begin(kMountOptions), std::end(kMountOptions),
                                     [&](const NamedMountOption& o) { return o.name == name; });
    if (found == std::end(kMountOptions)) return std::nullopt;
    return found->option;
}

}  // namespace kvmsbx::oci
