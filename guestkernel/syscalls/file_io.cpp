#include <cstring>

#include "guestkernel/net/socket.hpp"
#include "guestkernel/syscalls/file_helpers.hpp"
#include "guestkernel/task/registry.hpp"
#include "guestkernel/vfs/attributes.hpp"
#include "guestkernel/vfs/watch.hpp"

namespace kvmsbx::syscalls {

using mm::IoBuffer;
using vfs::File;

namespace {

Result<RefPtr<File>> readable_file(Task& task, int fd) {
    RefPtr<File> file = TRY(task.files().get(fd));
    if (!file->readable()) return Errno::kBADF;
    return file;
}

Result<RefPtr<File>> writable_file(Task& task, int fd) {
    RefPtr<File> file = TRY(task.files().get(fd));
    if (!file->writable()) return Errno::kBADF;
    return file;
}

// RLIMIT_FSIZE of regular files: EFBIG and SIGXFSZ at the limit, less is written before it.
Result<> limit_size(Task& task, File& file, IoBuffer& from, uint64_t offset, bool at_position) {
    const uint64_t limit = task.limit(task::kRlimitFsize);
    vfs::Inode* inode = file.inode();
    if (limit == task::kRlimInfinity || !inode || inode->type() != vfs::kModeRegular) return {};
    if (at_position) offset = file.flags & vfs::kOAppend ? TRY(inode->attributes()).size : file.position;
    if (offset >= limit) {
        task::send_signal(task, task::kernel_signal(task::kSigXfsz));
        return Errno::kFBIG;
    }
    from.limit(limit - offset);
    return {};
}

Result<int64_t> finish_write(Task& task, File& file, Result<size_t> written) {
    ++task.io.write_calls;
    const size_t count = TRY(std::move(written));
    task.io.written_chars += count;
    if (count > 0) vfs::report(file, vfs::kWatchModify);
    if (vfs::Inode* inode = file.inode(); inode && count > 0 && inode->type() == vfs::kModeRegular)
        TRY(vfs::drop_set_id(task.credentials(), *inode));
    return static_cast<int64_t>(count);
}

Result<int64_t> finish_read(Task& task, File& file, Result<size_t> got) {
    ++task.io.read_calls;
    const size_t count = TRY(std::move(got));
    task.io.read_chars += count;
    if (count > 0) vfs::report(file, vfs::kWatchAccess);
    return static_cast<int64_t>(count);
}

Result<int64_t> read_into(Task& task, int fd, Result<IoBuffer> to) {
    RefPtr<File> file = TRY(readable_file(task, fd));
    IoBuffer buffer = TRY(std::move(to));
    return finish_read(task, *file, file->read(buffer));
}

Result<int64_t> write_from(Task& task, int fd, Result<IoBuffer> from) {
    RefPtr<File> file = TRY(writable_file(task, fd));
    IoBuffer buffer = TRY(std::move(from));
    TRY(limit_size(task, *file, buffer, 0, true));
    return finish_write(task, *file, file->write(buffer));
}

Result<int64_t> read_into_at(Task& task, int fd, Result<IoBuffer> to, int64_t offset) {
    if (offset < 0) return Errno::kINVAL;
    RefPtr<File> file = TRY(readable_file(task, fd));
    IoBuffer buffer = TRY(std::move(to));
    return finish_read(task, *file, file->read_at(buffer, static_cast<uint64_t>(offset)));
}

Result<int64_t> write_from_at(Task& task, int fd, Result<IoBuffer> from, int64_t offset) {
    if (offset < 0) return Errno::kINVAL;
    RefPtr<File> file = TRY(writable_file(task, fd));
    IoBuffer buffer = TRY(std::move(from));
    TRY(limit_size(task, *file, buffer, static_cast<uint64_t>(offset), false));
    return finish_write(task, *file, file->write_at(buffer, static_cast<uint64_t>(offset)));
}

// RWF_* flags: those that only ask for what is done anyway.
enum RwFlag : uint64_t { kRwfHipri = 1, kRwfDsync = 2, kRwfSync = 4, kRwfNowait = 8, kRwfAppend = 16 };

Result<> check_flags(uint64_t flags, uint64_t allowed) {
    return flags & ~allowed ? Result<>(Errno::kOPNOTSUPP) : Result<>();
}

}  // namespace

Result<int64_t> sys_read(Task& task, Fd fd, UserBuffer buffer, size_t count) {
    return read_into(task, fd, IoBuffer::user(task.space(), buffer.address, count));
}
Result<int64_t> sys_write(Task& task, Fd fd, UserBuffer buffer, size_t count) {
    return write_from(task, fd, IoBuffer::user(task.space(), buffer.address, count));
}
Result<int64_t> sys_pread64(Task& task, Fd fd, UserBuffer buffer, size_t count, int64_t offset) {
    return read_into_at(task, fd, IoBuffer::user(task.space(), buffer.address, count), offset);
}
Result<int64_t> sys_pwrite64(Task& task, Fd fd, UserBuffer buffer, size_t count, int64_t offset) {
    return write_from_at(task, fd, IoBuffer::user(task.space(), buffer.address, count), offset);
}
Result<int64_t> sys_readv(Task& task, Fd fd, UserBuffer iovecs, size_t count) {
    return read_into(task, fd, IoBuffer::user_vector(task.space(), iovecs.address, count));
}
Result<int64_t> sys_writev(Task& task, Fd fd, UserBuffer iovecs, size_t count) {
    return write_from(task, fd, IoBuffer::user_vector(task.space(), iovecs.address, count));
}
Result<int64_t> sys_preadv(Task& task, Fd fd, UserBuffer iovecs, size_t count, int64_t offset, uint64_t) {
    return read_into_at(task, fd, IoBuffer::user_vector(task.space(), iovecs.address, count), offset);
}
Result<int64_t> sys_pwritev(Task& task, Fd fd, UserBuffer iovecs, size_t count, int64_t offset, uint64_t) {
    return write_from_at(task, fd, IoBuffer::user_vector(task.space(), iovecs.address, count), offset);
}

Result<int64_t> sys_preadv2(Task& task, Fd fd, UserBuffer iovecs, size_t count, int64_t offset, uint64_t high,
                            Flags flags) {
    TRY(check_flags(flags, kRwfHipri));
    return offset == -1 ? sys_readv(task, fd, iovecs, count) : sys_preadv(task, fd, iovecs, count, offset, high);
}

Result<int64_t> sys_pwritev2(Task& task, Fd fd, UserBuffer iovecs, size_t count, int64_t offset, uint64_t high,
                             Flags flags) {
    TRY(check_flags(flags, kRwfHipri | kRwfDsync | kRwfSync));
    const int64_t written =
        TRY(offset == -1 ? sys_writev(task, fd, iovecs, count) : sys_pwritev(task, fd, iovecs, count, offset, high));
    if (flags & (kRwfDsync | kRwfSync)) TRY(TRY(file_of(task, fd))->fsync(!(flags & kRwfSync)));
    return written;
}

Result<int64_t> sys_lseek(Task& task, Fd fd, int64_t offset, int32_t whence) {
    return static_cast<int64_t>(TRY(TRY(file_of(task, fd))->seek(offset, whence)));
}

namespace {

constexpr uint64_t kFionread = 0x541b, kFionbio = 0x5421, kFionclex = 0x5450, kFioclex = 0x5451, kFioasync = 0x5452,
                   kFiosetown = 0x8901, kSiocspgrp = 0x8902, kFiogetown = 0x8903, kSiocgpgrp = 0x8904;

Result<int64_t> bytes_to_read(Task& task, File& file, uint64_t argument) {
    const uint64_t size = TRY(file.inode()->attributes()).size;
    const uint64_t rest = size > file.position ? size - file.position : 0;
    return done(
        UserOut<int32_t>{argument}.store(task.space(), static_cast<int32_t>(rest < 0x7fffffff ? rest : 0x7fffffff)));
}

}  // namespace

Result<int64_t> sys_ioctl(Task& task, Fd fd, Flags request, UserBuffer argument) {
    RefPtr<File> file = TRY(file_of(task, fd));
    const uint32_t number = static_cast<uint32_t>(request.value);
    switch (number) {
        case kFioclex: return done(task.files().set_close_on_exec(fd, true));
        case kFionclex: return done(task.files().set_close_on_exec(fd, false));
        case kFionbio: {
            const int32_t on = TRY(UserIn<int32_t>{argument.address}.load(task.space()));
            file->flags = on ? file->flags | vfs::kONonblock : file->flags & ~vfs::kONonblock;
            return int64_t{0};
        }
        case kFioasync: {
            const int32_t on = TRY(UserIn<int32_t>{argument.address}.load(task.space()));
            return set_async(task, *file, fd, on != 0);
        }
        case kFiosetown:
        case kSiocspgrp:
            if (!net::Socket::from(*file)) break;
            return set_owner(task, *file, TRY(UserIn<int32_t>{argument.address}.load(task.space())));
        case kFiogetown:
        case kSiocgpgrp:
            if (!net::Socket::from(*file)) break;
            return done(UserOut<int32_t>{argument.address}.store(task.space(), get_owner(*file)));
        case kFionread:
            if (file->inode() && file->inode()->type() == vfs::kModeRegular)
                return bytes_to_read(task, *file, argument.address);
            break;
        default: break;
    }
    return file->ioctl(task.space(), number, argument.address);
}

namespace {

// Writes directory entries to user memory in one of the two layouts of getdents(2).
class EntryWriter final : public vfs::DirectoryVisitor {
  public:
    EntryWriter(Task& task, UserBuffer buffer, size_t size, bool wide)
        : task_(task), to_(buffer.address), room_(size), wide_(wide) {}
    bool visit(const vfs::DirectoryEntry& entry) override {
        char record[24 + 256 + 8] = {};
        constexpr size_t kOldName = 18, kWideName = 19;
        const size_t name_at = wide_ ? kWideName : kOldName;
        const size_t length = (name_at + entry.name.size() + 1 + (wide_ ? 0 : 1) + 7) & ~size_t{7};
        if (length > room_ || entry.name.size() > 255) {
            full_ = true;
            return false;
        }
        const uint16_t stored_length = static_cast<uint16_t>(length);
        memcpy(record, &entry.ino, 8);
        memcpy(record + 8, &entry.cookie, 8);
        memcpy(record + 16, &stored_length, 2);
        memcpy(record + name_at, entry.name.data(), entry.name.size());
        record[wide_ ? kOldName : length - 1] = static_cast<char>(entry.type);
        Result<> copied = mm::copy_to_user(task_.space(), to_ + written_, record, length);
        if (copied.is_error()) {
            error_ = copied.error();
            return false;
        }
        written_ += length, room_ -= length;
        return true;
    }
    Result<int64_t> result() const {
        if (written_ > 0) return static_cast<int64_t>(written_);
        if (error_ != Errno{}) return error_;
        return full_ ? Result<int64_t>(Errno::kINVAL) : Result<int64_t>(int64_t{0});
    }

  private:
    Task& task_;
    const mm::UserAddress to_;
    size_t room_, written_ = 0;
    const bool wide_;
    bool full_ = false;
    Errno error_{};
};

Result<int64_t> get_entries(Task& task, int fd, UserBuffer entries, uint32_t size, bool wide) {
    RefPtr<File> file = TRY(file_of(task, fd));
    EntryWriter writer(task, entries, size, wide);
    TRY(file->read_directory(writer));
    return writer.result();
}

}  // namespace

Result<int64_t> sys_getdents(Task& task, Fd fd, UserBuffer entries, uint32_t size) {
    return get_entries(task, fd, entries, size, false);
}
Result<int64_t> sys_getdents64(Task& task, Fd fd, UserBuffer entries, uint32_t size) {
    return get_entries(task, fd, entries, size, true);
}

}  // namespace kvmsbx::syscalls
