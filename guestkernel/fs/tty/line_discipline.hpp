#pragma once
// The line discipline N_TTY (termios(3)): what turns keys into lines and lines into what a terminal shows.
//
// Model. A pure class: no tasks, no hypercalls, no blocking. The lower end (host terminal or pty master) calls
// receive(); the upper end calls read() and write(); everything else that happens (bytes for the lower end, signals,
// flow control, "there is input") goes through LineHost.
//   lower end --receive()--> [ iflag, signals, editing, echo ] --> queue_ --read()--> application
//   lower end <--LineHost::output()-- [ oflag ] <--write()-- application
// The queue is a ring of kQueueSize bytes with running indices: tail_ <= canon_head_ <= head_. In canonical mode
// [tail_, canon_head_) are finished lines, whose last bytes are marked in `delimiters_` (an end-of-file key is a marked
// 0 byte that read() does not give), and [canon_head_, head_) is the line being edited. Behaviour follows Linux's
// drivers/tty/n_tty.c, except that echo is put out at once and not kept apart.
#include <cstddef>
#include <cstdint>
#include <span>

#include "guestkernel/fs/tty/termios.hpp"

namespace kvmsbx::fs {

class LineHost {
  public:
    // Bytes that output() would take now without loss.
    virtual size_t output_room() = 0;
    // Bytes for the lower end. Echo comes even without room: the host may then drop it.
    virtual void output(std::span<const uint8_t> bytes) = 0;
    // A signal key: to the foreground process group.
    virtual void signal_key(int signal) = 0;
    // Input that was not read yet is dropped.
    virtual void input_flushed() = 0;
    // Drops what waits for output (a signal key without NOFLSH).
    virtual void discard_output() = 0;
    // ^S and ^Q: hold back output, or let it go on.
    virtual void set_output_stopped(bool stopped) = 0;

  protected:
    ~LineHost() = default;
};

class LineDiscipline {
  public:
    static constexpr size_t kQueueSize = 4096;

    explicit LineDiscipline(LineHost& host, const Termios& termios = kStandardTermios)
        : host_(host), termios_(termios) {}

    const Termios& termios() const { return termios_; }
    // tcsetattr(3): the change applies at once; draining and flushing before it are the caller's. A switch of ICANON
    // keeps what is queued.
    void set_termios(const Termios& termios);
    bool canonical() const { return termios_.has_local(kICanon) && !edited_by_master(); }

    // Input from the lower end. Returns how many bytes were taken: fewer than given when the queue is full (never in
    // canonical mode without a finished line, where the excess of an overlong line is dropped).
    size_t receive(std::span<const uint8_t> bytes);
    // How many bytes receive() would surely take.
    size_t receive_room() const;

    // True when read() would give something: a finished line, or `minimum` bytes.
    bool has_input(size_t minimum = 1) const;
    struct ReadResult {
        size_t bytes;
        bool end_of_line;  // canonical: the read is over (a line ended, or bytes == 0: end of file)
    };
    // Copies out at most one line (canonical) or what is there. Precondition in canonical mode: has_input().
    ReadResult read(std::span<uint8_t> to);
    // FIONREAD.
    size_t readable_bytes() const;
    void flush_input();

    // Output from the application, processed by oflag into LineHost::output; returns how many bytes were taken (by
    // room).
    size_t write(std::span<const uint8_t> bytes);

    bool output_stopped() const { return stopped_; }
    // tcflow(3), TCOOFF and TCOON: holds until TCOON, whatever keys come, and TCOON ends no other hold.
    void set_stopped_by_call(bool stopped);

  private:
    // EXTPROC: who holds the master (telnetd) does all that ISIG, ICANON, ECHO and IXON ask for.
    bool edited_by_master() const { return termios_.has_local(kExtProc); }
    uint8_t at(uint64_t index) const { return queue_[index % kQueueSize]; }
    bool marked(uint64_t index) const { return delimiters_[index % kQueueSize / 64] >> index % 64 & 1; }
    void mark(uint64_t index, bool delimiter);
    uint8_t key(unsigned which) const { return termios_.cc[which]; }
    bool is_key(uint8_t c, unsigned which) const { return c != 0 && c == key(which); }
    bool local(uint32_t flag) const { return termios_.has_local(flag); }
    bool is_continuation(uint8_t c) const { return termios_.has_input(kIutf8) && (c & 0xc0) == 0x80; }
    void put(uint8_t c, bool delimiter);
    void receive_one(uint8_t c);
    void receive_plain(uint8_t c);
    bool receive_flow(uint8_t c);
    bool receive_signal(uint8_t c);
    bool receive_canonical(uint8_t c);
    void finish_line(uint8_t c);
    void reprint_line();
    void erase(uint8_t c);
    bool start_kill();
    void erase_echo(uint8_t c, uint64_t start, uint64_t end, bool single);
    void erase_tab();
    void finish_erasing();
    void echo(uint8_t c);  // control characters as ^X with ECHOCTL
    void echo_raw(uint8_t c);
    void start_output();
    void stop_output();
    // Puts out one byte by oflag; false if there is no room for it (never with force).
    bool put_out(uint8_t c, bool force);
    void emit(const uint8_t* bytes, size_t size) { host_.output({bytes, size}); }
    ReadResult read_canonical(std::span<uint8_t> to);

    LineHost& host_;
    Termios termios_;
    uint8_t queue_[kQueueSize];
    uint64_t delimiters_[kQueueSize / 64] = {};
    uint64_t tail_ = 0, canon_head_ = 0, head_ = 0;
    unsigned column_ = 0, canon_column_ = 0;
    bool literal_next_ = false, erasing_ = false, stopped_ = false, stopped_by_call_ = false, pushed_ = false;
};

}  // namespace kvmsbx::fs
