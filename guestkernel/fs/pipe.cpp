#include "guestkernel/fs/pipe.hpp"

#include "guestkernel/fs/page_io.hpp"
#include "guestkernel/lib/format.hpp"
#include "guestkernel/task/registry.hpp"
#include "guestkernel/vfs/dentry.hpp"
#include "guestkernel/vfs/device.hpp"
#include "guestkernel/vfs/inode_file.hpp"
#include "guestkernel/vfs/mount.hpp"

namespace kvmsbx::fs {

namespace {

constexpr size_t kDefaultPages = 16, kMaxPages = 256;
constexpr uint32_t kFionread = 0x541b;

class Pipe final : public RefCounted {
  public:
    ~Pipe() override { drop_frames(0); }
    static Result<RefPtr<Pipe>> create() {
        auto pipe = TRY(make_ref<Pipe>());
        TRY(pipe->frames_.resize(kDefaultPages));
        return pipe;
    }
    size_t capacity() const { return frames_.size() * kPageSize; }
    size_t used() const { return used_; }
    size_t room() const { return capacity() - used_; }
    // What fits resp. is there; `lock` is held.
    Result<size_t> fill(mm::IoBuffer& from);
    Result<size_t> drain(mm::IoBuffer& to);
    Result<> resize(size_t pages);
    void discard() {
        drop_frames(0);
        start_ = used_ = 0;
    }

    sched::Mutex lock;
    unsigned readers = 0, writers = 0;
    uint64_t readers_ever = 0, writers_ever = 0;
    sched::WaitQueue data_came, room_came, opened, changed;  // blocked readers, blocked writers, FIFO opens, poll

  private:
    void drop_frames(size_t keep) {
        for (size_t i = keep; i < frames_.size(); ++i)
            if (Frame* frame = std::exchange(frames_[i], nullptr)) mm::release(frame);
    }
    Vector<Frame*> frames_;
    size_t start_ = 0, used_ = 0;  // bytes; the ring wraps at capacity()
};

Result<size_t> Pipe::fill(mm::IoBuffer& from) {
    size_t done = 0;
    while (!from.empty() && room() > 0) {
        const size_t at = (start_ + used_) % capacity();
        Frame*& frame = frames_[at / kPageSize];
        if (!frame) {
            Result<Frame*> fresh = mm::allocate_frame(mm::Zero::kNo);
            if (fresh.is_error()) return done ? Result<size_t>(done) : Result<size_t>(fresh.error());
            frame = fresh.value();
        }
        size_t count = kPageSize - at % kPageSize;
        if (count > room()) count = room();
        if (count > from.remaining()) count = from.remaining();
        Result<size_t> copied = from.take(static_cast<char*>(frame->data()) + at % kPageSize, count);
        if (copied.is_error()) return done ? Result<size_t>(done) : Result<size_t>(copied.error());
        used_ += copied.value();
        done += copied.value();
        if (copied.value() < count) break;
    }
    return done;
}

Result<size_t> Pipe::drain(mm::IoBuffer& to) {
    size_t done = 0;
    while (!to.empty() && used_ > 0) {
        size_t count = kPageSize - start_ % kPageSize;
        if (count > used_) count = used_;
        if (count > to.remaining()) count = to.remaining();
        Result<size_t> copied =
            to.put(static_cast<char*>(frames_[start_ / kPageSize]->data()) + start_ % kPageSize, count);
        if (copied.is_error()) return done ? Result<size_t>(done) : Result<size_t>(copied.error());
        start_ = (start_ + copied.value()) % capacity();
        used_ -= copied.value();
        done += copied.value();
        if (copied.value() < count) break;
    }
    if (used_ == 0) {
        start_ = 0;
        if (done > kPageSize) drop_frames(1);
    }
    return done;
}

Result<> Pipe::resize(size_t pages) {
    if (pages * kPageSize < used_) return Errno::kBUSY;
    Pipe other;
    TRY(other.frames_.resize(pages));
    while (other.used_ < used_) {
        const size_t at = (start_ + other.used_) % capacity();
        size_t count = kPageSize - at % kPageSize;
        if (count > used_ - other.used_) count = used_ - other.used_;
        mm::IoBuffer piece = mm::IoBuffer::kernel_readonly(
            {static_cast<const std::byte*>(frames_[at / kPageSize]->data()) + at % kPageSize, count});
        TRY(other.fill(piece));
        if (!piece.empty()) return Errno::kNOMEM;
    }
    frames_.swap(other.frames_);
    start_ = 0;
    return {};
}

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

class PipeFile final : public vfs::InodeFile {
  public:
    PipeFile(const vfs::Path& path, uint32_t flags, RefPtr<Pipe> pipe)
        : InodeFile(path, flags), pipe_(std::move(pipe)) {
        if (readable()) ++pipe_->readers, ++pipe_->readers_ever;
        if (writable()) ++pipe_->writers, ++pipe_->writers_ever;
    }
    ~PipeFile() override;
    Result<size_t> read(mm::IoBuffer& to) override;
    Result<size_t> write(mm::IoBuffer& from) override;
    Result<uint64_t> seek(int64_t, int) override { return Errno::kSPIPE; }
    Result<> fsync(bool) override { return Errno::kINVAL; }
    Result<int64_t> ioctl(mm::AddressSpace& space, uint32_t request, uint64_t argument) override;
    vfs::PollState poll() override;
    Result<String> describe() override;
    Pipe& pipe() const { return *pipe_; }
    Result<> wait_for_other_end();

