#pragma once
// Starting the gofer and the sandbox process: this executable again, in namespaces of its own, with nothing inherited
// but what is named.
//
// clone() with CLONE_VM | CLONE_VFORK: no page table is copied and the caller goes on when the new program runs. The
// child's few steps between clone and exec work on the caller's memory, so they only make system calls.
#include <sys/types.h>

#include <array>
#include <string>
#include <vector>

#include "common/host/fd.hpp"
#include "oci/outcome.hpp"

namespace kvmsbx::oci {

struct SpawnRequest {
    std::vector<std::string> arguments;    // argv[1..]; the program is always /proc/self/exe
    std::vector<int> keep_fds;             // stay open under their numbers; everything else above 2 is closed
    std::array<int, 3> stdio{-1, -1, -1};  // what becomes 0, 1, 2; -1: /dev/null
    int join_pidfd = -1;                   // of a process whose network, IPC and UTS namespaces are joined; -1: none
    unsigned long namespaces = 0;          // CLONE_NEW*; with CLONE_NEWUSER the caller's ids are mapped to 0
};

struct Child {
    pid_t pid = -1;
    host::Fd pidfd;
};

// The child is the leader of a session of its own (so that the terminal's signals pass it by) and is killed when the
// caller dies.
Outcome<Child> spawn_self(const SpawnRequest& request);

// How a child ended.
struct ChildEnd {
    bool killed;  // by a signal
    int value;    // exit code or signal number
};
// Waits for the child's end.
ChildEnd wait_for(const Child& child);
void kill_child(const Child& child);

}  // namespace kvmsbx::oci
