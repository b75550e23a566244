#include "guestkernel/fs/pipe.hpp"

#include "guestkernel/fs/pipe_file.hpp"
#include "guestkernel/lib/format.hpp"
#include "guestkernel/task/registry.hpp"
#include "guestkernel/vfs/dentry.hpp"
#include "guestkernel/vfs/device.hpp"
#include "guestkernel/vfs/inode_file.hpp"
#include "guestkernel/vfs/mount.hpp"

namespace kvmsbx::fs {

namespace {

constexpr size_t kMaxPages = 256;
constexpr uint32_t kFionread = 0x541b;

class PipeFs final : public vfs::FileSystem {
  public:
    Result<vfs::FsStatistics> statistics() override {
        vfs::FsStatistics shown;
        shown.type = 0x50495045;  // PIPEFS_MAGIC
        return shown;
    }
    std::string_view type_name() const override { return "pipefs"; }
};

// The inode of a pipe without a name.
class PipeInode final : public vfs::Inode {
  public:
    PipeInode(RefPtr<vfs::FileSystem> fs, const auth::Credentials& owner) : Inode(std::move(fs)) {
        static uint64_t last_number = 1000;
        attributes_.ino = ++last_number;
        attributes_.mode = vfs::kModeFifo | 0600;
        attributes_.nlink = 1;
        attributes_.uid = owner.fsuid, attributes_.gid = owner.fsgid;
        attributes_.atime = attributes_.mtime = attributes_.ctime = vfs::current_time();
    }
    Result<vfs::Attributes> attributes() override { return attributes_; }
    Result<> set_attributes(const vfs::AttributeChange& change) override {
        vfs::apply_change(change, attributes_);
        return {};
    }
    uint32_t type() const override { return vfs::kModeFifo; }
    Result<RefPtr<vfs::File>> open(const vfs::Path&, uint32_t) override { return Errno::kNXIO; }

