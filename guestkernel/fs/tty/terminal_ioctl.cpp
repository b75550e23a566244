// ioctl_tty(2) (tty_io.c, tty_ioctl.c, n_tty.c).
#include "guestkernel/fs/tty/terminal.hpp"
#include "guestkernel/task/registry.hpp"

namespace kvmsbx::fs {
namespace {

constexpr uint64_t kFlushInput = 0, kFlushOutput = 1, kFlushBoth = 2;           // tcflush(3)
constexpr uint64_t kOutputOff = 0, kOutputOn = 1, kInputOff = 2, kInputOn = 3;  // tcflow(3)
constexpr int32_t kDisciplineNtty = 0;

Termio to_termio(const Termios& termios) {
    Termio old{};
    old.iflag = static_cast<uint16_t>(termios.iflag);
    old.oflag = static_cast<uint16_t>(termios.oflag);
    old.cflag = static_cast<uint16_t>(termios.cflag);
    old.lflag = static_cast<uint16_t>(termios.lflag);
    old.line = termios.line;
    memcpy(old.cc, termios.cc, sizeof old.cc);
    return old;
}

void from_termio(Termios& termios, const Termio& old) {
    termios.iflag = (termios.iflag & 0xffff0000) | old.iflag;
    termios.oflag = (termios.oflag & 0xffff0000) | old.oflag;
    termios.cflag = (termios.cflag & 0xffff0000) | old.cflag;
    termios.lflag = (termios.lflag & 0xffff0000) | old.lflag;
    termios.line = old.line;
    memcpy(termios.cc, old.cc, sizeof old.cc);
}

// The speed that CBAUD names (tty_baudrate.c).
uint32_t speed_of(uint32_t cflag, uint32_t current) {
    static constexpr uint32_t kSpeeds[] = {0,   50,   75,   110,  134,  150,  200,   300,
                                           600, 1200, 1800, 2400, 4800, 9600, 19200, 38400};
    static constexpr uint32_t kHighSpeeds[] = {0,       57600,   115200,  230400,  460800,  500000,  576000,  921600,
                                               1000000, 1152000, 1500000, 2000000, 2500000, 3000000, 3500000, 4000000};
    const uint32_t index = cflag & 017;
    if (!(cflag & 010000)) return kSpeeds[index];
    return index == 0 ? current : kHighSpeeds[index];
}

// Whether who holds the master may stop output by himself on ^S and let it go on with ^Q (pty_set_termios).
bool has_usual_flow_keys(const Termios& termios) {
    return termios.has_input(kIxOn) && termios.cc[kVStop] == 023 && termios.cc[kVStart] == 021;
}

// What is locked keeps its value (unset_locked_termios).
void keep_locked(Termios& termios, const Termios& before, const Termios& locked) {
    const auto keep = [](uint32_t& now, uint32_t old, uint32_t mask) { now = (now & ~mask) | (old & mask); };
    keep(termios.iflag, before.iflag, locked.iflag);
    keep(termios.oflag, before.oflag, locked.oflag);
    keep(termios.cflag, before.cflag, locked.cflag);
    keep(termios.lflag, before.lflag, locked.lflag);
    if (locked.line) termios.line = before.line;
    for (unsigned i = 0; i < kControlCharacters; ++i)
        if (locked.cc[i]) termios.cc[i] = before.cc[i];
}

bool waits(uint32_t request) { return request == kTcSetSW || request == kTcSetAW || request == kTcSetSW2; }
bool flushes(uint32_t request) { return request == kTcSetSF || request == kTcSetAF || request == kTcSetSF2; }

}  // namespace

Result<> Terminal::get_attributes(mm::AddressSpace& space, uint32_t request, uint64_t argument) {
    const Termios& termios = discipline_.termios();
    if (request == kTcGetA) return mm::UserOut<Termio>{argument}.store(space, to_termio(termios));
    return mm::copy_to_user(space, argument, &termios, request == kTcGetS2 ? sizeof termios : kTermios1Size);
}

Result<> Terminal::set_attributes(mm::AddressSpace& space, uint32_t request, uint64_t argument) {
    TRY(check_foreground(task::kSigTtou));
    Termios termios = discipline_.termios();
    if (request == kTcSetA || request == kTcSetAW || request == kTcSetAF)
        from_termio(termios, TRY(mm::UserIn<Termio>{argument}.load(space)));
    else
        TRY(mm::copy_from_user(space, &termios, argument, request >= kTcSetS2 ? sizeof termios : kTermios1Size));
    if (request < kTcSetS2) termios.ispeed = termios.ospeed = speed_of(termios.cflag, termios.ospeed);
    if (flushes(request)) {
        discipline_.flush_input();
        input_taken();
    }
    if (flushes(request) || waits(request)) TRY(drain());
    // A line of bytes has no parity and no other size (pty_set_termios).
    termios.cflag = (termios.cflag & ~(kCSize | 0400U)) | kCs8 | kCRead;
    const Termios before = discipline_.termios();
    keep_locked(termios, before, locked_);
    discipline_.set_termios(termios);
    if (has_usual_flow_keys(before) != has_usual_flow_keys(termios))
        packet_event(has_usual_flow_keys(termios) ? kPktDoStop : kPktNoStop, kPktDoStop | kPktNoStop);
    if (before.has_local(kExtProc) || termios.has_local(kExtProc)) packet_event(kPktIoctl);
    wake();
    return {};
}

Result<> Terminal::lock_attributes(mm::AddressSpace& space, uint64_t argument) {
    if (!task::current().credentials().has(auth::Capability::kSysAdmin)) return Errno::kPERM;
    return mm::copy_from_user(space, &locked_, argument, kTermios1Size);
}

Result<> Terminal::simulate_input(mm::AddressSpace& space, uint64_t argument) {
    // As Linux 6.2 with dev.tty.legacy_tiocsti = 0.
    if (!task::current().credentials().has(auth::Capability::kSysAdmin)) return Errno::kIO;
    const uint8_t byte = TRY(mm::UserIn<uint8_t>{argument}.load(space));
    input({&byte, 1});
    return {};
}

Result<> Terminal::flow(uint64_t action) {
    TRY(check_foreground(task::kSigTtou));
    const Termios& termios = discipline_.termios();
    switch (action) {
        case kOutputOff:
        case kOutputOn: discipline_.set_stopped_by_call(action == kOutputOff); return {};
        case kInputOff:
        case kInputOn: {
            const uint8_t key = termios.cc[action == kInputOff ? kVStop : kVStart];
            if (key == 0) return {};
            output_.put({&key, 1});
            push_output();
            return {};
        }
        default: return Errno::kINVAL;
    }
}

Result<> Terminal::flush(uint64_t queue) {
    TRY(check_foreground(task::kSigTtou));
    if (queue > kFlushBoth) return Errno::kINVAL;
    if (queue != kFlushOutput) {
        discipline_.flush_input();
        input_taken();
    }
    if (queue != kFlushInput) discard_output();
    wake();
    return {};
}

Result<> Terminal::store_window_size(mm::AddressSpace& space, uint64_t argument) {
    set_window_size(TRY(mm::UserIn<WindowSize>{argument}.load(space)));
    return {};
}

void Terminal::set_window_size(const WindowSize& size) {
    if (size == window_) return;
    window_ = size;
    signal_foreground(task::kSigWinch);
}

Result<int64_t> Terminal::ioctl(mm::AddressSpace& space, uint32_t request, uint64_t argument, uint32_t flags,
                                Side side) {
    switch (request) {
        case kTcGetS:
        case kTcGetS2:
        case kTcGetA: TRY(get_attributes(space, request, argument)); return 0;
        case kTcSetS:
        case kTcSetSW:
        case kTcSetSF:
        case kTcSetS2:
        case kTcSetSW2:
        case kTcSetSF2:
        case kTcSetA:
        case kTcSetAW:
        case kTcSetAF: TRY(set_attributes(space, request, argument)); return 0;
        case kTiocGlckTermios: TRY(mm::copy_to_user(space, argument, &locked_, kTermios1Size)); return 0;
        case kTiocSlckTermios: TRY(lock_attributes(space, argument)); return 0;
        case kTiocSctty:
        case kTiocNotty:
        case kTiocSpgrp:
        case kTiocGpgrp:
        case kTiocGsid: return session_ioctl(space, request, argument, flags, side);
        case kTiocGwinsz: TRY(mm::UserOut<WindowSize>{argument}.store(space, window_)); return 0;
        case kTiocSwinsz: TRY(store_window_size(space, argument)); return 0;
        case kFionRead:
            TRY(mm::UserOut<int32_t>{argument}.store(space, static_cast<int32_t>(discipline_.readable_bytes())));
            return 0;
        case kTiocOutq: TRY(mm::UserOut<int32_t>{argument}.store(space, static_cast<int32_t>(unsent()))); return 0;
        case kTcXonc: TRY(flow(argument)); return 0;
        case kTcFlsh: TRY(flush(argument)); return 0;
        case kTcSBrk:
        case kTcSBrkP:
        case kTiocSBrk:  // a line without breaks: what is left is tcdrain(3)
            TRY(check_foreground(task::kSigTtou));
            TRY(drain());
            return 0;
        case kTiocCBrk: TRY(check_foreground(task::kSigTtou)); return 0;
        case kTiocSti: TRY(simulate_input(space, argument)); return 0;
        case kTiocExcl:
        case kTiocNxcl: exclusive_ = request == kTiocExcl; return 0;
        case kTiocGexcl: TRY(mm::UserOut<int32_t>{argument}.store(space, exclusive_)); return 0;
        case kTiocGetd: TRY(mm::UserOut<int32_t>{argument}.store(space, kDisciplineNtty)); return 0;
        case kTiocSetd:
            return TRY(mm::UserIn<int32_t>{argument}.load(space)) == kDisciplineNtty ? Result<int64_t>(0)
                                                                                     : Errno::kINVAL;
        case kTiocGdev: TRY(mm::UserOut<uint32_t>{argument}.store(space, static_cast<uint32_t>(device_))); return 0;
        case kTiocVhangup:
            if (!task::current().credentials().has(auth::Capability::kSysAdmin)) return Errno::kPERM;
            hang_up();
            return 0;
        default: return Errno::kNOTTY;
    }
}

}  // namespace kvmsbx::fs
