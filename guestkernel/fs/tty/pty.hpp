#pragma once
// Pseudoterminals and devpts (pts(4)). A PtyTerminal is the slave with its discipline; the master's File is its lower
// end: it reads the slave's output ring and gives keys by input(). Each devpts mount with pty instances of its own is a
// PtsFileSystem; the first one also holds the terminals that the host gave (as engines that make them in the container's
// devpts have it). A pty's number is taken until master and slaves are closed; its node goes with the
// master. When the master closes, the slave hangs up.
#include "guestkernel/fs/tty/terminal.hpp"
#include "guestkernel/vfs/file_system.hpp"

namespace kvmsbx::fs {

class PtsFileSystem;

class PtyTerminal final : public Terminal {
  public:
    PtyTerminal(RefPtr<PtsFileSystem> instance, uint32_t index);
    ~PtyTerminal() override;
    Result<> create() { return create_ring(kRingPages); }

    const uint32_t index;
    bool locked_by_master = true;  // TIOCSPTLCK
    bool master_open = true;

    // The master's side.
    Result<size_t> master_read(mm::IoBuffer& to, bool nonblocking);
    Result<size_t> master_write(mm::IoBuffer& from, bool nonblocking);
    vfs::PollState master_poll();
    void master_closed();
    // tcflush(3) on the master: what it could read, what the slave could.
    void flush_from_master(bool readable, bool written);
    // TIOCPKT: reads begin with a byte that tells what happened on the slave's side, or that data follow.
    void set_packet_mode(bool on);
    bool packet_mode() const { return packet_mode_; }
    size_t waiting_output() const { return output_.size(); }
    PtsFileSystem& instance() const { return *instance_; }

  private:
    static constexpr unsigned kRingPages = 2;
    void push_output() override { wake(); }
    void input_taken() override { wake(); }
    void output_discarded() override { output_.clear(); }
    void packet_event(uint8_t events, uint8_t cleared) override;
    bool line_gone() const override { return !master_open; }
    bool has_node() const override { return master_open; }
    bool locked() const override { return locked_by_master; }
    void file_opened() override;
    void closed() override;

    RefPtr<PtsFileSystem> instance_;
    unsigned slaves_ = 0;
    bool packet_mode_ = false;
    uint8_t packet_events_ = 0;
    bool slaves_closed_ = false;  // the last one closed and none came since: the master reads EIO
};

class PtsFileSystem final : public vfs::FileSystem {
  public:
    PtsFileSystem() { cacheable_names = false; }
    Result<> configure(std::string_view data);                                                     // EINVAL
    Result<vfs::FsStatistics> statistics() override { return vfs::FsStatistics{.type = 0x1cd1}; }  // DEVPTS_SUPER_MAGIC
    std::string_view type_name() const override { return "devpts"; }
    Result<String> options() override;

    // A new pty, locked. ENOSPC, ENOMEM.
    Result<RefPtr<PtyTerminal>> create_pty();
    // Null: no such node.
    RefPtr<Terminal> find(uint32_t index) const;
    // The same, also when the node is gone but slaves are open.
    Terminal* at(uint32_t index) const { return index < slots_.size() ? slots_[index] : nullptr; }
    // Lowest node number >= from, or -1.
    int next(uint32_t from) const;
    // The lowest number that no terminal has. ENOSPC, ENOMEM.
    Result<uint32_t> free_index();
    void set(uint32_t index, Terminal& terminal) { slots_[index] = &terminal; }
    void forget(uint32_t index, const Terminal& terminal) {
        if (slots_[index] == &terminal) slots_[index] = nullptr;
    }
    // What nodes of the host's terminals have by the mount's options, and their owners by that of the mount's.
    void give_mode(Terminal& terminal) const;
    void give_modes() const;
    uint32_t ptmx_mode() const { return ptmx_mode_; }
    const uint64_t created = sched::realtime_now();

  private:
    static constexpr uint32_t kMaximum = 4096;
    bool visible(uint32_t index) const;
    Vector<Terminal*> slots_;  // no references: ptys take themselves out
    uint32_t mode_ = 0600, ptmx_mode_ = 0, uid_ = 0, gid_ = 0, maximum_ = kMaximum;
    bool has_uid_ = false, has_gid_ = false;
};

// The first process's terminal, if the host gave one; null before and else.
Terminal* console_terminal();
// That which is mounted first. ENOMEM.
Result<RefPtr<PtsFileSystem>> first_devpts();
// File system type "devpts" and the devices /dev/tty, /dev/console, /dev/ptmx, /dev/pts/N.
Result<> register_terminals();

}  // namespace kvmsbx::fs
