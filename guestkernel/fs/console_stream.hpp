#pragma once
// A stream of the host that is no terminal, as an application has it: it behaves like a pipe (pipe(7)). All Files that
// are opened on it share a ByteStream. When the last one is closed, so is the stream.
#include "guestkernel/fs/host_stream.hpp"
#include "guestkernel/vfs/path.hpp"

namespace kvmsbx::fs {

// A File on the stream, with an inode (a FIFO) so that /dev/stdout can open it anew. access: kORdonly, kOWronly or
// kORdwr. owner: whose uid and gid it shows. Once for each stream.
Result<RefPtr<vfs::File>> open_stream(RefPtr<HostStream> stream, uint32_t access, const auth::Credentials& owner);

}  // namespace kvmsbx::fs
