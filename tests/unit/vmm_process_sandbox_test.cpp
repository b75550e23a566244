// A whole sandbox of the process platform around a Sentry of a few instructions: how it is started, what it may call
// under its seccomp filter, how it ends.
#include <elf.h>
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstring>
#include <functional>
#include <string>

#define XBYAK_NO_OP_NAMES 1
#include <xbyak/xbyak.h>

#include "common/abi/boot_info.hpp"
#include "common/abi/cpu_area.hpp"
#include "common/abi/hypercall.hpp"
#include "common/abi/stub.hpp"
#include "common/host/exit_code.hpp"
#include "vmm/process/ram_file.hpp"
#include "vmm/sandbox.hpp"

namespace kvmsbx::vmm {
namespace {

constexpr uint64_t kBase = abi::kProcessSentryBase, kData = kBase + 0x1000;
constexpr uint64_t kRam = 32 << 20;

#if defined(__SANITIZE_ADDRESS__)
constexpr SeccompPolicy kPolicy = SeccompPolicy::kOff;  // ASan asks the host for more
#else
constexpr SeccompPolicy kPolicy = SeccompPolicy::kEnforce;
#endif

// rbx = BootInfo, r12 = CpuArea, r13 = ProcessHost.
class MiniSentry : public Xbyak::CodeGenerator {
  public:
    using Program = std::function<void(MiniSentry&)>;
    explicit MiniSentry(const Program& program) : CodeGenerator(4096) {
        Xbyak::Label other;
        mov(rbx, rdi);
        mov(r12, rsi);
        mov(r13, info(offsetof(abi::BootInfo, process_host)));
        cmp(dword[r12], 0);
        jne(other, T_NEAR);
        program(*this);
        ud2();
        L(other);
        mov(rdi, r12);
        call_host(offsetof(abi::ProcessHost, wait));
        jmp(other);
    }
    Xbyak::Address info(size_t offset) { return qword[rbx + static_cast<int>(offset)]; }
    Xbyak::Address area(size_t offset) { return qword[r12 + static_cast<int>(offset)]; }
    void call_host(size_t function) {
        mov(r14, rsp);
        mov(rsp, area(offsetof(abi::CpuArea, scratch)));
        call(qword[r13 + static_cast<int>(function)]);
        mov(rsp, r14);
    }
    void hypercall(abi::HypercallNumber number) {
        mov(area(offsetof(abi::CpuArea, hypercall) + offsetof(abi::HypercallBlock, number)),
            static_cast<uint32_t>(number));
        mov(rdi, r12);
        call_host(offsetof(abi::ProcessHost, hypercall));
    }
    Xbyak::Address argument(unsigned i) {
        return area(offsetof(abi::CpuArea, hypercall) + offsetof(abi::HypercallBlock, args) + 8 * i);
    }
    void exit_with(uint32_t code) {
        mov(argument(0), code);
        hypercall(abi::HypercallNumber::kExit);
    }
    // rax = a page of RAM's `index`th that the machine does not use.
    void free_page(unsigned index) {
        mov(rax, info(offsetof(abi::BootInfo, ram_first_free)));
        mov(rcx, abi::kProcessDirectMap + index * abi::kPageSize);
        add(rax, rcx);
    }
};

std::vector<std::byte> elf_of(MiniSentry& code) {
    struct {
        Elf64_Ehdr header{};
        Elf64_Phdr programs[2]{};
    } head;
    std::vector<std::byte> file(8192);
    memcpy(head.header.e_ident, ELFMAG, SELFMAG);
    head.header.e_ident[EI_CLASS] = ELFCLASS64;
    head.header.e_ident[EI_DATA] = ELFDATA2LSB;
    head.header.e_type = ET_EXEC;
    head.header.e_machine = EM_X86_64;
    head.header.e_phoff = sizeof(Elf64_Ehdr);
    head.header.e_phentsize = sizeof(Elf64_Phdr);
    head.header.e_phnum = 2;
    head.header.e_entry = kBase;
    head.programs[0] = {PT_LOAD, PF_R | PF_X, 4096, kBase, 0, code.getSize(), code.getSize(), 4096};
    head.programs[1] = {PT_LOAD, PF_R | PF_W, 4096, kData, 0, 0, 64, 4096};
    memcpy(file.data(), &head, sizeof head);
    memcpy(file.data() + 4096, code.getCode(), code.getSize());
    return file;
}

struct Ended {
    int code;  // -1: by a signal
    std::string log;
};

// `look` sees the log and RAM's file each time that a line has come.
using Look = std::function<void(const std::string& log, int ram_fd)>;
Ended run_sentry(
    const MiniSentry::Program& program, const Look& look = [](const std::string&, int) {}) {
    MiniSentry code(program);
    std::vector<std::byte> elf = elf_of(code);
    int log[2];
    if (pipe(log) != 0) abort();
    const host::Fd ram = make_ram_memfd().release_value();
    pid_t child = fork();
    if (child == 0) {
        SandboxConfig config;
        config.platform = PlatformChoice::kProcess;
        config.cpus = 2;
        config.ram_size = kRam;
        config.ram_fd = ram.get();
        config.seccomp = kPolicy;
        config.debug = true;
        config.log_fd = log[1];
        config.process_sentry_elf = elf;
        _exit(run_sandbox(config));
    }
    close(log[1]);
    Ended ended{-1, {}};
    char bytes[1024];
    for (ssize_t got; (got = read(log[0], bytes, sizeof bytes)) > 0;) {
        ended.log.append(bytes, static_cast<size_t>(got));
        look(ended.log, ram.get());
    }
    close(log[0]);
    int status = 0;
    waitpid(child, &status, 0);
    if (WIFEXITED(status)) ended.code = WEXITSTATUS(status);
    return ended;
}

TEST(ProcessSandbox, EndsWithTheSentrysCode) {
    Ended ended = run_sentry([](MiniSentry& s) { s.exit_with(42); });
    EXPECT_EQ(ended.code, 42) << ended.log;
}

TEST(ProcessSandbox, TellsTheSentryWhereThingsAre) {
    Ended ended = run_sentry([](MiniSentry& s) {
        Xbyak::Label bad;
        s.mov(s.rax, abi::kBootInfoMagic);
        s.cmp(s.rax, s.info(0));
        s.jne(bad, s.T_NEAR);
        s.cmp(s.dword[s.rbx + static_cast<int>(offsetof(abi::BootInfo, privilege))],
              static_cast<uint32_t>(abi::PrivilegeMode::kProcess));
        s.jne(bad, s.T_NEAR);
        s.cmp(s.r12, s.info(offsetof(abi::BootInfo, cpu_areas)));
        s.jne(bad, s.T_NEAR);
        s.lea(s.rax, s.qword[s.rsp + 8]);
        s.cmp(s.rax, s.area(offsetof(abi::CpuArea, entry_stack)));
        s.jne(bad, s.T_NEAR);
        s.mov(s.rax, kData);  // the image can be written where it may
        s.mov(s.qword[s.rax], s.rbx);
        s.exit_with(43);
        s.L(bad);
    });
    EXPECT_EQ(ended.code, 43) << ended.log;
}

TEST(ProcessSandbox, GivesFaultsToTheSentry) {
    Ended ended = run_sentry([](MiniSentry& s) {
        Xbyak::Label handler;
        s.lea(s.rax, s.ptr[s.rip + handler]);
        s.mov(s.area(offsetof(abi::CpuArea, fault_entry)), s.rax);
        s.xor_(s.r12d, s.r12d);
        s.mov(s.eax, s.dword[s.r12 + 16]);
        s.L(handler);
        s.mov(s.r12, s.rsi);
        s.mov(s.rax, s.qword[s.rdi + static_cast<int>(offsetof(abi::SentryFault, vector))]);
        s.add(s.rax, s.qword[s.rdi + static_cast<int>(offsetof(abi::SentryFault, cr2))]);
        s.mov(s.argument(0), s.rax);
        s.hypercall(abi::HypercallNumber::kExit);
    });
    EXPECT_EQ(ended.code, 14 + 16) << ended.log;
}

TEST(ProcessSandbox, GivesTheSentryAFaultWhereTheHostHasNoMemory) {
    Ended ended = run_sentry(
        [](MiniSentry& s) {
            Xbyak::Label handler, again;
            s.lea(s.rax, s.ptr[s.rip + handler]);
            s.mov(s.area(offsetof(abi::CpuArea, fault_entry)), s.rax);
            s.mov(s.rax, abi::kProcessDirectMap + abi::kRamGpa + kRam - abi::kPageSize);
            s.L(again);
            s.mov(s.ecx, s.dword[s.rax]);
            s.jmp(again);
            s.L(handler);
            s.mov(s.r12, s.rsi);
            s.mov(s.rax, s.qword[s.rdi + static_cast<int>(offsetof(abi::SentryFault, vector))]);
            s.mov(s.argument(0), s.rax);
            s.hypercall(abi::HypercallNumber::kExit);
        },
        [](const std::string& log, int ram_fd) {
            if (log.find("process platform: stub") == std::string::npos) return;
            EXPECT_EQ(ftruncate(ram_fd, kRam - abi::kHugePageSize), 0);
        });
    EXPECT_EQ(ended.code, 14) << ended.log;
}

TEST(ProcessSandbox, AFaultThatNobodyTakesEndsIt) {
    Ended ended = run_sentry([](MiniSentry& s) { s.ud2(); });
    EXPECT_EQ(ended.code, host::kExitOwnFailure) << ended.log;
    EXPECT_NE(ended.log.find("the sandbox process died: signal 4"), std::string::npos) << ended.log;
}

TEST(ProcessSandbox, ShowsPanics) {
    Ended ended = run_sentry([](MiniSentry& s) {
        s.free_page(0);
        s.mov(s.dword[s.rax], 0x21676f64);  // "dog!"
        s.mov(s.rcx, abi::kProcessDirectMap);
        s.sub(s.rax, s.rcx);
        s.mov(s.argument(0), s.rax);
        s.hypercall(abi::HypercallNumber::kPanic);
    });
    EXPECT_EQ(ended.code, host::kExitOwnFailure);
    EXPECT_NE(ended.log.find("the Sentry panicked: dog!"), std::string::npos) << ended.log;
}

TEST(ProcessSandbox, WaitsForTheTimer) {
    Ended ended = run_sentry([](MiniSentry& s) {
        s.mov(s.rdi, s.r12);
        s.mov(s.esi, 1'000'000);
        s.call_host(offsetof(abi::ProcessHost, set_timer));
        s.mov(s.rdi, s.r12);
        s.call_host(offsetof(abi::ProcessHost, wait));
        s.mov(s.rax, s.area(offsetof(abi::CpuArea, pending_interrupts)));
        s.add(s.rax, 50);
        s.mov(s.argument(0), s.rax);
        s.hypercall(abi::HypercallNumber::kExit);
    });
    EXPECT_EQ(ended.code, 51) << ended.log;
}

TEST(ProcessSandbox, MakesOrdersAndKillsStubs) {
    Ended ended = run_sentry([](MiniSentry& s) {
        Xbyak::Label bad;
        s.mov(s.rdi, s.r12);
        s.free_page(0);
        s.mov(s.rsi, s.rax);
        s.call_host(offsetof(abi::ProcessHost, create_stub));
        s.mov(s.r15, s.rax);
        s.test(s.rax, s.rax);
        s.jle(bad, s.T_NEAR);
        s.free_page(0);  // an order: munmap(4096, 4096)
        s.mov(s.qword[s.rax + 64], 11);
        s.mov(s.qword[s.rax + 72], 4096);
        s.mov(s.qword[s.rax + 80], 4096);
        s.mov(s.rdi, s.r12);
        s.mov(s.rsi, s.rax);
        s.mov(s.edx, 1);
        s.mov(s.ecx, s.r15d);
        s.call_host(offsetof(abi::ProcessHost, order));
        s.test(s.rax, s.rax);
        s.jne(bad, s.T_NEAR);
        s.mov(s.rdi, s.r12);
        s.mov(s.esi, s.r15d);
        s.call_host(offsetof(abi::ProcessHost, kill_stub));
        s.call_host(offsetof(abi::ProcessHost, yield));
        s.exit_with(44);
        s.L(bad);
    });
    EXPECT_EQ(ended.code, 44) << ended.log;
}

TEST(ProcessReport, TriesItForReal) {
    ProcessReport report = measure_process();
    EXPECT_TRUE(report.ok) << report.reason;
    EXPECT_GE(report.cpus, 1u);
    EXPECT_GT(report.ns_per_call, 100);
    EXPECT_LT(report.ns_per_call, 10e6);
}

}  // namespace
}  // namespace kvmsbx::vmm
