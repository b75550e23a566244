// splice(2), tee(2), vmsplice(2).
#include "guestkernel/fs/pipe.hpp"
#include "guestkernel/syscalls/file_helpers.hpp"
#include "guestkernel/vfs/watch.hpp"

namespace kvmsbx::syscalls {

using vfs::File;

namespace {

constexpr uint64_t kNonblock = 2, kAllFlags = 0xf;  // SPLICE_F_*

// A file at an offset of the caller's, or at its own position.
class FileEnd final : public fs::SpliceEnd {
  public:
    enum class Direction : bool { kIn, kOut };
    FileEnd(File& file, Direction direction) : file_(file), direction_(direction) {}
    Result<> start_at(Task& task, UserInOut<int64_t> offset) {
        if (!offset) return {};
        at_offset_ = true;
        const int64_t start = TRY(offset.load(task.space()));
        if (start < 0) return Errno::kINVAL;
        offset_ = static_cast<uint64_t>(start);
        TRY(file_.seek(0, 1));  // ESPIPE where there are no positions
        return {};
    }
    Result<> store(Task& task, UserInOut<int64_t> offset) const {
        return offset ? offset.store(task.space(), static_cast<int64_t>(offset_)) : Result<>();
    }
    Result<size_t> move(mm::IoBuffer& bytes) override {
        const bool in = direction_ == Direction::kIn;
        const size_t count = at_offset_ ? TRY(in ? file_.read_at(bytes, offset_) : file_.write_at(bytes, offset_))
                                        : TRY(in ? file_.read(bytes) : file_.write(bytes));
        offset_ += count;
        if (count > 0) vfs::report(file_, in ? vfs::kWatchAccess : vfs::kWatchModify);
        return count;
    }

  private:
    File& file_;
    const Direction direction_;
    bool at_offset_ = false;
    uint64_t offset_ = 0;
};

bool has_content(File& file) {
    return !file.inode() || (!file.inode()->is_directory() && file.inode()->type() != vfs::kModeLink);
}

Result<size_t> splice_to_file(Task& task, File& in, File& out, UserInOut<int64_t> offset, size_t count,
                              bool nonblocking) {
    if (out.flags & vfs::kOAppend) return Errno::kINVAL;
    FileEnd sink(out, FileEnd::Direction::kOut);
    if (auto start = sink.start_at(task, offset); start.is_error())
        return start.error() == Errno::kSPIPE ? Errno::kINVAL : start.error();
    const size_t moved = TRY(fs::splice_from_pipe(in, count, nonblocking, sink));
    if (moved > 0) TRY(sink.store(task, offset));
    return moved;
}

Result<size_t> splice_to_pipe(Task& task, File& in, UserInOut<int64_t> offset, File& out, size_t count,
                              bool nonblocking) {
    if (!has_content(in)) return Errno::kINVAL;
    FileEnd source(in, FileEnd::Direction::kIn);
    if (auto start = source.start_at(task, offset); start.is_error())
        return start.error() == Errno::kSPIPE ? Errno::kINVAL : start.error();
    const size_t moved = TRY(fs::splice_into_pipe(out, count, nonblocking, source));
    if (moved > 0) TRY(source.store(task, offset));
    return moved;
}

}  // namespace

Result<int64_t> sys_splice(Task& task, Fd in_fd, UserInOut<int64_t> in_offset, Fd out_fd, UserInOut<int64_t> out_offset,
                           size_t count, uint32_t flags) {
    if (count == 0) return int64_t{0};
    if (flags & ~kAllFlags) return Errno::kINVAL;
    const RefPtr<File> in = TRY(file_of(task, in_fd)), out = TRY(file_of(task, out_fd));
    const bool from_pipe = fs::is_pipe(*in), to_pipe = fs::is_pipe(*out), nonblocking = flags & kNonblock;
    if ((from_pipe && in_offset) || (to_pipe && out_offset)) return Errno::kSPIPE;
    if (!in->readable() || !out->writable()) return Errno::kBADF;
    if (count > mm::kMaxTransfer) count = mm::kMaxTransfer;
    if (from_pipe && to_pipe)
        return static_cast<int64_t>(TRY(fs::pipe_to_pipe(*in, *out, count, fs::Transfer::kMove, nonblocking)));
    if (from_pipe) return static_cast<int64_t>(TRY(splice_to_file(task, *in, *out, out_offset, count, nonblocking)));
    if (to_pipe) return static_cast<int64_t>(TRY(splice_to_pipe(task, *in, in_offset, *out, count, nonblocking)));
    return Errno::kINVAL;
}

Result<int64_t> sys_tee(Task& task, Fd in_fd, Fd out_fd, size_t count, uint32_t flags) {
    if (flags & ~kAllFlags) return Errno::kINVAL;
    if (count == 0) return int64_t{0};
    const RefPtr<File> in = TRY(file_of(task, in_fd)), out = TRY(file_of(task, out_fd));
    if (!in->readable() || !out->writable()) return Errno::kBADF;
    if (!fs::is_pipe(*in) || !fs::is_pipe(*out)) return Errno::kINVAL;
    return static_cast<int64_t>(TRY(fs::pipe_to_pipe(*in, *out, count, fs::Transfer::kCopy, flags & kNonblock)));
}

Result<int64_t> sys_vmsplice(Task& task, Fd fd, UserBuffer iovecs, size_t count, uint32_t flags) {
    if (flags & ~kAllFlags) return Errno::kINVAL;
    const RefPtr<File> pipe = TRY(file_of(task, fd));
    if (!fs::is_pipe(*pipe)) return Errno::kBADF;
    mm::IoBuffer buffer = TRY(mm::IoBuffer::user_vector(task.space(), iovecs.address, count));
    if (buffer.empty()) return int64_t{0};
    const bool nonblocking = flags & kNonblock;
    return static_cast<int64_t>(
        TRY(pipe->writable() ? fs::fill_pipe(*pipe, buffer, nonblocking) : fs::drain_pipe(*pipe, buffer, nonblocking)));
}

}  // namespace kvmsbx::syscalls
