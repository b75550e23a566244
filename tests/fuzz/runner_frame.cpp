// The reader of signal frames in a runner's area, all of which the stub can write at any time: whatever stands there, and however it
// changes between two looks, nothing beyond the area is read or written (the sanitizers see to that), and what comes out is a trap of an
// application.
//   byte 0: the host's format of frames; byte 1: kinds of addresses; 8 bytes each: context, fpstate, signal; then the area's bytes
#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <memory>

#include "guestkernel/platform/process/frame.hpp"

namespace kvmsbx::platform {
namespace {
abi::BootInfo info;
}
const abi::BootInfo& boot_info() { return info; }
void init_fpu_area(void* to) { memset(to, 0, info.fpu_area_size); }
}  // namespace kvmsbx::platform

namespace {

using namespace kvmsbx;
using namespace kvmsbx::platform;
using namespace kvmsbx::platform::process;

constexpr size_t kHeader = 26, kControl = sizeof(abi::RunnerControl);
constexpr size_t kFpstateInContext = 224, kSoftware = 464, kXsaveHeader = 512, kMxcsr = 24;
enum : uint8_t { kContextInArea = 1, kPutFpstate = 2, kFpstateInArea = 4, kChangesMeanwhile = 8, kFirstFrame = 16 };

struct Format {
    uint64_t area, xstate, features;
};
// FXSAVE alone; AVX; AVX-512; AVX-512 with PKRU.
constexpr Format kFormats[] = {{4096, 512, 0}, {4096, 832, 7}, {8192, 2688, 0xe7}, {4096, 2696, 0x2e7}};

struct Free {
    void operator()(void* at) const { free(at); }
};
using Memory = std::unique_ptr<char, Free>;

// Ends where it says, so that a byte too many is noticed.
Memory allocate(uint64_t size) {
    void* at = nullptr;
    if (posix_memalign(&at, 64, size) != 0) abort();
    return Memory(static_cast<char*>(at));
}

void require(bool condition) {
    if (!condition) abort();
}

class Fuzzed {
  public:
    Fuzzed(const uint8_t* data, size_t size)
        : kinds_(data[1]), bytes_(data + kHeader), count_(size - kHeader), format_(kFormats[data[0] % 4]) {
        memcpy(&context_, data + 2, 8);
        memcpy(&fpstate_, data + 10, 8);
        memcpy(&signal_, data + 18, 8);
        info.stub_base = abi::kProcessUserEnd;
        info.runner_area_size = format_.area;
        info.frame_xstate_size = info.fpu_area_size = format_.xstate;
        info.frame_xfeatures = info.xcr0 = format_.features;
        address_ = runner_.address = runner_address(data[0] / 4 % 64);
        memory_ = allocate(format_.area);
        runner_.control = reinterpret_cast<abi::RunnerControl*>(memory_.get());
    }

    void run() {
        scribble();
        uint64_t at = kinds_ & kContextInArea ? address_ + context_ % format_.area : context_;
        if (kinds_ & kFirstFrame) at = address_ + make_first_frame(*runner_.control, address_);
        runner_.control->context = at;
        runner_.control->signal = static_cast<uint32_t>(signal_);
        put_fpstate(at - address_);
        if (locate_frame(runner_).is_error()) return require(!(kinds_ & kFirstFrame && !(kinds_ & kPutFpstate)));
        require(lies_inside(runner_.context, 304) && lies_inside(runner_.fpu, format_.xstate + 4));
        if (kinds_ & kChangesMeanwhile) scribble();
        look();
        come_back(at);
    }

  private:
    void scribble() {
        for (uint64_t i = 0; i < format_.area; i++)
            memory_.get()[i] = count_ ? static_cast<char>(bytes_[i % count_]) : 0;
    }
    void put_fpstate(uint64_t offset) {
        if (!(kinds_ & kPutFpstate) || offset > format_.area || format_.area - offset < 304) return;
        const uint64_t value = kinds_ & kFpstateInArea ? address_ + fpstate_ % format_.area : fpstate_;
        memcpy(memory_.get() + offset + kFpstateInContext, &value, sizeof value);
    }
    bool lies_inside(const char* at, uint64_t size) const {
        const char* begin = memory_.get();
        return at >= begin + kControl && at + size <= begin + format_.area;
    }

    void look() {
        UserRegs regs{};
        read_frame(runner_, regs);
        require(regs.cs == abi::kUserCs && regs.ss == abi::kUserSs && regs.fs_base == 0 && regs.gs_base == 0);
        require(regs.trap < 32 || regs.trap == abi::kTrapSyscall || regs.trap == abi::kTrapGone ||
                regs.trap == abi::kVectorSpurious);
        Memory fpu = allocate(format_.xstate);
        read_fpu(runner_, fpu.get());
        uint32_t mxcsr;
        memcpy(&mxcsr, fpu.get() + kMxcsr, sizeof mxcsr);
        require(mxcsr <= 0xffff);
        for (size_t i = 0; i < 48; i++) require(fpu.get()[kSoftware + i] == 0);
        if (format_.xstate <= kXsaveHeader) return;
        uint64_t header[8];
        memcpy(header, fpu.get() + kXsaveHeader, sizeof header);
        require((header[0] & ~format_.features) == 0);
        for (int i = 1; i < 8; i++) require(header[i] == 0);
    }

    // Writing a frame changes nothing of the control block, and what was written is found again.
    void come_back(uint64_t at) {
        char control[kControl];
        memcpy(control, memory_.get(), kControl);
        Memory fpu = allocate(format_.xstate);
        memset(fpu.get(), 0, format_.xstate);
        write_fpu(runner_, fpu.get());
        UserRegs regs{};
        memset(&regs, 0x5a, sizeof regs);
        write_frame(runner_, regs);
        require(memcmp(control, memory_.get(), kControl) == 0);
        const char *context = runner_.context, *fpu_part = runner_.fpu;
        runner_.control->context = at;
        require(locate_frame(runner_).is_ok() && runner_.context == context && runner_.fpu == fpu_part);
        UserRegs again{};
        read_frame(runner_, again);
        require(again.rip == regs.rip && again.rsp == regs.rsp && again.r15 == regs.r15 && again.rax == regs.rax);
        require((again.rflags & ~0x50fd7ULL) == 0);  // what an application may set, IF and bit 1
    }

    uint8_t kinds_;
    const uint8_t* bytes_;
    size_t count_;
    Format format_;
    uint64_t context_, fpstate_, signal_, address_ = 0;
    Runner runner_;
    Memory memory_;
};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
    if (size >= kHeader) Fuzzed(data, size).run();
    return 0;
}
