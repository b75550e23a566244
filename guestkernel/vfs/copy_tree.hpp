#pragma once
// Copies of directory trees inside the Sentry (tmpcopyup).
#include "guestkernel/vfs/path.hpp"

namespace kvmsbx::vfs {

// What is in the directory `from` comes to be in the directory `to`: files with their contents, folders, links and
// nodes, with modes, owners and times. Hard links become files of their own. What is mounted below comes along.
// Errors: of reading and making. May block.
Result<> copy_contents(const Caller& caller, const Path& from, const Path& to);

}  // namespace kvmsbx::vfs
