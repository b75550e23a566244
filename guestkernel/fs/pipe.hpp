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
// pipe2(2); flags: O_NONBLOCK, O_DIRECT (packets), O_CLOEXEC (ignored here).
Result<PipeEnds> make_pipe(uint32_t flags, const auth::Credentials& owner);
// F_GETPIPE_SZ, F_SETPIPE_SZ (gives the size set). EBADF: no pipe; EBUSY, EPERM (over 1 MiB, or too much for the
// user), ENOMEM.
Result<size_t> pipe_size(vfs::File& file);
Result<size_t> set_pipe_size(vfs::File& file, size_t size, const auth::Credentials& who);

// splice(2) and kin. Bytes are copied: the frames of a pipe are never shared with files or other pipes.
bool is_pipe(vfs::File& file);
// tee(2), and splice(2) between two pipes. EAGAIN, EPIPE, ERESTARTSYS.
enum class Transfer : bool { kMove, kCopy };
Result<size_t> pipe_to_pipe(vfs::File& in, vfs::File& out, size_t count, Transfer transfer, bool nonblocking);
// The other end of a splice: reads or writes its file, at an offset or at its position.
class SpliceEnd {
  public:
    virtual Result<size_t> move(mm::IoBuffer& bytes) = 0;

  protected:
    ~SpliceEnd() = default;
};
// Into a pipe, what the source gives.
Result<size_t> splice_into_pipe(vfs::File& pipe, size_t count, bool nonblocking, SpliceEnd& source);
// Out of a pipe; what the sink does not take stays in it.
Result<size_t> splice_from_pipe(vfs::File& pipe, size_t count, bool nonblocking, SpliceEnd& sink);
// vmsplice(2) into a pipe: what there is room for.
Result<size_t> fill_pipe(vfs::File& pipe, mm::IoBuffer& from, bool nonblocking);
Result<size_t> drain_pipe(vfs::File& pipe, mm::IoBuffer& to, bool nonblocking);

// Lets the VFS open FIFO nodes. Called once at start.
void register_fifos();

}  // namespace kvmsbx::fs