  private:
    Result<> wait_for_data();
    Result<> wait_for_room(size_t wanted);
    Errno broken_pipe();
    bool is_nameless() const {
        return inode_->fs().type_name() == "pipefs";
    }  // made by pipe(2), opened again through /proc
    RefPtr<Pipe> pipe_;
};

PipeFile::~PipeFile() {
    if (readable()) --pipe_->readers;
    if (writable()) --pipe_->writers;
    if (pipe_->readers == 0 && pipe_->writers == 0) pipe_->discard();
    if (pipe_->writers == 0) pipe_->data_came.wake_all();
    if (pipe_->readers == 0) pipe_->room_came.wake_all();
    pipe_->changed.wake_all();
}

Result<> PipeFile::wait_for_data() {
    if (nonblocking()) return Errno::kAGAIN;
    Result<> result = pipe_->data_came.wait([this] { return pipe_->used() > 0 || pipe_->writers == 0; });
    if (result.is_error() && pipe_->used() > 0) pipe_->data_came.wake_one();  // it may have been for us
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
                if (pipe_->room() >= kPipeBuf) pipe_->room_came.wake_one();
                pipe_->changed.wake_all(vfs::kPollOut | vfs::kPollWrNorm);
                return count;
            }
            if (pipe_->writers == 0) return size_t{0};
        }
        TRY(wait_for_data());
    }
}

Errno PipeFile::broken_pipe() {
    task::send_signal(task::current(), task::kernel_signal(task::kSigPipe));
    return Errno::kPIPE;
}

Result<> PipeFile::wait_for_room(size_t wanted) {
    if (nonblocking()) return Errno::kAGAIN;
    Result<> result = pipe_->room_came.wait([&] { return pipe_->room() >= wanted || pipe_->readers == 0; });
    if (result.is_error() && pipe_->room() >= kPipeBuf) pipe_->room_came.wake_one();
    return result;
}

Result<size_t> PipeFile::write(mm::IoBuffer& from) {
    if (pipe_->readers == 0) return broken_pipe();
    size_t done = 0;
    const auto result = [&done](Errno error) { return done ? Result<size_t>(done) : Result<size_t>(error); };
    while (!from.empty()) {
        const size_t wanted = done == 0 && from.remaining() <= kPipeBuf ? from.remaining() : 1;
        {
            sched::MutexGuard guard(pipe_->lock);
            if (pipe_->readers == 0) return result(broken_pipe());
            if (pipe_->room() >= wanted) {
                Result<size_t> count = pipe_->fill(from);
                if (count.is_error()) return result(count.error());
                done += count.value();
                pipe_->data_came.wake_one();
                pipe_->changed.wake_all(vfs::kPollIn | vfs::kPollRdNorm);
                if (from.empty() && pipe_->room() >= kPipeBuf) pipe_->room_came.wake_one();
                if (pipe_->room() > 0 && !from.empty()) return done;  // bad memory behind what was taken
                continue;
            }
        }
        Result<> room = wait_for_room(wanted);
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

Result<RefPtr<vfs::File>> open_fifo(const vfs::Path& path, uint32_t flags) {
    vfs::Inode& inode = path.inode();
    if (!inode.attachment) inode.attachment = TRY(Pipe::create());
    RefPtr<Pipe> pipe(static_cast<Pipe&>(*inode.attachment));
    auto file = TRY(make_ref<PipeFile>(path, flags, std::move(pipe)));
    TRY(file->wait_for_other_end());
    return RefPtr<vfs::File>(file);
}

PipeFile* as_pipe(vfs::File& file) {
    vfs::Inode* inode = file.inode();
    if (!inode || inode->type() != vfs::kModeFifo || (file.flags & vfs::kOPath)) return nullptr;
    return static_cast<PipeFile*>(&file);
}

Result<vfs::Path> make_pipe_path(const auth::Credentials& owner) {
    static RefPtr<PipeFs> fs;
    static RefPtr<vfs::Mount> mount;
    if (!fs) fs = TRY(make_ref<PipeFs>());
    auto inode = TRY(make_ref<PipeInode>(fs, owner));
    inode->attachment = TRY(Pipe::create());
    auto dentry = TRY(vfs::Dentry::create_root(std::move(inode)));
    if (!mount) mount = TRY(make_ref<vfs::Mount>(fs, dentry, 0));
    return vfs::Path(mount, std::move(dentry));
}

}  // namespace

Result<PipeEnds> make_pipe(uint32_t flags, const auth::Credentials& owner) {
    if (flags & ~(vfs::kONonblock | vfs::kOCloexec)) return Errno::kINVAL;
    const uint32_t kept = flags & vfs::kONonblock;
    const vfs::Path path = TRY(make_pipe_path(owner));
    RefPtr<Pipe> pipe(static_cast<Pipe&>(*path.inode().attachment));
    PipeEnds ends;
    ends.reader = TRY(make_ref<PipeFile>(path, vfs::kORdonly | kept, pipe));
    ends.writer = TRY(make_ref<PipeFile>(path, vfs::kOWronly | kept, pipe));
    return ends;
}

Result<size_t> pipe_size(vfs::File& file) {
    PipeFile* pipe = as_pipe(file);
    if (!pipe) return Errno::kBADF;
    return pipe->pipe().capacity();
}

Result<size_t> set_pipe_size(vfs::File& file, size_t size) {
    PipeFile* end = as_pipe(file);
    if (!end) return Errno::kBADF;
    size_t pages = 1;
    while (pages * kPageSize < size && pages < kMaxPages) pages *= 2;
    if (size > pages * kPageSize) return Errno::kPERM;
    Pipe& pipe = end->pipe();
    sched::MutexGuard guard(pipe.lock);
    TRY(pipe.resize(pages));
    pipe.room_came.wake_all();
    pipe.changed.wake_all();
    return pipe.capacity();
}

void register_fifos() { vfs::set_fifo_open(open_fifo); }

}  // namespace kvmsbx::fs
