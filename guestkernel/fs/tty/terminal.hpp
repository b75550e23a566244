#pragma once
// Terminals: what is common to the console and to ptys (tty_ioctl(4), termios(3), credentials(7) for sessions and job
// control).
//
// Model. A Terminal joins a LineDiscipline with an output ring and the rules of job control. Its upper end are
// TerminalFiles, which tasks hold; its lower end is a derived class: ConsoleTerminal moves bytes by hypercalls,
// PtyTerminal leaves them in the ring for the master to read.
// - Output goes through output_; while ^S holds it, echo waits in held_ and writers block.
// - A session has a reference to its terminal and a terminal one to its session; whoever ends the tie (hang-up, the
//   leader's exit, TIOCNOTTY) clears both.
// - hang_up() is for ever for the files that were open then (their generation_ is an old one): reads give end of file,
//   writes EIO. New opens work again where the lower end lives.
// - Kernel lock throughout. Copying user memory and waiting may block: after each the state is looked at anew.
#include "guestkernel/fs/tty/byte_ring.hpp"
#include "guestkernel/fs/tty/line_discipline.hpp"
#include "guestkernel/mm/user_memory.hpp"
#include "guestkernel/task/task.hpp"
#include "guestkernel/vfs/file.hpp"

namespace kvmsbx::fs {

class TerminalFile;

class Terminal : public task::ControllingTerminal, protected LineHost {
  public:
    // task::ControllingTerminal
    uint64_t device_number() const override { return device_; }
    int32_t foreground_group() const override { return foreground_; }
    void session_leader_exited() override;

    // --- the upper end. file: whose flags and generation count.
    Result<size_t> read(TerminalFile& file, mm::IoBuffer& to);
    Result<size_t> write(TerminalFile& file, mm::IoBuffer& from);
    vfs::PollState poll(TerminalFile& file);
    // caller: the task::current(). ENOTTY: not an ioctl of terminals. through_master: called on a pty's master (job
    // control does not apply).
    enum class Side : bool { kTerminal, kMaster };
    Result<int64_t> ioctl(mm::AddressSpace& space, uint32_t request, uint64_t argument, uint32_t flags, Side side);
    // What open(2) does besides making the File: EIO, EBUSY (TIOCEXCL); makes it the controlling terminal of a session
    // leader that has none, unless noctty.
    Result<> opened(bool noctty, uint32_t flags);
    virtual void file_opened() {}
    virtual void closed() {}
    virtual bool has_node() const = 0;  // in devpts

    // --- the lower end.
    // Keys. Returns how many were taken.
    size_t input(std::span<const uint8_t> bytes);
    // The line is gone: SIGHUP and SIGCONT to the session's leader, files that are open become dead.
    void hang_up();
    // SIGWINCH to the foreground group if the size changes.
    void set_window_size(const WindowSize& size);
    // To the foreground process group; false if there is none.
    bool signal_foreground(int signal);

    const WindowSize& window_size() const { return window_; }
    uint32_t generation() const { return generation_; }
    LineDiscipline& discipline() { return discipline_; }
    task::Session* session() const { return session_.get(); }
    // Makes it the controlling terminal of the process's session, its group the foreground one.
    void attach_to(task::Process& process);

    // The node in devpts that stands for it.
    struct Node {
        uint32_t mode = 0600, uid = 0, gid = 0;
        uint64_t created = 0;  // ns since 1970
    } node;
    const uint64_t serial = ++last_serial;  // numbers of ptys are used again

  protected:
    Terminal(uint64_t device, const Termios& termios) : device_(device), discipline_(*this, termios) {}
    Result<> create_ring(unsigned pages) { return output_.create(pages); }

    // There are bytes in output_ that may go: take them now as far as possible.
    virtual void push_output() = 0;
    // The queue has room again.
    virtual void input_taken() {}
    virtual void output_discarded() {}
    // What a master in packet mode is told: kPkt* bits, of which those of `cleared` no longer hold.
    virtual void packet_event(uint8_t events, uint8_t cleared = 0) { (void)events, (void)cleared; }
    // EIO: no device behind the terminal any more.
    virtual bool line_gone() const { return false; }
    virtual bool locked() const { return false; }
    // It is no session's controlling terminal any more.
    virtual void session_gone() {}
    // Bytes given to the line that are not out yet (TIOCOUTQ, tcdrain).
    virtual size_t unsent() const { return 0; }

