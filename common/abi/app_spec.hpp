#pragma once
// What the application is: the parts of config.json that the Sentry applies, as a flat list of records written by the
// CLI and read by the Sentry. Record: AppSpecHeader, then `length` bytes, then zero bytes up to a multiple of 8.
// Boundary 2; the reader checks every length.
#include <cstdint>

namespace kvmsbx::abi {

enum class AppSpecTag : uint32_t {
    kEnd = 0,
    kArg = 1,          // string without NUL; in order
    kEnv = 2,          // string; in order
    kCwd = 3,          // string
    kHostname = 4,     // string
    kDomainname = 5,   // string
    kCredentials = 6,  // AppCredentials, then uint32_t additional gids
    kRlimit = 7,       // AppRlimit
    kMount = 8,    // AppMountHeader, then type, source, destination, data: each NUL-terminated. In order; the first is
                   // the root ("9p", "", "/")
    kOptions = 9,  // AppOptions
    kMaskedPath = 10,    // string: linux.maskedPaths
    kReadonlyPath = 11,  // string: linux.readonlyPaths
    kSysctl = 12,        // "name=value"
};

struct AppSpecHeader {
    AppSpecTag tag;
    uint32_t length;
};

struct AppCredentials {
    uint32_t uid, gid;
    uint32_t umask;
    uint32_t no_new_privileges;
    uint64_t bounding, effective, inheritable, permitted, ambient;  // capability sets, bit n = capability n
};

struct AppRlimit {
    uint32_t resource;  // RLIMIT_*
    uint32_t pad;
    uint64_t soft, hard;
};

// Mount flags are mount(2)'s MS_* (MS_RDONLY 1, MS_NOSUID 2, MS_NODEV 4, MS_NOEXEC 8, MS_NOATIME 1024 ...).
// For type "9p" the source is the aname for Tattach: "" for the root, the index in config.json's mounts (decimal) for a
// bind mount.
struct AppMountHeader {
    uint64_t flags;
};

struct AppOptions {
    uint32_t terminal;  // process.terminal: the console is a tty with a line discipline; else stdin, stdout, stderr are
                        // three byte streams
    uint32_t rows, columns;
    uint32_t file_access_shared;  // 1: revalidate (--file-access=shared)
    uint32_t overlay;             // 1: writes to the root go to a tmpfs layer
    uint32_t cpu_limit;           // CPUs that config.json or --cpus grants; 0 = no limit was asked for
    uint64_t memory_limit;        // bytes; 0 = none
};

}  // namespace kvmsbx::abi
