// /dev/ptmx: masters of ptys (pty(7), ptmx(4)).
#include "guestkernel/fs/tty/pty_master.hpp"

#include "guestkernel/lib/format.hpp"
#include "guestkernel/vfs/dentry.hpp"
#include "guestkernel/vfs/device.hpp"
#include "guestkernel/vfs/mount.hpp"

namespace kvmsbx::fs {
namespace {

constexpr uint64_t kFlushInput = 0, kFlushOutput = 1, kFlushBoth = 2;

class PtyMaster final : public vfs::File {
  public:
    PtyMaster(RefPtr<PtyTerminal> terminal, const vfs::Path& path, uint32_t flags)
        : File(flags), terminal_(std::move(terminal)), path_(path) {}
    ~PtyMaster() override { terminal_->master_closed(); }
    Result<size_t> read(mm::IoBuffer& to) override { return terminal_->master_read(to, nonblocking()); }
    Result<size_t> write(mm::IoBuffer& from) override { return terminal_->master_write(from, nonblocking()); }
    Result<size_t> read_at(mm::IoBuffer&, uint64_t) override { return Errno::kSPIPE; }
    Result<size_t> write_at(mm::IoBuffer&, uint64_t) override { return Errno::kSPIPE; }
    Result<uint64_t> seek(int64_t, int) override { return Errno::kSPIPE; }
    Result<int64_t> ioctl(mm::AddressSpace& space, uint32_t request, uint64_t argument) override;
    vfs::PollState poll() override { return terminal_->master_poll(); }
    Result<> fsync(bool) override { return Errno::kINVAL; }
    vfs::Inode* inode() override { return &path_.inode(); }
    const vfs::Path* path() override { return &path_; }
    Result<String> describe() override { return vfs::path_string(path_, task::current().fs().root); }

  private:
    Result<int64_t> open_peer(uint32_t peer_flags);
    Result<int64_t> flush_queue(uint64_t queue);
    RefPtr<PtyTerminal> terminal_;
    vfs::Path path_;
};

// TIOCGPTPEER: the slave, whatever is mounted where.
Result<int64_t> PtyMaster::open_peer(uint32_t peer_flags) {
    task::Task& task = task::current();
    vfs::Path root;
    for (vfs::Mount* mount = vfs::first_mount(); mount && !root.is_set(); mount = vfs::next_mount(*mount))
        if (&mount->fs() == &terminal_->instance()) root = vfs::Path(RefPtr<vfs::Mount>(*mount), mount->root());
    if (!root.is_set()) return Errno::kIO;
    FixedText<16> name;
    format_to(name, "{}", terminal_->index);
    auto file = TRY(vfs::open(task.caller(), root, name.view(), peer_flags, 0));
    return TRY(task.files().install(std::move(file), peer_flags & vfs::kOCloexec, task.limit(task::kRlimitNofile)));
}

Result<int64_t> PtyMaster::flush_queue(uint64_t queue) {
    if (queue > kFlushBoth) return Errno::kINVAL;
    terminal_->flush_from_master(queue != kFlushOutput, queue != kFlushInput);
    return 0;
}

Result<int64_t> PtyMaster::ioctl(mm::AddressSpace& space, uint32_t request, uint64_t argument) {
    switch (request) {
        case kTiocGptn: TRY(mm::UserOut<uint32_t>{argument}.store(space, terminal_->index)); return 0;
        case kTiocSptlck: terminal_->locked_by_master = TRY(mm::UserIn<int32_t>{argument}.load(space)) != 0; return 0;
        case kTiocGptlck: TRY(mm::UserOut<int32_t>{argument}.store(space, terminal_->locked_by_master)); return 0;
        case kTiocGptpeer: return open_peer(static_cast<uint32_t>(argument));
        case kTiocSig:
            if (argument < 1 || argument > task::kSigMax) return Errno::kINVAL;
            (void)terminal_->signal_foreground(static_cast<int>(argument));
            return 0;
        case kTiocPkt: terminal_->set_packet_mode(TRY(mm::UserIn<int32_t>{argument}.load(space)) != 0); return 0;
        case kTiocGpkt: TRY(mm::UserOut<int32_t>{argument}.store(space, terminal_->packet_mode())); return 0;
        case kFionRead:
            TRY(mm::UserOut<int32_t>{argument}.store(space, static_cast<int32_t>(terminal_->waiting_output())));
            return 0;
        case kTcFlsh: return flush_queue(argument);
        case kTiocSctty:
        case kTiocNotty:
        case kTiocSti:
        case kTcXonc: return Errno::kIO;  // a master is nobody's terminal
        default: return terminal_->ioctl(space, request, argument, flags, Terminal::Side::kMaster);
    }
}

}  // namespace

Result<RefPtr<vfs::File>> open_pty_master(PtsFileSystem& instance, const vfs::Path& path, uint32_t flags) {
    auto terminal = TRY(instance.create_pty());
    constexpr uint32_t kOpenOnly = vfs::kOCreat | vfs::kOExcl | vfs::kONoctty | vfs::kOTrunc | vfs::kOCloexec;
    return RefPtr<vfs::File>(TRY(make_ref<PtyMaster>(std::move(terminal), path, flags & ~kOpenOnly)));
}

}  // namespace kvmsbx::fs
