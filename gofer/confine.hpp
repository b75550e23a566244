#pragma once
// How the gofer gives up what it does not need, in this order: namespaces of its own; a mount tree of nothing but the
// root and the bind mounts; capabilities; a seccomp filter. Each function gives false after it has logged the line for
// the user. Where it may make no namespaces and mounts (--setup-root=false), an empty root and Landlock stand in for
// them as far as the host has them.
#include <span>
#include <vector>

#include "gofer/fids.hpp"
#include "gofer/spec.hpp"

namespace kvmsbx::gofer {

// Own mount, network, IPC, UTS and PID namespaces. For the PID namespace the process forks: the parent waits and passes
// on how the child ended, as its own exit; the child returns. A process that is PID 1 already was started in namespaces
// of its own: it makes only the mount namespace and no fork.
bool enter_namespaces();

struct ExportOptions {
    bool setup_root = true;
    IdMaps own_maps;  // of the user namespace that this process was put in
};

// The trees to serve, opened O_PATH, and /proc/self/fd. With setup_root they are bind-mounted (nosuid, nodev, noexec,
// ro) under a fresh tmpfs, which becomes the root of the process; without, they are opened where they are.
bool open_exports(const GoferSpec& spec, const ExportOptions& options, std::vector<Export>& exports,
                  host::Fd& proc_self_fd);

// For a process without a mount tree of its own: its root becomes an empty folder, where it may (CAP_SYS_CHROOT), and
// Landlock, where the host has it, leaves it nothing but the exports. Debug lines tell of what is missing.
void leave_host_files(std::span<const Export> exports);

// Closes all descriptors but 0, 1, 2 and `keep`.
void close_others(std::vector<int> keep);

// Raises RLIMIT_NOFILE as far as it goes: each fid costs a descriptor or two.
void raise_descriptor_limit();

// Keeps only the capabilities that serving files needs; also out of the bounding set.
bool drop_capabilities();

// One allowed system call. A test fails when an ordinary one is never made.
struct SeccompRule {
    enum Use { kOrdinary, kSocketOnly, kRare };
    struct Condition {
        unsigned argument = 0;
        uint64_t forbidden = 0;  // bits that the argument must not have
    };
    int number;
    const char* reason;
    Use use = kOrdinary;
    Condition condition = {};
};
std::span<const SeccompRule> seccomp_rules();

// no_new_privs and the filter of seccomp_rules(), without those for a socket if there is none. From here on any other
// system call kills the process.
bool install_seccomp(bool with_socket);

}  // namespace kvmsbx::gofer