    // LineHost
    size_t output_room() override { return discipline_.output_stopped() ? 0 : output_.room(); }
    void output(std::span<const uint8_t> bytes) override;
    void signal_key(int signal) override;
    void input_flushed() override { packet_event(kPktFlushRead); }
    void discard_output() override;
    void set_output_stopped(bool stopped) override;

    void wake(uint32_t events = ~0U) { changed_.wake_all(events); }

    ByteRing output_;
    sched::WaitQueue changed_;

  private:
    friend class TerminalFile;
    bool is_dead(const TerminalFile& file) const;
    Result<size_t> read_some(mm::IoBuffer& to, bool& line_over);
    Result<> wait_to_write(TerminalFile& file);
    Result<> drain();
    void detach_session();
    bool controls(const task::Process& process) const;
    // Background access by the current task: sends `signal` to its group and gives ERESTARTSYS, or EIO where that would
    // be of no use.
    Result<> check_foreground(int signal);

    Result<> get_attributes(mm::AddressSpace& space, uint32_t request, uint64_t argument);
    Result<> set_attributes(mm::AddressSpace& space, uint32_t request, uint64_t argument);
    Result<> lock_attributes(mm::AddressSpace& space, uint64_t argument);
    Result<int64_t> session_ioctl(mm::AddressSpace& space, uint32_t request, uint64_t argument, uint32_t flags,
                                  Side side);
    Result<> make_controlling(uint64_t argument, uint32_t flags);
    Result<> set_foreground(mm::AddressSpace& space, uint64_t argument);
    Result<> give_up_controlling();
    Result<> simulate_input(mm::AddressSpace& space, uint64_t argument);
    Result<> flow(uint64_t action);
    Result<> flush(uint64_t queue);
    Result<> store_window_size(mm::AddressSpace& space, uint64_t argument);

    static inline uint64_t last_serial = 0;
    const uint64_t device_;
    LineDiscipline discipline_;
    Termios locked_{};   // TIOCSLCKTRMIOS: what is not zero here stays as it is
    uint8_t held_[256];  // echo that ^S holds back
    size_t held_size_ = 0;
    WindowSize window_{};
    RefPtr<task::Session> session_;
    int32_t foreground_ = 0;
    uint32_t generation_ = 0;
    bool exclusive_ = false;
    bool writing_ = false;  // one write at a time
};

// An open terminal: the upper end.
class TerminalFile final : public vfs::File {
  public:
    // path: may be not set (a console that no node names).
    static Result<RefPtr<vfs::File>> open(RefPtr<Terminal> terminal, const vfs::Path& path, uint32_t flags,
                                          bool noctty);
    TerminalFile(RefPtr<Terminal> terminal, const vfs::Path& path, uint32_t flags);
    ~TerminalFile() override;
    Terminal& terminal() const { return *terminal_; }

    Result<size_t> read(mm::IoBuffer& to) override { return terminal_->read(*this, to); }
    Result<size_t> write(mm::IoBuffer& from) override { return terminal_->write(*this, from); }
    Result<size_t> read_at(mm::IoBuffer&, uint64_t) override { return Errno::kSPIPE; }
    Result<size_t> write_at(mm::IoBuffer&, uint64_t) override { return Errno::kSPIPE; }
    Result<uint64_t> seek(int64_t, int) override { return Errno::kSPIPE; }
    Result<int64_t> ioctl(mm::AddressSpace& space, uint32_t request, uint64_t argument) override;
    vfs::PollState poll() override { return terminal_->poll(*this); }
    Result<> fsync(bool) override { return Errno::kINVAL; }
    vfs::Inode* inode() override { return path_.is_set() ? &path_.inode() : nullptr; }
    const vfs::Path* path() override { return path_.is_set() ? &path_ : nullptr; }
    Result<String> describe() override;

  private:
    friend class Terminal;
    RefPtr<Terminal> terminal_;
    vfs::Path path_;
    uint32_t generation_;
    bool counted_ = false;
};

// /dev/tty: the controlling terminal of the current task's session, or null.
Terminal* current_terminal();

}  // namespace kvmsbx::fs