  private:
    vfs::Attributes attributes_;
};

}  // namespace

PipeFile::PipeFile(const vfs::Path& path, uint32_t file_flags, RefPtr<Pipe> pipe)
    : InodeFile(path, file_flags), pipe_(std::move(pipe)) {
    if (readable()) ++pipe_->readers, ++pipe_->readers_ever;
    if (writable()) ++pipe_->writers, ++pipe_->writers_ever;
}

PipeFile::~PipeFile() {
    if (readable()) --pipe_->readers;
    if (writable()) --pipe_->writers;
    if (pipe_->readers == 0 && pipe_->writers == 0) pipe_->discard();
    if (pipe_->writers == 0) pipe_->data_came.wake_all();
    if (pipe_->readers == 0) pipe_->room_came.wake_all();
    pipe_->changed.wake_all();
}

Result<> PipeFile::wait_for_data(bool may_not_block) {
    if (may_not_block) return Errno::kAGAIN;
    Result<> result = pipe_->data_came.wait([this] { return pipe_->used() > 0 || pipe_->writers == 0; });
    if (result.is_error()) pipe_->pass_on(Pipe::Side::kReader);  // it may have been for us
    return result;
}

Result<size_t> PipeFile::read(mm::IoBuffer& to) {
    if (to.empty()) return size_t{0};
    for (;;) {
        {
            sched::MutexGuard guard(pipe_->lock);
            if (pipe_->used() > 0) {
                Result<size_t> count = pipe_->drain(to);
                if (pipe_->used() > 0) pipe_->data_came.wake_one();
                pipe_->wake_writers();
                return count;
            }
            if (pipe_->writers == 0) return size_t{0};
        }
        TRY(wait_for_data(nonblocking()));
    }
}

Errno broken_pipe() {
    task::send_signal(task::current(), task::kernel_signal(task::kSigPipe));
    return Errno::kPIPE;
}

Result<> PipeFile::wait_for_room(size_t wanted, bool may_not_block) {
    if (may_not_block) return Errno::kAGAIN;
    Result<> result = pipe_->room_came.wait([&] { return pipe_->room() >= wanted || pipe_->readers == 0; });
    if (result.is_error()) pipe_->pass_on(Pipe::Side::kWriter);
    return result;
}

Result<size_t> PipeFile::write(mm::IoBuffer& from) {
    if (pipe_->readers == 0) return broken_pipe();
    const Pipe::Turn turn(*pipe_, Pipe::Side::kWriter);  // also if the memory turns out to be bad
    size_t done = 0;
    const auto result = [&done](Errno error) { return done ? Result<size_t>(done) : Result<size_t>(error); };
    while (!from.empty()) {
        const bool whole = packet_mode() || (done == 0 && from.remaining() <= kPipeBuf);
        const size_t wanted = !whole ? 1 : from.remaining() < kPipeBuf ? from.remaining() : kPipeBuf;
        {
            sched::MutexGuard guard(pipe_->lock);
            if (pipe_->readers == 0) return result(broken_pipe());
            if (pipe_->room() >= wanted) {
                Result<size_t> count = packet_mode() ? pipe_->fill_packet(from) : pipe_->fill(from);
                if (count.is_error()) return result(count.error());
                done += count.value();
                pipe_->data_came.wake_one();
                pipe_->changed.wake_all(vfs::kPollIn | vfs::kPollRdNorm);
                if (pipe_->room() > 0 && !from.empty() && !packet_mode())
                    return done;  // bad memory behind what was taken
                continue;
            }
        }
        Result<> room = wait_for_room(wanted, nonblocking());
        if (room.is_error()) return result(room.error());
    }
    return done;
}

Result<int64_t> PipeFile::ioctl(mm::AddressSpace& space, uint32_t request, uint64_t argument) {
    if (request != kFionread) return Errno::kNOTTY;
    TRY(mm::UserOut<int32_t>{argument}.store(space, static_cast<int32_t>(pipe_->used())));
    return int64_t{0};
}

vfs::PollState PipeFile::poll() {
    using namespace vfs;
    uint32_t events = 0;
    if (readable()) {
        if (pipe_->used() > 0) events |= kPollIn | kPollRdNorm;
        if (pipe_->writers == 0 && pipe_->writers_ever > 0) events |= kPollHup;
    }
    if (writable()) {
        if (pipe_->room() >= kPipeBuf) events |= kPollOut | kPollWrNorm;
        if (pipe_->readers == 0) events |= kPollErr;
    }
    return {events, &pipe_->changed};
}

Result<String> PipeFile::describe() {
    if (!is_nameless()) return InodeFile::describe();
    StringText text;
    format_to(text, "pipe:[{}]", TRY(inode_->attributes()).ino);
    return text.take();
}

// fifo(7): opening for one direction waits until somebody opens for the other.
Result<> PipeFile::wait_for_other_end() {
    Pipe& pipe = *pipe_;
    pipe.opened.wake_all();
    pipe.changed.wake_all();
    if (readable() == writable() || is_nameless()) return {};
    const bool reads = readable();
    if (nonblocking()) return reads || pipe.readers > 0 ? Result<>() : Result<>(Errno::kNXIO);
    if (reads ? pipe.writers > 0 : pipe.readers > 0) return {};
    const uint64_t before = reads ? pipe.writers_ever : pipe.readers_ever;
    return pipe.opened.wait([&] { return (reads ? pipe.writers_ever : pipe.readers_ever) != before; });
}

namespace {

Result<RefPtr<vfs::File>> open_fifo(const vfs::Path& path, uint32_t flags) {
    vfs::Inode& inode = path.inode();
    if (!inode.attachment) inode.attachment = TRY(Pipe::create(task::current().credentials()));
    RefPtr<Pipe> pipe(static_cast<Pipe&>(*inode.attachment));
    const bool only_writes = (flags & vfs::kOAccMode) == vfs::kOWronly && inode.fs().type_name() != "pipefs";
    if (only_writes && (flags & vfs::kONonblock) && pipe->readers == 0) return Errno::kNXIO;
    auto file = TRY(make_ref<PipeFile>(path, flags, std::move(pipe)));
    TRY(file->wait_for_other_end());
    return RefPtr<vfs::File>(file);
}

Result<vfs::Path> make_pipe_path(const auth::Credentials& owner) {
    static RefPtr<PipeFs> fs;
    static RefPtr<vfs::Mount> mount;
    if (!fs) fs = TRY(make_ref<PipeFs>());
    auto inode = TRY(make_ref<PipeInode>(fs, owner));
    inode->attachment = TRY(Pipe::create(owner));
    auto dentry = TRY(vfs::Dentry::create_root(std::move(inode)));
    if (!mount) mount = TRY(make_ref<vfs::Mount>(fs, dentry, 0));
    return vfs::Path(mount, std::move(dentry));
}

}  // namespace

PipeFile* PipeFile::from(vfs::File& file) {
    vfs::Inode* inode = file.inode();
    if (!inode || inode->type() != vfs::kModeFifo || inode->opens_itself() || (file.flags & vfs::kOPath))
        return nullptr;
    return static_cast<PipeFile*>(&file);
}

Result<PipeEnds> make_pipe(uint32_t flags, const auth::Credentials& owner) {
    if (flags & ~(vfs::kONonblock | vfs::kOCloexec | vfs::kODirect)) return Errno::kINVAL;
    const uint32_t kept = flags & vfs::kONonblock, direct = flags & vfs::kODirect;
    const vfs::Path path = TRY(make_pipe_path(owner));
    RefPtr<Pipe> pipe(static_cast<Pipe&>(*path.inode().attachment));
    PipeEnds ends;
    ends.reader = TRY(make_ref<PipeFile>(path, vfs::kORdonly | kept, pipe));
    ends.writer = TRY(make_ref<PipeFile>(path, vfs::kOWronly | kept | direct, pipe));
    return ends;
}

Result<size_t> pipe_size(vfs::File& file) {
    PipeFile* pipe = PipeFile::from(file);
    if (!pipe) return Errno::kBADF;
    return pipe->pipe().capacity();
}

Result<size_t> set_pipe_size(vfs::File& file, size_t size, const auth::Credentials& who) {
    PipeFile* end = PipeFile::from(file);
    if (!end) return Errno::kBADF;
    if (size > size_t{1} << 31) return Errno::kINVAL;
    size_t pages = 1;
    while (pages * kPageSize < size && pages < kMaxPages) pages *= 2;
    if (size > pages * kPageSize) return Errno::kPERM;
    Pipe& pipe = end->pipe();
    sched::MutexGuard guard(pipe.lock);
    TRY(pipe.set_size(who, pages));
    pipe.room_came.wake_all();
    pipe.changed.wake_all();
    return pipe.capacity();
}

void register_fifos() { vfs::set_fifo_open(open_fifo); }

}  // namespace kvmsbx::fs
