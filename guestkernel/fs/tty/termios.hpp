#pragma once
// The terminal ABI of x86-64 Linux: termios(3), ioctl_tty(2) (asm-generic/termbits.h, ioctls.h). Freestanding and
// hosted.
#include <cstdint>

namespace kvmsbx::fs {

inline constexpr unsigned kControlCharacters = 19;

// struct termios2 of the kernel; struct termios is its first 36 bytes.
struct Termios {
    uint32_t iflag, oflag, cflag, lflag;
    uint8_t line;
    uint8_t cc[kControlCharacters];
    uint32_t ispeed, ospeed;
    bool has_input(uint32_t flag) const { return iflag & flag; }
    bool has_output(uint32_t flag) const { return oflag & flag; }
    bool has_local(uint32_t flag) const { return lflag & flag; }
};
static_assert(sizeof(Termios) == 44);
inline constexpr unsigned kTermios1Size = 36;

// struct termio (System V).
struct Termio {
    uint16_t iflag, oflag, cflag, lflag;
    uint8_t line;
    uint8_t cc[8];
    uint8_t pad;
};
static_assert(sizeof(Termio) == 18);

struct WindowSize {
    uint16_t rows, columns, xpixel, ypixel;
    friend bool operator==(const WindowSize&, const WindowSize&) = default;
};

enum : uint32_t {  // c_iflag
    kIgnBrk = 01,
    kBrkInt = 02,
    kIgnPar = 04,
    kParMrk = 010,
    kInpCk = 020,
    kIStrip = 040,
    kInlCr = 0100,
    kIgnCr = 0200,
    kIcrNl = 0400,
    kIucLc = 01000,
    kIxOn = 02000,
    kIxAny = 04000,
    kIxOff = 010000,
    kImaxBel = 020000,
    kIutf8 = 040000,
};
enum : uint32_t {  // c_oflag
    kOPost = 01,
    kOlCuc = 02,
    kOnlCr = 04,
    kOcrNl = 010,
    kOnoCr = 020,
    kOnlRet = 040,
    kTabDelay = 014000,
    kXTabs = 014000,
};
enum : uint32_t {  // c_cflag
    kB38400 = 017,
    kCSize = 060,
    kCs8 = 060,
    kCRead = 0200,
    kHupCl = 02000,
};
enum : uint32_t {  // c_lflag
    kISig = 01,
    kICanon = 02,
    kXCase = 04,
    kEcho = 010,
    kEchoE = 020,
    kEchoK = 040,
    kEchoNl = 0100,
    kNoFlsh = 0200,
    kToStop = 0400,
    kEchoCtl = 01000,
    kEchoPrt = 02000,
    kEchoKe = 04000,
    kIExten = 0100000,
    kExtProc = 0200000,
};
enum : unsigned {  // c_cc
    kVIntr,
    kVQuit,
    kVErase,
    kVKill,
    kVEof,
    kVTime,
    kVMin,
    kVSwtc,
    kVStart,
    kVStop,
    kVSusp,
    kVEol,
    kVReprint,
    kVDiscard,
    kVWerase,
    kVLnext,
    kVEol2,
};

// What a fresh tty has (tty_std_termios).
inline constexpr Termios kStandardTermios = {
    .iflag = kIcrNl | kIxOn,
    .oflag = kOPost | kOnlCr,
    .cflag = kB38400 | kCs8 | kCRead,
    .lflag = kISig | kICanon | kEcho | kEchoE | kEchoK | kEchoCtl | kEchoKe | kIExten,
    .line = 0,
    .cc = {003, 034, 0177, 025, 004, 0, 1, 0, 021, 023, 032, 0, 022, 017, 027, 026, 0, 0, 0},
    .ispeed = 38400,
    .ospeed = 38400,
};

enum : uint32_t {  // ioctl_tty(2)
    kTcGetS = 0x5401,
    kTcSetS = 0x5402,
    kTcSetSW = 0x5403,
    kTcSetSF = 0x5404,
    kTcGetA = 0x5405,
    kTcSetA = 0x5406,
    kTcSetAW = 0x5407,
    kTcSetAF = 0x5408,
    kTcSBrk = 0x5409,
    kTcXonc = 0x540a,
    kTcFlsh = 0x540b,
    kTiocExcl = 0x540c,
    kTiocNxcl = 0x540d,
    kTiocSctty = 0x540e,
    kTiocGpgrp = 0x540f,
    kTiocSpgrp = 0x5410,
    kTiocOutq = 0x5411,
    kTiocSti = 0x5412,
    kTiocGwinsz = 0x5413,
    kTiocSwinsz = 0x5414,
    kFionRead = 0x541b,
    kTiocPkt = 0x5420,
    kTiocNotty = 0x5422,
    kTiocSetd = 0x5423,
    kTiocGetd = 0x5424,
    kTcSBrkP = 0x5425,
    kTiocSBrk = 0x5427,
    kTiocCBrk = 0x5428,
    kTiocGsid = 0x5429,
    kTcGetS2 = 0x802c542a,
    kTcSetS2 = 0x402c542b,
    kTcSetSW2 = 0x402c542c,
    kTcSetSF2 = 0x402c542d,
    kTiocGptn = 0x80045430,
    kTiocSptlck = 0x40045431,
    kTiocGdev = 0x80045432,
    kTiocSig = 0x40045436,
    kTiocVhangup = 0x5437,
    kTiocGpkt = 0x80045438,
    kTiocGptlck = 0x80045439,
    kTiocGexcl = 0x80045440,
    kTiocGptpeer = 0x5441,
    kTiocGlckTermios = 0x5456,
    kTiocSlckTermios = 0x5457,
};

enum : uint8_t {  // ioctl_tty(2), TIOCPKT: what a read of a master in packet mode starts with
    kPktData = 0,
    kPktFlushRead = 1,
    kPktFlushWrite = 2,
    kPktStop = 4,
    kPktStart = 8,
    kPktNoStop = 16,
    kPktDoStop = 32,
    kPktIoctl = 64,
};

}  // namespace kvmsbx::fs
