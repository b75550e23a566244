#pragma once
// The lines that /proc/PID/fdinfo adds for files of ipc/ (proc(5)).
#include "guestkernel/lib/format.hpp"
#include "guestkernel/vfs/file.hpp"

namespace kvmsbx::ipc {

void put_fdinfo(vfs::File& file, TextSink& sink);

}  // namespace kvmsbx::ipc
