#pragma once
// Pipes and FIFOs (pipe(7)). A Pipe is a ring of bytes in page frames, filled from one end and emptied from the other;
// its frames are given back when it runs empty. Every end, open FIFOs too, is a PipeFile; the last reader's or writer's
// going wakes the other side (SIGPIPE and EPIPE, end of file). A mutex keeps each read and write whole, though user
// memory may fault in between. Threads that block and poll(2)ers wait in different queues: data wakes one reader, which
// wakes the next if it leaves some; room wakes one writer, likewise.
#include "guestkernel/vfs/path.hpp"

namespace kvmsbx::fs {

inline constexpr size_t kPipeBuf = 4096;  // writes up to this size are atomic

struct PipeEnds {
    RefPtr<vfs::File> reader, writer;
};
// pipe2(2); flags: O_NONBLOCK, O_CLOEXEC (ignored here); O_DIRECT is refused (EINVAL).
Result<PipeEnds> make_pipe(uint32_t flags, const auth::Credentials& owner);
// F_GETPIPE_SZ, F_SETPIPE_SZ (gives the size set). EBADF: no pipe; EBUSY, EPERM (over 1 MiB), ENOMEM.
Result<size_t> pipe_size(vfs::File& file);
Result<size_t> set_pipe_size(vfs::File& file, size_t size);
// Lets the VFS open FIFO nodes. Called once at start.
void register_fifos();

}  // namespace kvmsbx::fs
