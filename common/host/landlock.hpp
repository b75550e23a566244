#pragma once
// Landlock (landlock(7)): the process takes the file system away from itself, but for some trees. Needs no capability.
#include <span>

#include "common/base/result.hpp"

namespace kvmsbx::host {

struct LandlockTree {
    int fd;  // O_PATH, of a folder or of one file
    bool readonly;
};

// From now on the process, and what it starts, may open, make, remove and rename files beneath these trees only; what
// is open stays open. Nothing may be executed. Where the host's Landlock has them, TCP, device ioctls, and signals and
// abstract sockets to processes outside are refused as well. Sets no_new_privs. kNOSYS, kOPNOTSUPP or kPERM where the
// host has no Landlock, or one that cannot let files be renamed between folders (before ABI 2, Linux 5.19).
Result<> restrict_files(std::span<const LandlockTree> trees);

// The version of the host's Landlock ABI; 0: none that restrict_files() can use.
int landlock_abi();

}  // namespace kvmsbx::host
