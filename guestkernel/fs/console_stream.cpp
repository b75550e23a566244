#include "guestkernel/fs/console_stream.hpp"

#include "guestkernel/fs/tty/byte_ring.hpp"
#include "guestkernel/fs/tty/termios.hpp"
#include "guestkernel/lib/format.hpp"
#include "guestkernel/task/registry.hpp"
#include "guestkernel/vfs/dentry.hpp"
#include "guestkernel/vfs/mount.hpp"

namespace kvmsbx::fs {
namespace {

constexpr unsigned kStreamPages = 16;  // 64 KiB, as much as a pipe and as one hypercall moves

class StreamFileSystem final : public vfs::FileSystem {
  public:
    Result<vfs::FsStatistics> statistics() override { return vfs::FsStatistics{.type = 0x50495045}; }  // PIPEFS_MAGIC
    std::string_view type_name() const override { return "pipefs"; }
};

// Input is read ahead into a ring, so that poll and FIONREAD know what is there. Output is not buffered: a bounce ring
// holds one write's bytes while the hypercall takes them; `busy` lets one writer at a time use it.
class ByteStream final : public RefCounted, HostStream::User {
  public:
    ByteStream(RefPtr<HostStream> stream, uint32_t access) : stream(std::move(stream)), access(access) {
        this->stream->set_user(this);
    }
    ~ByteStream() override { stream->set_user(nullptr); }
    void fill();  // reads ahead what the host has
    void file_opened() { ++files_; }
    void file_closed() {
        if (--files_ == 0) stream->close(), closed = true;
    }

    const RefPtr<HostStream> stream;
    const uint32_t access;  // kORdonly, kOWronly or kORdwr
    const uint64_t number = ++last_number;
    ByteRing input, output;
    bool ended = false;    // end of file came
    bool broken = false;   // the reader is gone
    bool blocked = false;  // a write met EAGAIN, no event since
    bool busy = false;
    bool closed = false;
    sched::WaitQueue changed;

  private:
    void host_ready() override {
        blocked = false;
        changed.wake_all();
    }
    static inline uint64_t last_number;
    unsigned files_ = 0;
};

class StreamInode final : public vfs::Inode {
  public:
    StreamInode(RefPtr<vfs::FileSystem> fs, RefPtr<ByteStream> stream, const auth::Credentials& owner)
        : Inode(std::move(fs)), stream_(std::move(stream)), uid_(owner.euid), gid_(owner.egid) {}
    Result<vfs::Attributes> attributes() override {
        vfs::Attributes attributes;
        attributes.ino = stream_->number;
        attributes.mode = vfs::kModeFifo | mode_;
        attributes.nlink = 1;
        attributes.uid = uid_;
        attributes.gid = gid_;
        return attributes;
    }
    Result<> set_attributes(const vfs::AttributeChange& change) override {
        if (change.valid & vfs::AttributeChange::kMode) mode_ = change.mode & 07777;
        if (change.valid & vfs::AttributeChange::kUid) uid_ = change.uid;
        if (change.valid & vfs::AttributeChange::kGid) gid_ = change.gid;
        return {};
    }
    uint32_t type() const override { return vfs::kModeFifo; }
    Result<RefPtr<vfs::File>> open(const vfs::Path& path, uint32_t flags) override;
    bool opens_itself() const override { return true; }

  private:
    const RefPtr<ByteStream> stream_;
    uint32_t mode_ = 0600, uid_, gid_;
};

class StreamFile final : public vfs::File {
  public:
    StreamFile(RefPtr<ByteStream> stream, const vfs::Path& path, uint32_t flags)
        : File(flags), owned_(std::move(stream)), stream_(*owned_), path_(path) {
        stream_.file_opened();
    }
    ~StreamFile() override { stream_.file_closed(); }
    Result<size_t> read(mm::IoBuffer& to) override;
    Result<size_t> write(mm::IoBuffer& from) override;
    Result<size_t> read_at(mm::IoBuffer&, uint64_t) override { return Errno::kSPIPE; }
    Result<size_t> write_at(mm::IoBuffer&, uint64_t) override { return Errno::kSPIPE; }
    Result<uint64_t> seek(int64_t, int) override { return Errno::kSPIPE; }
    Result<int64_t> ioctl(mm::AddressSpace& space, uint32_t request, uint64_t argument) override;
    vfs::PollState poll() override;
    Result<> fsync(bool) override { return Errno::kINVAL; }
    vfs::Inode* inode() override { return &path_.inode(); }
    const vfs::Path* path() override { return &path_; }
    Result<String> describe() override;

