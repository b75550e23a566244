#pragma once
// POSIX message queues (mq_overview(7)) and the file system that shows them.
//
// Model. A PosixQueue is an inode of the one file system of type "mqueue"; its directory lists all queues, whether the
// file system is mounted anywhere or not. A queue descriptor is an ordinary file (PosixQueueFile), made by mq_open(2)
// or by open(2) in a mount. Messages are kept by priority, the oldest of the highest first. A queue is charged in full
// to its creator's user against RLIMIT_MSGQUEUE for as long as it lives, open or named.
#include "guestkernel/lib/format.hpp"
#include "guestkernel/task/task.hpp"
#include "guestkernel/vfs/inode_file.hpp"

namespace kvmsbx::ipc {

struct MqueueLimits {  // /proc/sys/fs/mqueue
    uint32_t queues = 256, messages = 10, message_size = 8192, default_messages = 10, default_message_size = 8192;
};
extern MqueueLimits mqueue_limits;

inline constexpr uint32_t kMqMaxPriority = 32768;

struct MqAttributes {  // struct mq_attr
    int64_t flags, maximum, message_size, current, reserved[4];
};
static_assert(sizeof(MqAttributes) == 64);

struct PosixMessage {
    uint32_t priority = 0;
    Vector<std::byte> bytes;
    ListHook hook;
};

// mq_notify(2).
struct MqNotification {
    enum class How : uint8_t { kSignal, kNone, kThread } how = How::kNone;
    int32_t signal = 0;
    uint64_t value = 0;
    RefPtr<vfs::File> netlink;      // kThread: the socket that is sent the cookie
    std::byte cookie[32] = {};      // its last byte tells what happened
    RefPtr<task::Process> process;  // null: nobody is registered
};

class PosixQueue final : public vfs::Inode {
  public:
    PosixQueue(RefPtr<vfs::FileSystem> fs, const vfs::NewNode& node, int64_t maximum, int64_t message_size);
    ~PosixQueue() override;
    Result<vfs::Attributes> attributes() override { return attributes_; }
    Result<> set_attributes(const vfs::AttributeChange& change) override;
    uint32_t type() const override { return vfs::kModeRegular; }
    Result<RefPtr<vfs::File>> open(const vfs::Path& path, uint32_t flags) override;
    void unlinked() { attributes_.nlink = 0; }

    // deadline: CLOCK_MONOTONIC. EAGAIN (nonblocking), ETIMEDOUT, ERESTARTSYS.
    Result<> send(OwnPtr<PosixMessage> message, bool nonblocking, sched::Nanoseconds deadline);
    Result<OwnPtr<PosixMessage>> receive(bool nonblocking, sched::Nanoseconds deadline);
    Result<> request_notification(MqNotification wanted);  // EBUSY
    void cancel_notification(const task::Process& process);
    bool is_full() const { return count_ >= maximum; }
    bool is_empty() const { return count_ == 0; }
    void describe_state(TextSink& sink) const;
    int64_t count() const { return count_; }

    const int64_t maximum, message_size;
    sched::WaitQueue changed;  // poll

  private:
    void end_charge();
    void insert(PosixMessage& message);
    void notify();
    static void send_cookie(MqNotification& told, uint8_t what);
    vfs::Attributes attributes_;
    auth::Uid charged_user_ = 0;
    int64_t count_ = 0, bytes_ = 0;
    unsigned waiting_receivers_ = 0;
    MqNotification notification_;
    List<PosixMessage, &PosixMessage::hook> messages_;
    sched::WaitQueue senders_, receivers_;
};

class PosixQueueFile final : public vfs::InodeFile {
  public:
    PosixQueueFile(const vfs::Path& path, uint32_t flags, String name)
        : InodeFile(path, flags), name_(std::move(name)) {}
    static PosixQueueFile* from(vfs::File& file);
    PosixQueue& queue() const { return static_cast<PosixQueue&>(*inode_); }
    Result<size_t> read_at(mm::IoBuffer& to, uint64_t offset) override;
    Result<size_t> write(mm::IoBuffer&) override { return Errno::kINVAL; }
    Result<size_t> write_at(mm::IoBuffer&, uint64_t) override { return Errno::kINVAL; }
    vfs::PollState poll() override;
    Result<> flush() override;
    Result<> fsync(bool) override { return Errno::kINVAL; }
    Result<String> describe() override;
    const void* class_tag() const override { return &kTag; }

  private:
    static const char kTag;
    String name_;  // as mq_open(2) was given it; empty: opened in a mount
};

// mq_open(2): attributes null for the defaults. flags and mode as open(2)'s; the umask is the caller's.
Result<RefPtr<vfs::File>> open_queue(task::Task& task, std::string_view name, uint32_t flags, uint32_t mode,
                                     const MqAttributes* attributes);
Result<> unlink_queue(task::Task& task, std::string_view name);
// Registers the type "mqueue". Called once at start.
Result<> register_mqueue();

}  // namespace kvmsbx::ipc
