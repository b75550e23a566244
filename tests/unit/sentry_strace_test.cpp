// What --strace prints, and the table it prints from.
#include "guestkernel/syscalls/strace.hpp"

#include <gtest/gtest.h>

#include "guestkernel/syscalls/dispatch.hpp"
#include "tests/unit/sentry_task.hpp"

namespace kvmsbx::syscalls {
namespace {

template <typename Print>
std::string printed(Print print) {
    FixedText<512> text;
    print(text);
    return std::string(text.view());
}

std::string quoted(std::string_view bytes, size_t limit = 32, bool more = false) {
    return printed([&](TextSink& sink) { print_quoted(sink, bytes, limit, more); });
}

TEST(Strace, QuotesAndEscapes) {
    EXPECT_EQ(quoted("abc"), "\"abc\"");
    EXPECT_EQ(quoted("a\"b\\c\n\t"), "\"a\\\"b\\\\c\\n\\t\"");
    EXPECT_EQ(quoted(std::string_view("\0x\0"
                                      "7\377",
                                      5)),
              "\"\\0x\\0007\\377\"");
    EXPECT_EQ(quoted("0123456789", 4), "\"0123\"...");
    EXPECT_EQ(quoted("0123", 4, true), "\"0123\"...");
}

TEST(Strace, Results) {
    const auto result = [](int64_t value) {
        return printed([&](TextSink& sink) { print_result(sink, static_cast<uint64_t>(value)); });
    };
    EXPECT_EQ(result(3), "3");
    EXPECT_EQ(result(-2), "-1 ENOENT (No such file or directory)");
    EXPECT_EQ(result(-11), "-1 EAGAIN (Resource temporarily unavailable)");
    EXPECT_EQ(result(-512), "? ERESTARTSYS (To be restarted)");
    EXPECT_EQ(result(0x7f0000001000), "0x7f0000001000");
}

TEST(Strace, Flags) {
    EXPECT_EQ(printed([](TextSink& s) { print_open_flags(s, 02000001 | 0100 | 01000); }),
              "O_WRONLY|O_CREAT|O_TRUNC|O_CLOEXEC");
    EXPECT_EQ(printed([](TextSink& s) { print_open_flags(s, 0); }), "O_RDONLY");
    EXPECT_EQ(printed([](TextSink& s) { print_protection(s, 0); }), "PROT_NONE");
    EXPECT_EQ(printed([](TextSink& s) { print_protection(s, 5); }), "PROT_READ|PROT_EXEC");
    EXPECT_EQ(printed([](TextSink& s) { print_map_flags(s, 0x22); }), "MAP_PRIVATE|MAP_ANONYMOUS");
    EXPECT_EQ(printed([](TextSink& s) { print_map_flags(s, 0x80000022); }), "MAP_PRIVATE|MAP_ANONYMOUS|0x80000000");
    EXPECT_EQ(printed([](TextSink& s) { print_clone_flags(s, 0x1200011); }),
              "CLONE_CHILD_CLEARTID|CLONE_CHILD_SETTID|SIGCHLD");
}

TEST(Table, FindsByNumber) {
    ASSERT_NE(find(13), nullptr);
    EXPECT_STREQ(find(13)->name, "rt_sigaction");
    EXPECT_EQ(find(kMaxSyscall), nullptr);
    EXPECT_EQ(find(~0ULL), nullptr);
}

TEST(Dispatch, ResultsAndErrorsInRax) {
    platform::test::Machine machine;
    machine.run([] {
        task::TestTask t(7);
        t.task->regs.trap = abi::kTrapSyscall;
        t.task->regs.rax = 102;  // getuid
        dispatch(*t.task);
        EXPECT_EQ(t.task->regs.rax, 0u);
        t.task->regs.rax = 0x7fffffff;
        dispatch(*t.task);
        EXPECT_EQ(static_cast<int64_t>(t.task->regs.rax), -38);
        t.task->regs.rax = 13, t.task->regs.rdi = 9, t.task->regs.rsi = 0, t.task->regs.rdx = 0, t.task->regs.r10 = 4;
        dispatch(*t.task);
        EXPECT_EQ(static_cast<int64_t>(t.task->regs.rax), -22);
    });
}

}  // namespace
}  // namespace kvmsbx::syscalls
