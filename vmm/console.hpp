#pragma once
// Streams: the descriptors that the host gave to the sandbox's applications, by number. 0, 1 and 2 are the first
// process's stdin, stdout and stderr; others come with control frames. vCPU threads read and write only what needs no
// waiting: the file descriptors may be blocking ones and are shared with other programs, so O_NONBLOCK is not ours to
// set; they are polled first. What cannot be done now is armed, and the main thread polls for it.
//
// The main thread alone opens and closes: a stream that a vCPU thread closes is closing until that has come to it.
#include <poll.h>

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "common/base/result.hpp"
#include "common/control/messages.hpp"
#include "common/host/fd.hpp"
#include "vmm/host_events.hpp"

namespace kvmsbx::vmm {

// A writable terminal may take less than it is given and then wait, so it wants O_NONBLOCK: set on an open file
// description of our own. Gives `fd` itself where it is no terminal or cannot be opened again. Needs /proc: to be
// called before the process is confined.
int open_terminal_again(int fd);

class Console {
  public:
    static constexpr unsigned kStreams = control::kMaxStreams;

    // `fds` are streams 0, 1 ... and belong to the Console from now on; -1: reads end of file, takes all writes.
    // `wake_fd`: an eventfd that tells the main thread that a stream was armed or closed.
    Console(std::span<const int> fds, int wake_fd);
    Console(const Console&) = delete;

    // vCPU threads. EBADF: there is no such stream, or it was not opened for that; also for no bytes.
    // Bytes read, 0 at the end of file, EAGAIN (and armed) when none are there now.
    Result<size_t> read(unsigned stream, std::span<std::byte> to);
    // Bytes written (at least 1), EAGAIN (and armed) when it would wait, EPIPE.
    Result<size_t> write(unsigned stream, std::span<const std::byte> from);
    Result<> close(unsigned stream);

    // The main thread.
    // The descriptors become streams with numbers in a row: the first of them. EMFILE: no room, and they are closed.
    Result<unsigned> add(std::vector<host::Fd> fds);
    // Closes what vCPU threads have closed, and appends what to poll for.
    void prepare_poll(std::vector<pollfd>& polled);
    // The answers to what prepare_poll() appended: streams that are ready are no longer armed. True if any was.
    bool take_ready(std::span<const pollfd> polled, HostEvents& events);

  private:
    enum class State : uint8_t { kFree, kOpen, kClosing };
    struct Stream {
        std::atomic<int> fd{-1};
        std::atomic<State> state{State::kFree};
        std::atomic<bool> readable{false}, writable{false};  // as it was opened
        std::atomic<bool> is_socket{true};                   // until a write has shown that it is none
    };
    // A bit for each stream.
    class Set {
      public:
        void add(unsigned stream) { words_[stream / 64].fetch_or(1ULL << stream % 64); }
        void remove(unsigned stream) { words_[stream / 64].fetch_and(~(1ULL << stream % 64)); }
        uint64_t word(unsigned index) const { return words_[index].load(); }
        static constexpr unsigned kWords = kStreams / 64;

      private:
        std::array<std::atomic<uint64_t>, kWords> words_{};
    };

    void open(unsigned stream, int fd);
    void finish_closing();
    Result<Stream*> find(unsigned stream);
    Result<size_t> write_now(Stream& stream, std::span<const std::byte> from);
    Errno arm(Set& set, unsigned stream);
    void wake_main();

    std::array<Stream, kStreams> streams_;
    unsigned capacity_;  // so many streams that the process does not run out of descriptors
    int wake_fd_;
    Set armed_for_reading_, armed_for_writing_, closing_;
    std::vector<unsigned> polled_streams_;  // what prepare_poll() appended
};

}  // namespace kvmsbx::vmm
