#pragma once
// The pipe behind pipe.hpp: its ring and its ends. Inside fs/pipe*.cpp only.
#include "guestkernel/fs/page_io.hpp"
#include "guestkernel/fs/pipe.hpp"
#include "guestkernel/vfs/inode_file.hpp"

namespace kvmsbx::fs {

// A ring of bytes. What was written with O_DIRECT is kept in packets, whose ends a read does not cross; each takes a
// page's room, as on Linux.
class Pipe final : public RefCounted {
  public:
    ~Pipe() override;
    // Its pages count for the user as long as it lives. Who has kUserPages already gets a small one, if unprivileged.
    static Result<RefPtr<Pipe>> create(const auth::Credentials& creator);
    size_t capacity() const { return frames_.size() * kPageSize; }
    size_t used() const { return used_; }
    size_t room() const;
    // What fits resp. is there; `lock` is held.
    Result<size_t> fill(mm::IoBuffer& from);
    Result<size_t> fill_packet(mm::IoBuffer& from);  // kPipeBuf bytes at most; room() must do
    Result<size_t> drain(mm::IoBuffer& to);
    // Copies without taking, up to a packet's end; and takes `count` bytes of that (the packet's rest with them).
    Result<size_t> peek(mm::IoBuffer& to) const;
    void consume(size_t count);
    // F_SETPIPE_SZ. EBUSY, EPERM (kUserPages), ENOMEM.
    Result<> set_size(const auth::Credentials& who, size_t pages);
    void discard();
    void wake_readers();
    void wake_writers();
    // A reader (writer) who was woken and did not use up what there is wakes the next one: called at the end of every
    // transfer, whether it went well or not.
    enum class Side : bool { kReader, kWriter };
    void pass_on(Side side) {
        if (side == Side::kReader && used_ > 0) data_came.wake_one();
        if (side == Side::kWriter && room() >= kPipeBuf) room_came.wake_one();
    }
    class Turn {
      public:
        Turn(Pipe& pipe, Side side) : pipe_(pipe), side_(side) {}
        ~Turn() { pipe_.pass_on(side_); }
        Turn(const Turn&) = delete;

      private:
        Pipe& pipe_;
        const Side side_;
    };

    sched::Mutex lock;
    unsigned readers = 0, writers = 0;
    uint64_t readers_ever = 0, writers_ever = 0;
    sched::WaitQueue data_came, room_came, opened, changed;  // blocked readers, blocked writers, FIFO opens, poll

  private:
    static constexpr size_t kUserPages = 16384;  // fs.pipe-user-pages-soft
    Result<> resize(size_t pages);
    struct Packet {
        uint64_t start, end;  // counted from the first byte ever
    };
    size_t next_piece() const;  // bytes up to the next packet's start or end
    bool in_packet() const { return !packets_.empty() && packets_[0].start <= taken_; }
    void advance(size_t count);
    void drop_frames(size_t keep) {
        for (size_t i = keep; i < frames_.size(); ++i)
            if (Frame* frame = std::exchange(frames_[i], nullptr)) mm::release(frame);
    }
    auth::Uid user_ = 0;
    size_t charged_ = 0;  // pages
    Vector<Frame*> frames_;
    size_t start_ = 0, used_ = 0;  // bytes; the ring wraps at capacity()
    uint64_t taken_ = 0;           // bytes ever
    Vector<Packet> packets_;
    size_t packet_bytes_ = 0;
};

class PipeFile final : public vfs::InodeFile {
  public:
    PipeFile(const vfs::Path& path, uint32_t flags, RefPtr<Pipe> pipe);
    ~PipeFile() override;
    // Null if the file is no end of a pipe.
    static PipeFile* from(vfs::File& file);
    Result<size_t> read(mm::IoBuffer& to) override;
    Result<size_t> write(mm::IoBuffer& from) override;
    Result<size_t> read_at(mm::IoBuffer&, uint64_t) override { return Errno::kSPIPE; }
    Result<size_t> write_at(mm::IoBuffer&, uint64_t) override { return Errno::kSPIPE; }
    Result<uint64_t> seek(int64_t, int) override { return Errno::kSPIPE; }
    Result<> fsync(bool) override { return Errno::kINVAL; }
    Result<int64_t> ioctl(mm::AddressSpace& space, uint32_t request, uint64_t argument) override;
    vfs::PollState poll() override;
    Result<String> describe() override;
    Pipe& pipe() const { return *pipe_; }
    Result<> wait_for_other_end();
    // EAGAIN if it may not block, ERESTARTSYS. Data, or no writers; room, or no readers.
    Result<> wait_for_data(bool nonblocking);
    Result<> wait_for_room(size_t wanted, bool nonblocking);

  private:
    bool packet_mode() const { return flags & vfs::kODirect; }
    bool is_nameless() const {
        return inode_->fs().type_name() == "pipefs";
    }  // made by pipe(2), opened again through /proc
    RefPtr<Pipe> pipe_;
};

Errno broken_pipe();  // SIGPIPE to the caller, and EPIPE

}  // namespace kvmsbx::fs
