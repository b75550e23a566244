// The line discipline against any settings and any bytes: 16 bytes of flags and keys, then commands. Every byte that is
// taken must come out or be accounted for by the queue's limits; nothing may be read or written out of bounds (the
// sanitizers see to that).
#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <cstring>

#include "guestkernel/fs/tty/line_discipline.hpp"

namespace {

using namespace kvmsbx::fs;

class Host final : public LineHost {
  public:
    size_t output_room() override { return stopped_ ? 0 : room; }
    void output(std::span<const uint8_t> bytes) override {
        for (uint8_t byte : bytes) sum_ += byte;
    }
    void signal_key(int signal) override {
        if (signal != 2 && signal != 3 && signal != 20) abort();
    }
    void input_flushed() override {}
    void discard_output() override {}
    void set_output_stopped(bool stopped) override { stopped_ = stopped; }
    size_t room = 64;

  private:
    bool stopped_ = false;
    unsigned sum_ = 0;
};

Termios settings(const uint8_t* bytes) {
    Termios termios = kStandardTermios;
    termios.iflag = static_cast<uint32_t>(bytes[0] | bytes[1] << 8);
    termios.oflag = static_cast<uint32_t>(bytes[2] | bytes[3] << 8);
    termios.lflag = static_cast<uint32_t>(bytes[4] | bytes[5] << 8);
    memcpy(termios.cc, bytes + 6, 10);
    return termios;
}

void read_some(LineDiscipline& line, size_t size) {
    uint8_t buffer[256];
    if (!line.has_input()) return;
    const size_t before = line.readable_bytes();
    const auto result = line.read({buffer, std::min(size, sizeof buffer)});
    if (result.bytes > size || result.bytes > before) abort();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
    constexpr size_t kSettings = 16;
    if (size < kSettings) return 0;
    Host host;
    LineDiscipline line(host, settings(data));
    for (size_t at = kSettings; at + 1 < size;) {
        const uint8_t command = data[at] & 7;
        const size_t length = std::min<size_t>(data[at + 1], size - at - 2);
        const std::span<const uint8_t> bytes(data + at + 2, length);
        host.room = static_cast<size_t>(data[at] >> 3) * 4;
        at += 2;
        switch (command) {
            case 0: read_some(line, length); continue;
            case 1: line.set_stopped_by_call(length & 1); continue;
            case 2: line.flush_input(); continue;
            case 3:
                for (int i = 0; i < 40; ++i)
                    if (line.receive(bytes) > bytes.size()) abort();
                break;
            case 4:
                if (line.write(bytes) > bytes.size()) abort();
                break;
            case 5:
                if (length >= kSettings) line.set_termios(settings(bytes.data()));
                break;
            default:
                if (line.receive(bytes) > bytes.size()) abort();
        }
        at += length;
        if (line.readable_bytes() > LineDiscipline::kQueueSize) abort();
    }
    return 0;
}
