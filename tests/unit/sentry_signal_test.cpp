// Pending signals, sending, delivery and the frames on the application's stack.
#include <cstring>

#include "guestkernel/task/registry.hpp"
#include "guestkernel/task/signal_delivery.hpp"
#include "guestkernel/task/signal_frame.hpp"
#include "tests/unit/sentry_task.hpp"

namespace kvmsbx::task {
namespace {

constexpr int kQueued = 40;  // a real-time signal
constexpr uint64_t kHandler = 0x401000, kRestorer = 0x402000, kStack = 16 * 4096;

SigInfo info_of(int signal, int code = kSiUser, uint64_t value = 0) {
    SigInfo info;
    info.signo = signal;
    info.code = code;
    info.from.value = value;
    return info;
}

SignalSet set_of(std::initializer_list<int> signals) {
    SignalSet set;
    for (int signal : signals) set.add(signal);
    return set;
}

// A task on a stack, in a call that was interrupted, with a handler for `signal`.
struct Handling : TestTask {
    mm::UserAddress stack;
    explicit Handling(int32_t pid, int signal, uint64_t flags = 0) : TestTask(pid), stack(map(kStack)) {
        SigAction action;
        action.handler = kHandler;
        action.restorer = kRestorer;
        action.flags = flags | kSaRestorer | kSaSiginfo;
        process->actions->of(signal) = action;
        abi::UserRegs& regs = task->regs;
        regs.trap = abi::kTrapSyscall;
        regs.rip = 0x400010, regs.rsp = stack + kStack - 24, regs.rflags = 0x202, regs.rbx = 77, regs.rax = 5;
        task->in_syscall = 34;
    }
};

TEST(PendingSignals, StandardOnceRealTimeQueued) {
    PendingSignals pending;
    EXPECT_TRUE(pending.add(info_of(kSigUsr1)).is_ok());
    EXPECT_TRUE(pending.add(info_of(kSigUsr1)).is_ok());
    for (uint64_t i = 0; i < 3; ++i) EXPECT_TRUE(pending.add(info_of(kQueued, kSiQueue, i)).is_ok());
    SigInfo out;
    EXPECT_TRUE(pending.take({~0ULL}, out));
    EXPECT_EQ(out.signo, kSigUsr1);
    for (uint64_t i = 0; i < 3; ++i) {
        EXPECT_TRUE(pending.take({~0ULL}, out));
        EXPECT_EQ(out.signo, kQueued);
        EXPECT_EQ(out.from.value, i);
    }
    EXPECT_FALSE(pending.take({~0ULL}, out));
    EXPECT_EQ(pending.set.bits, 0u);
}

TEST(PendingSignals, FaultsBeforeLowerNumbers) {
    PendingSignals pending;
    EXPECT_TRUE(pending.add(info_of(kSigHup)).is_ok());
    EXPECT_TRUE(pending.add(info_of(kSigSegv, kSegvMaperr)).is_ok());
    SigInfo out;
    EXPECT_TRUE(pending.take({~0ULL}, out));
    EXPECT_EQ(out.signo, kSigSegv);
    EXPECT_TRUE(pending.take(set_of({kSigHup}), out));
}

TEST(PendingSignals, FullQueueRefusesSigqueueOnly) {
    PendingSignals pending;
    EXPECT_TRUE(pending.add(info_of(kQueued, kSiQueue), 1).is_ok());
    EXPECT_EQ(pending.add(info_of(kQueued, kSiQueue), 1).error(), Errno::kAGAIN);
    EXPECT_TRUE(pending.add(info_of(kQueued + 1, kSiUser), 1).is_ok());
    EXPECT_TRUE(pending.set.has(kQueued + 1));
}

TEST(PendingSignals, RemoveForgetsInfoToo) {
    PendingSignals pending;
    EXPECT_TRUE(pending.add(info_of(kQueued, kSiQueue)).is_ok());
    pending.remove(set_of({kQueued}));
    SigInfo out;
    EXPECT_FALSE(pending.take({~0ULL}, out));
}

TEST(Frame, LayoutLeavesTheRedZoneAndAligns) {
    for (uint64_t rsp = 0x7ffe0000; rsp > 0x7ffe0000 - 130; --rsp) {
        const FrameLayout layout = lay_out_frame(rsp, true, 2696 + 4);
        EXPECT_EQ((layout.frame + 8) % 16, 0u);
        EXPECT_EQ(layout.fpstate % 64, 0u);
        EXPECT_LE(layout.fpstate + 2700, rsp - 128);
        EXPECT_LE(layout.frame + sizeof(SignalFrame), layout.fpstate);
    }
}

TEST(Frame, XsaveHeaderIsChecked) {
    alignas(64) unsigned char area[1024] = {};
    const uint64_t fp_sse = 3, too_much = 1ULL << 62;
    memcpy(area + kXsaveHeaderOffset, &fp_sse, 8);
    EXPECT_TRUE(xsave_area_is_valid(area, 7));
    memcpy(area + kXsaveHeaderOffset, &too_much, 8);
    EXPECT_FALSE(xsave_area_is_valid(area, 7));
    memcpy(area + kXsaveHeaderOffset, &fp_sse, 8);
    area[kXsaveHeaderOffset + 8] = 1;  // XCOMP_BV: the compacted format
    EXPECT_FALSE(xsave_area_is_valid(area, 7));
    area[kXsaveHeaderOffset + 8] = 0, area[kXsaveHeaderOffset + 63] = 1;
    EXPECT_FALSE(xsave_area_is_valid(area, 7));
    area[kXsaveHeaderOffset + 63] = 0, area[kMxcsrOffset + 3] = 0x80;
    EXPECT_FALSE(xsave_area_is_valid(area, 7));
}

void with_machine(void (*body)()) {
    platform::test::Machine machine;
    machine.run(body);
}

TEST(Delivery, HandlerGetsFrameAndSigreturnRestores) {
    with_machine([] {
        Handling t(20, kSigUsr1);
        t.task->blocked = set_of({kSigUsr2});
        const abi::UserRegs before = t.task->regs;
        send_signal(*t.process, info_of(kSigUsr1));
        ASSERT_TRUE(has_signal_work(*t.task));
        EXPECT_TRUE(deliver_signals(*t.task));
        const abi::UserRegs& regs = t.task->regs;
        EXPECT_EQ(regs.rip, kHandler);
        EXPECT_EQ(regs.rdi, static_cast<uint64_t>(kSigUsr1));
        EXPECT_EQ(regs.trap, abi::kTrapNone);
        EXPECT_EQ((regs.rsp + 8) % 16, 0u);
        EXPECT_TRUE(t.task->blocked.has(kSigUsr1));
        const auto frame = t.read<SignalFrame>(regs.rsp);
        EXPECT_EQ(frame.restorer, kRestorer);
        EXPECT_EQ(frame.context.registers.rip, before.rip);
        EXPECT_EQ(frame.context.registers.rsp, before.rsp);
        EXPECT_EQ(frame.context.registers.rbx, 77u);
        EXPECT_EQ(frame.context.registers.cs, 0x33);
        EXPECT_EQ(frame.context.mask, set_of({kSigUsr2}).bits);
        EXPECT_EQ(frame.info.signo, kSigUsr1);
        EXPECT_EQ(regs.rsi, regs.rsp + offsetof(SignalFrame, info));
        // The handler returns: the restorer's rt_sigreturn sees rsp behind the return address.
        t.task->regs.rsp += 8;
        t.task->regs.rbx = 0;
        EXPECT_TRUE(pop_signal_frame(*t.task).is_ok());
        EXPECT_EQ(regs.rip, before.rip);
        EXPECT_EQ(regs.rsp, before.rsp);
        EXPECT_EQ(regs.rbx, 77u);
        EXPECT_EQ(regs.rax, before.rax);
        EXPECT_EQ(t.task->blocked.bits, set_of({kSigUsr2}).bits);
    });
}

TEST(Delivery, HostileFrameCannotRaisePrivileges) {
    with_machine([] {
        Handling t(21, kSigUsr1);
        send_signal(*t.process, info_of(kSigUsr1));
        EXPECT_TRUE(deliver_signals(*t.task));
        auto frame = t.read<SignalFrame>(t.task->regs.rsp);
        frame.context.registers.cs = 0x10, frame.context.registers.ss = 0x18;
        frame.context.registers.rflags = ~0ULL;
        frame.context.mask = ~0ULL;
        t.write(t.task->regs.rsp, frame);
        t.task->regs.rsp += 8;
        EXPECT_TRUE(pop_signal_frame(*t.task).is_ok());
        EXPECT_EQ(t.task->regs.cs, abi::kUserCs);
        EXPECT_EQ(t.task->regs.ss, abi::kUserSs);
        EXPECT_EQ(t.task->regs.rflags, 0x202u | 0x50dd5u);  // neither IOPL, NT, VM nor VIF
        EXPECT_FALSE(t.task->blocked.has(kSigKill));
        EXPECT_FALSE(t.task->blocked.has(kSigStop));
        t.task->regs.rsp = 0x1000;  // unmapped
        EXPECT_EQ(pop_signal_frame(*t.task).error(), Errno::kFAULT);
    });
}

TEST(Delivery, XsaveStateInFrame) {
    platform::test::Machine machine;
    auto& info = const_cast<abi::BootInfo&>(platform::boot_info());
    info.xcr0 = 7;
    machine.run([] {
        Handling t(22, kSigUsr1);
        auto* area = static_cast<unsigned char*>(t.task->fpu_area);
        area[160] = 0xab;  // xmm0
        const uint64_t features = 3;
        memcpy(area + kXsaveHeaderOffset, &features, 8);
        send_signal(*t.process, info_of(kSigUsr1));
        EXPECT_TRUE(deliver_signals(*t.task));
        const uint64_t at = t.task->regs.rsp;
        auto frame = t.read<SignalFrame>(at);
        const uint64_t fpstate = frame.context.registers.fpstate;
        EXPECT_EQ(fpstate % 64, 0u);
        EXPECT_EQ(frame.context.flags, kUcFpXstate | kUcSigcontextSs | kUcStrictRestoreSs);
        const auto software = t.read<FpuSoftwareBytes>(fpstate + kFpuSoftwareOffset);
        EXPECT_EQ(software.magic1, kFpXstateMagic1);
        EXPECT_EQ(software.xstate_size, platform::boot_info().fpu_area_size);
        EXPECT_EQ(software.extended_size, software.xstate_size + 4);
        EXPECT_EQ(t.read<uint32_t>(fpstate + software.xstate_size), kFpXstateMagic2);
        EXPECT_EQ(t.read<uint8_t>(fpstate + 160), 0xab);
        area[160] = 0;
        t.task->regs.rsp = at + 8;
        EXPECT_TRUE(pop_signal_frame(*t.task).is_ok());
        EXPECT_EQ(area[160], 0xab);
        // A compacted-format header would fault in XRSTOR.
        t.write<uint64_t>(fpstate + kXsaveHeaderOffset + 8, 1ULL << 63);
        t.task->regs.rsp = at + 8;
        EXPECT_EQ(pop_signal_frame(*t.task).error(), Errno::kFAULT);
        // Without the magic only the FXSAVE part counts.
        t.write<uint32_t>(fpstate + kFpuSoftwareOffset, 0);
        t.task->regs.rsp = at + 8;
        EXPECT_TRUE(pop_signal_frame(*t.task).is_ok());
        EXPECT_EQ(area[160], 0xab);
    });
    info.xcr0 = 0;
}

TEST(Delivery, AlternateStack) {
    with_machine([] {
        Handling t(23, kSigUsr1, kSaOnstack);
        const mm::UserAddress alternate = t.map(4 * 4096);
        EXPECT_TRUE(
            set_alternate_stack(*t.task, {alternate, kSsAutodisarm, 0, 4 * 4096}, t.task->regs.rsp, kMinSignalStack)
                .is_ok());
        send_signal(*t.process, info_of(kSigUsr1));
        EXPECT_TRUE(deliver_signals(*t.task));
        EXPECT_GT(t.task->regs.rsp, alternate);
        EXPECT_LT(t.task->regs.rsp, alternate + 4 * 4096);
        EXPECT_EQ(t.task->altstack_size, 0u);  // SS_AUTODISARM
        t.task->regs.rsp += 8;
        EXPECT_TRUE(pop_signal_frame(*t.task).is_ok());
        EXPECT_EQ(t.task->altstack_base, alternate);
        EXPECT_EQ(set_alternate_stack(*t.task, {alternate, 0, 0, 100}, 0, kMinSignalStack).error(), Errno::kNOMEM);
        EXPECT_EQ(set_alternate_stack(*t.task, {alternate, 8, 0, 4096}, 0, kMinSignalStack).error(), Errno::kINVAL);
        EXPECT_TRUE(set_alternate_stack(*t.task, {alternate, 0, 0, 4096}, 0, kMinSignalStack).is_ok());
        EXPECT_EQ(alternate_stack(*t.task, alternate + 100).flags, kSsOnstack);
        EXPECT_EQ(set_alternate_stack(*t.task, {alternate, 0, 0, 4096}, alternate + 100, kMinSignalStack).error(),
                  Errno::kPERM);
    });
}

TEST(Delivery, RestartOfInterruptedCalls) {
    with_machine([] {
        struct Case {
            int code;
            uint64_t flags;
            bool again;
        };
        for (const Case& c : {Case{512, 0, false},
                              {512, kSaRestart, true},
                              {513, 0, true},
                              {514, kSaRestart, false},
                              {516, kSaRestart, false}}) {
            Handling t(24, kSigUsr1, c.flags);
            t.task->regs.rax = -static_cast<uint64_t>(c.code);
            send_signal(*t.process, info_of(kSigUsr1));
            EXPECT_TRUE(deliver_signals(*t.task));
            const auto saved = t.read<SignalFrame>(t.task->regs.rsp).context.registers;
            EXPECT_EQ(saved.rip, c.again ? 0x40000eu : 0x400010u) << c.code;
            EXPECT_EQ(saved.rax, c.again ? 34u : -4ULL) << c.code;
        }
        Handling t(25, kSigUsr1);
        t.task->regs.rax = -512ULL;
        EXPECT_TRUE(has_signal_work(*t.task));
        EXPECT_FALSE(deliver_signals(*t.task));
        EXPECT_EQ(t.task->regs.rax, 34u);
        EXPECT_EQ(t.task->regs.rip, 0x40000eu);
        Handling block(26, kSigUsr1);
        block.task->regs.rax = -516ULL;
        EXPECT_FALSE(deliver_signals(*block.task));
        EXPECT_EQ(block.task->regs.rax, 219u);
    });
}

TEST(Sending, IgnoredIsDroppedBlockedIsKept) {
    with_machine([] {
        TestTask t(30);
        send_signal(*t.process, info_of(kSigChld));
        EXPECT_FALSE(has_pending_signal(*t.task));
        t.task->blocked = set_of({kSigChld});
        send_signal(*t.process, info_of(kSigChld));
        EXPECT_TRUE(t.process->pending.set.has(kSigChld));
        EXPECT_FALSE(has_pending_signal(*t.task));
        SigAction ignore;
        ignore.handler = kSigIgn;
        set_action(*t.process, kSigChld, ignore);
        EXPECT_FALSE(t.process->pending.set.has(kSigChld));
    });
}

TEST(Sending, FirstProcessIsSparedFromInside) {
    with_machine([] {
        TestTask t(1);
        send_signal(*t.process, info_of(kSigTerm));
        send_signal(*t.process, info_of(kSigKill));
        send_signal_from_host(*t.process, kSigTerm, FirstProcess::kIsSpared);
        EXPECT_FALSE(has_pending_signal(*t.task));
        send_signal_from_host(*t.process, kSigTerm, FirstProcess::kCanBeEnded);
        EXPECT_TRUE(has_pending_signal(*t.task));
    });
}

TEST(Sending, FirstProcessIsNotSparedSigkillFromOutside) {
    with_machine([] {
        TestTask t(1);
        send_signal_from_host(*t.process, kSigKill, FirstProcess::kIsSpared);
        EXPECT_TRUE(has_pending_signal(*t.task));
    });
}

TEST(Sending, StopAndContinueCancelEachOther) {
    with_machine([] {
        TestTask t(31);
        t.task->blocked = set_of({kSigTstp, kSigCont});
        send_signal(*t.process, info_of(kSigTstp));
        send_signal(*t.process, info_of(kSigCont));
        EXPECT_EQ(t.process->pending.set.bits, set_of({kSigCont}).bits);
        send_signal(*t.process, info_of(kSigTstp));
        EXPECT_EQ(t.process->pending.set.bits, set_of({kSigTstp}).bits);
        t.process->stopped = true;
        send_signal(*t.process, info_of(kSigCont));
        EXPECT_FALSE(t.process->stopped);
        EXPECT_FALSE(t.process->continue_reported);
    });
}

TEST(Sending, ForcedSignalCannotBeBlockedOrIgnored) {
    with_machine([] {
        TestTask t(32);
        t.task->blocked = set_of({kSigSegv});
        t.process->actions->of(kSigSegv).handler = kHandler;
        send_fault_signal(*t.task, kSigSegv, kSegvAccerr, 0x1234);
        EXPECT_TRUE(has_pending_signal(*t.task));
        EXPECT_EQ(t.process->actions->of(kSigSegv).handler, kSigDfl);
        SigInfo out;
        EXPECT_TRUE(take_signal(*t.task, {~0ULL}, out));
        EXPECT_EQ(out.code, kSegvAccerr);
        EXPECT_EQ(out.fault.address, 0x1234u);
    });
}

TEST(Sending, ThreadSignalGoesToThatThread) {
    with_machine([] {
        TestTask t(33);
        auto second = t.add_thread(34);
        send_signal(*second, info_of(kSigUsr1, kSiTkill));
        EXPECT_FALSE(has_pending_signal(*t.task));
        EXPECT_TRUE(has_pending_signal(*second));
        SigInfo out;
        EXPECT_FALSE(take_signal(*t.task, {~0ULL}, out));
        EXPECT_TRUE(take_signal(*second, {~0ULL}, out));
    });
}

TEST(Exceptions, MapToSignals) {
    with_machine([] {
        struct Case {
            uint64_t vector;
            int signal, code;
        };
        for (const Case& c : {Case{0, kSigFpe, kFpeIntdiv},
                              {3, kSigTrap, kSiKernel},
                              {6, kSigIll, kIllIllopn},
                              {13, kSigSegv, kSiKernel},
                              {17, kSigBus, kBusAdraln},
                              {4, kSigSegv, kSiKernel},
                              {12, kSigBus, kSiKernel}}) {
            TestTask t(35);
            t.task->regs.trap = c.vector, t.task->regs.rip = 0x400123;
            deliver_exception(*t.task);
            SigInfo out;
            ASSERT_TRUE(take_signal(*t.task, {~0ULL}, out)) << c.vector;
            EXPECT_EQ(out.signo, c.signal) << c.vector;
            EXPECT_EQ(out.code, c.code) << c.vector;
        }
    });
}

TEST(Names, AndDefaults) {
    EXPECT_STREQ(signal_name(kSigSegv), "SIGSEGV");
    EXPECT_STREQ(signal_name(34), "SIGRT_2");
    EXPECT_EQ(default_action(kSigQuit), DefaultAction::kCore);
    EXPECT_EQ(default_action(kSigTstp), DefaultAction::kStop);
    EXPECT_EQ(default_action(kSigWinch), DefaultAction::kIgnore);
    EXPECT_EQ(default_action(kQueued), DefaultAction::kTerminate);
}

}  // namespace
}  // namespace kvmsbx::task
