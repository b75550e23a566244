// Files' contents as a whole: write-back, size, copies between files.
#include "guestkernel/fs/file_systems.hpp"
#include "guestkernel/syscalls/file_helpers.hpp"
#include "guestkernel/task/registry.hpp"
#include "guestkernel/vfs/attributes.hpp"
#include "guestkernel/vfs/mount.hpp"
#include "guestkernel/vfs/watch.hpp"

namespace kvmsbx::syscalls {

using mm::IoBuffer;
using vfs::File;

Result<int64_t> sys_fsync(Task& task, Fd fd) { return done(TRY(file_of(task, fd))->fsync(false)); }
Result<int64_t> sys_fdatasync(Task& task, Fd fd) { return done(TRY(file_of(task, fd))->fsync(true)); }

Result<int64_t> sys_sync(Task&) {
    fs::write_back_everything();
    return int64_t{0};
}

Result<int64_t> sys_syncfs(Task& task, Fd fd) {
    RefPtr<File> file = TRY(file_of(task, fd));
    if (!file->inode()) return int64_t{0};
    return done(file->inode()->fs().synchronize());
}

Result<int64_t> sys_sync_file_range(Task& task, Fd fd, int64_t offset, int64_t length, Flags flags) {
    constexpr uint64_t kAllFlags = 7;
    RefPtr<File> file = TRY(file_of(task, fd));
    if (offset < 0 || length < 0 || (flags & ~kAllFlags)) return Errno::kINVAL;
    if (!file->inode() || file->inode()->type() == vfs::kModeFifo) return Errno::kSPIPE;
    return done(file->fsync(true));
}

namespace {

// RLIMIT_FSIZE (inode_newsize_ok): EFBIG and SIGXFSZ for a file that would grow beyond it.
Result<> check_size(Task& task, vfs::Inode& inode, int64_t length) {
    const auto size = static_cast<uint64_t>(length);
    if (size <= task.limit(task::kRlimitFsize) || size <= TRY(inode.attributes()).size) return {};
    task::send_signal(task, task::kernel_signal(task::kSigXfsz));
    return Errno::kFBIG;
}

}  // namespace

Result<int64_t> sys_truncate(Task& task, UserString path, int64_t length) {
    if (length < 0) return Errno::kINVAL;
    const vfs::Path found = TRY(path_at(task, vfs::kAtFdcwd, path, 0, vfs::Follow::kYes));
    if (found.inode().type() == vfs::kModeRegular) TRY(check_size(task, found.inode(), length));
    return done(vfs::truncate(task.caller(), found, static_cast<uint64_t>(length)));
}

Result<int64_t> sys_ftruncate(Task& task, Fd fd, int64_t length) {
    if (length < 0) return Errno::kINVAL;
    RefPtr<File> file = TRY(file_of(task, fd));
    vfs::Inode* inode = file->inode();
    if (!inode || inode->type() != vfs::kModeRegular || !file->writable()) return Errno::kINVAL;
    TRY(check_size(task, *inode, length));
    vfs::AttributeChange change;
    change.valid = vfs::AttributeChange::kSize | vfs::AttributeChange::kMtimeNow;
    change.size = static_cast<uint64_t>(length);
    TRY(inode->set_attributes(change));
    vfs::report(*file, vfs::kWatchModify);
    return done(vfs::drop_set_id(task.credentials(), *inode));
}

Result<int64_t> sys_fallocate(Task& task, Fd fd, Flags mode, int64_t offset, int64_t length) {
    constexpr uint64_t kKeepSize = 1;  // FALLOC_FL_KEEP_SIZE
    RefPtr<File> file = TRY(file_of(task, fd));
    if (offset < 0 || length <= 0) return Errno::kINVAL;
    if (!file->writable()) return Errno::kBADF;
    vfs::Inode* inode = file->inode();
    if (!inode || inode->type() == vfs::kModeFifo) return Errno::kSPIPE;
    if (inode->is_directory()) return Errno::kISDIR;
    if (inode->type() != vfs::kModeRegular) return Errno::kNODEV;
    int64_t end;
    if (__builtin_add_overflow(offset, length, &end)) return Errno::kFBIG;
    if (!(mode & kKeepSize)) TRY(check_size(task, *inode, end));
    TRY(file->allocate(static_cast<uint32_t>(mode.value), static_cast<uint64_t>(offset),
                       static_cast<uint64_t>(length)));
    vfs::report(*file, vfs::kWatchModify);
    return int64_t{0};
}

Result<int64_t> sys_fadvise64(Task& task, Fd fd, int64_t, int64_t length, int32_t advice) {
    constexpr int32_t kLastAdvice = 5;  // POSIX_FADV_NOREUSE
    RefPtr<File> file = TRY(file_of(task, fd));
    if (file->inode() && file->inode()->type() == vfs::kModeFifo) return Errno::kSPIPE;
    if (length < 0 || advice < 0 || advice > kLastAdvice) return Errno::kINVAL;
    return int64_t{0};
}

Result<int64_t> sys_readahead(Task& task, Fd fd, int64_t, size_t) {
    RefPtr<File> file = TRY(file_of(task, fd));
    if (!file->readable()) return Errno::kBADF;
    if (!file->inode() || file->inode()->type() != vfs::kModeRegular) return Errno::kINVAL;
    return int64_t{0};
}

namespace {

constexpr size_t kPieceSize = 64 * 1024;

// Moves up to `count` bytes from `in` at `from` to `out` at `to` (null: its own position) through a buffer. What was
// moved counts before an error does.
Result<size_t> copy_between(Task& task, File& in, uint64_t& from, File& out, uint64_t* to, size_t count) {
    Vector<std::byte> piece;
    TRY(piece.resize(count < kPieceSize ? count : kPieceSize));
    size_t moved = 0;
    ++task.io.read_calls, ++task.io.write_calls;
    while (moved < count) {
        const size_t wanted = count - moved < piece.size() ? count - moved : piece.size();
        IoBuffer filled = IoBuffer::kernel(piece.span().first(wanted));
        Result<size_t> got = in.read_at(filled, from);
        if (got.is_error() || got.value() == 0)
            return moved > 0 || got.is_ok() ? Result<size_t>(moved) : Result<size_t>(got.error());
        IoBuffer source = IoBuffer::kernel_readonly(piece.span().first(got.value()));
        Result<size_t> put = to ? out.write_at(source, *to) : out.write(source);
        if (put.is_error()) return moved > 0 ? Result<size_t>(moved) : Result<size_t>(put.error());
        vfs::report(in, vfs::kWatchAccess);
        if (put.value() > 0) vfs::report(out, vfs::kWatchModify);
        task.io.read_chars += put.value(), task.io.written_chars += put.value();
        moved += put.value(), from += put.value();
        if (to) *to += put.value();
        if (put.value() < got.value() || got.value() < wanted || task.interrupted()) break;
    }
    return moved;
}

Result<uint64_t> start_offset(Task& task, File& file, UserInOut<int64_t> offset) {
    if (!offset) return file.position;
    const int64_t start = TRY(offset.load(task.space()));
    if (start < 0) return Errno::kINVAL;
    return static_cast<uint64_t>(start);
}

Result<> store_offset(Task& task, File& file, UserInOut<int64_t> offset, uint64_t end) {
    if (offset) return offset.store(task.space(), static_cast<int64_t>(end));
    file.position = end;
    return {};
}

}  // namespace

Result<int64_t> sys_sendfile(Task& task, Fd out, Fd in, UserInOut<int64_t> offset, size_t count) {
    RefPtr<File> from = TRY(file_of(task, in)), to = TRY(file_of(task, out));
    if (!from->readable() || !to->writable()) return Errno::kBADF;
    if (to->flags & vfs::kOAppend) return Errno::kINVAL;
    uint64_t position = TRY(start_offset(task, *from, offset));
    Result<size_t> moved =
        copy_between(task, *from, position, *to, nullptr, count < mm::kMaxTransfer ? count : mm::kMaxTransfer);
    if (moved.is_error()) return moved.error() == Errno::kSPIPE ? Errno::kINVAL : moved.error();
    TRY(store_offset(task, *from, offset, position));
    return static_cast<int64_t>(moved.value());
}

Result<int64_t> sys_copy_file_range(Task& task, Fd in, UserInOut<int64_t> in_offset, Fd out,
                                    UserInOut<int64_t> out_offset, size_t count, Flags flags) {
    RefPtr<File> from = TRY(file_of(task, in)), to = TRY(file_of(task, out));
    if (flags.value != 0) return Errno::kINVAL;
    for (const RefPtr<File>& file : {from, to}) {
        if (!file->inode()) return Errno::kINVAL;
        if (file->inode()->is_directory()) return Errno::kISDIR;
        if (file->inode()->type() != vfs::kModeRegular) return Errno::kINVAL;
    }
    if (!from->readable() || !to->writable() || (to->flags & vfs::kOAppend)) return Errno::kBADF;
    uint64_t source = TRY(start_offset(task, *from, in_offset)), target = TRY(start_offset(task, *to, out_offset));
    if (from->inode() == to->inode() && source < target + count && target < source + count) return Errno::kINVAL;
    const size_t moved =
        TRY(copy_between(task, *from, source, *to, &target, count < mm::kMaxTransfer ? count : mm::kMaxTransfer));
    TRY(store_offset(task, *from, in_offset, source));
    TRY(store_offset(task, *to, out_offset, target));
    return static_cast<int64_t>(moved);
}

}  // namespace kvmsbx::syscalls