  private:
    // A FIFO can be opened for both, whatever its end is for.
    bool gives() const { return readable() && stream_.access != vfs::kOWronly; }
    bool takes() const { return writable() && stream_.access != vfs::kORdonly; }
    Result<> send(std::span<const uint8_t> bytes, size_t& done);
    Result<size_t> write_turn(mm::IoBuffer& from);
    const RefPtr<ByteStream> owned_;
    ByteStream& stream_;
    vfs::Path path_;
};

Result<RefPtr<vfs::File>> StreamInode::open(const vfs::Path& path, uint32_t flags) {
    if (stream_->closed) return Errno::kNXIO;
    return RefPtr<vfs::File>(TRY(make_ref<StreamFile>(stream_, path, flags)));
}

void ByteStream::fill() {
    if (ended || closed || !input.empty()) return;
    if (!input.room() && input.create(kStreamPages).is_error()) return;
    const auto space = input.free_run();
    const auto got = stream->read(std::as_writable_bytes(space));
    if (got.is_error() && got.error() == Errno::kAGAIN) return;
    if (got.is_ok() && got.value() > 0)
        input.add(got.value());
    else
        ended = true;
}

Result<size_t> StreamFile::read(mm::IoBuffer& to) {
    if (!gives()) return Errno::kBADF;
    if (!stream_.input.room() && stream_.input.empty()) TRY(stream_.input.create(kStreamPages));
    if (to.empty()) return size_t{0};
    stream_.fill();
    if (stream_.input.empty() && !stream_.ended) {
        if (nonblocking()) return Errno::kAGAIN;
        TRY(stream_.changed.wait([&] {
            stream_.fill();
            return !stream_.input.empty() || stream_.ended;
        }));
    }
    size_t done = 0;
    while (!to.empty() && !stream_.input.empty()) {
        // The bytes leave the ring before the copy, which may block and let another reader run.
        uint8_t chunk[1024];
        const auto front = stream_.input.front();
        const size_t size = std::min({front.size(), to.remaining(), sizeof chunk});
        memcpy(chunk, front.data(), size);
        stream_.input.drop(size);
        const auto copied = to.put(chunk, size);
        if (copied.is_error()) return done ? Result<size_t>(done) : copied.error();
        done += copied.value();
        if (copied.value() < size) break;
    }
    return done;
}

// All of `bytes`, which lie in the ring's frames; done counts on.
Result<> StreamFile::send(std::span<const uint8_t> bytes, size_t& done) {
    while (!bytes.empty()) {
        if (stream_.broken) return Errno::kPIPE;
        const auto sent = stream_.stream->write(std::as_bytes(bytes));
        if (sent.is_ok()) {
            bytes = bytes.subspan(sent.value());
            done += sent.value();
            continue;
        }
        if (sent.error() != Errno::kAGAIN) {
            stream_.broken = true;
            stream_.changed.wake_all();
            return sent.error() == Errno::kPIPE ? Errno::kPIPE : Errno::kIO;
        }
        stream_.blocked = true;
        if (nonblocking()) return Errno::kAGAIN;
        TRY(stream_.changed.wait([&] { return !stream_.blocked; }));
    }
    return {};
}

Result<size_t> StreamFile::write_turn(mm::IoBuffer& from) {
    size_t done = 0;
    while (!from.empty()) {
        stream_.output.clear();
        const auto space = stream_.output.free_run();
        const auto taken = from.take(space.data(), space.size());
        if (taken.is_error()) return done ? Result<size_t>(done) : taken.error();
        const auto sent = send(space.first(taken.value()), done);
        if (sent.is_error()) return done ? Result<size_t>(done) : sent.error();
    }
    return done;
}

Result<size_t> StreamFile::write(mm::IoBuffer& from) {
    if (!takes()) return Errno::kBADF;
    if (from.empty()) return size_t{0};
    if (stream_.busy) {
        if (nonblocking()) return Errno::kAGAIN;
        TRY(stream_.changed.wait([&] { return !stream_.busy; }));
    }
    if (!stream_.output.room()) TRY(stream_.output.create(kStreamPages));
    stream_.busy = true;
    const auto done = write_turn(from);
    stream_.busy = false;
    stream_.changed.wake_all();
    if (done.is_error() && done.error() == Errno::kPIPE)
        task::send_signal(task::current(), task::kernel_signal(task::kSigPipe));
    return done.is_error() ? Result<size_t>(done.error()) : done.value();
}

Result<int64_t> StreamFile::ioctl(mm::AddressSpace& space, uint32_t request, uint64_t argument) {
    if (request != kFionRead) return Errno::kNOTTY;
    if (gives()) stream_.fill();
    const size_t waiting = gives() ? stream_.input.size() : 0;
    TRY(mm::UserOut<int32_t>{argument}.store(space, static_cast<int32_t>(waiting)));
    return 0;
}

vfs::PollState StreamFile::poll() {
    using namespace vfs;
    uint32_t events = 0;
    if (gives()) {
        stream_.fill();
        if (!stream_.input.empty()) events |= kPollIn | kPollRdNorm;
        if (stream_.ended) events |= kPollHup;
    }
    if (takes()) {
        if (!stream_.blocked && !stream_.busy) events |= kPollOut | kPollWrNorm;
        if (stream_.broken) events |= kPollErr;
    }
    return {events, &stream_.changed};
}

Result<String> StreamFile::describe() {
    FixedText<32> text;
    format_to(text, "pipe:[{}]", stream_.number);
    return String::create(text.view());
}

}  // namespace

Result<RefPtr<vfs::File>> open_stream(RefPtr<HostStream> stream, uint32_t access, const auth::Credentials& owner) {
    static RefPtr<vfs::FileSystem> file_system;
    if (!file_system) file_system = TRY(make_ref<StreamFileSystem>());
    auto bytes = TRY(make_ref<ByteStream>(std::move(stream), access));
    RefPtr<vfs::Inode> inode = TRY(make_ref<StreamInode>(file_system, std::move(bytes), owner));
    auto dentry = TRY(vfs::Dentry::create_root(inode));
    auto mount = TRY(make_ref<vfs::Mount>(file_system, dentry, 0));
    return inode->open(vfs::Path(mount, dentry), access);
}

}  // namespace kvmsbx::fs
