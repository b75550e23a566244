// The three forms of an ELF program, argv, envp, auxv, what survives execve.
#include <fcntl.h>
#include <sys/auxv.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#include "tests/guest/exec/exec_test.hpp"

using namespace guest;

namespace guest {
int exec_errno(const char* path, char* const argv[], char* const envp[]) {
    char name[] = "x";
    char* plain[] = {name, nullptr};
    char* none[] = {nullptr};
    int status = run_child([&] {
        execve(path, argv != nullptr ? argv : plain, envp != nullptr ? envp : none);
        _exit(errno);
    });
    if (!WIFEXITED(status)) fail(__FILE__, __LINE__, "exec of %s: status 0x%x", path, status);
    return WEXITSTATUS(status);
}
}  // namespace guest

namespace {
std::string three_forms(const char* what) {
    std::string first;
    for (const char* program : {kStatic, kPie, kDynamic}) {
        Output out = output_of([&] { execl(program, "helper", what, nullptr); });
        CHECK_EXITED(out.status, 0);
        if (first.empty()) first = out.text;
    }
    return first;
}
}  // namespace

TEST("static_program") {
    Output out = output_of([] { execl(kStatic, "name", "args", "one", "", "three words here", nullptr); });
    CHECK_STREQ(out.text.c_str(), "name\nargs\none\n\nthree words here\n");
    CHECK_EXITED(out.status, 0);
}

TEST("static_pie_program") {
    Output out = output_of([] { execl(kPie, "name", "args", nullptr); });
    CHECK_STREQ(out.text.c_str(), "name\nargs\n");
    CHECK_EXITED(out.status, 0);
}

TEST("dynamic_program") {
    Output out = output_of([] { execl(kDynamic, "name", "args", nullptr); });
    CHECK_STREQ(out.text.c_str(), "name\nargs\n");
    CHECK_EXITED(out.status, 0);
}

TEST("interpreter_as_program") {
    Output out = output_of([] { execl("/lib64/ld-linux-x86-64.so.2", "ld.so", kDynamic, "args", nullptr); });
    CHECK_STREQ(out.text.c_str(), "/bin/helper_dynamic\nargs\n");
}

TEST("exit_code_of_program") {
    CHECK_EXITED(output_of([] { execl(kStatic, "x", "exit", "17", nullptr); }).status, 17);
    CHECK_EXITED(output_of([] { execl(kDynamic, "x", "exit", "18", nullptr); }).status, 18);
}

TEST("stack_layout") { three_forms("layout"); }

TEST("threads_and_tls_in_each_form") { three_forms("threads"); }

TEST("environment_is_passed") {
    Output out = output_of([] {
        char a[] = "A=1", b[] = "B=two words", c[] = "noequals";
        char* environment[] = {a, b, c, nullptr};
        execle(kStatic, "x", "env", nullptr, environment);
    });
    CHECK_STREQ(out.text.c_str(), "A=1\nB=two words\nnoequals\n");
}

TEST("empty_environment") {
    Output out = output_of([] {
        char* environment[] = {nullptr};
        execle(kStatic, "x", "env", nullptr, environment);
    });
    CHECK_STREQ(out.text.c_str(), "");
}

TEST("null_envp_is_empty") {
    Output out = output_of([] {
        char name[] = "x", what[] = "env";
        char* argv[] = {name, what, nullptr};
        syscall(SYS_execve, kStatic, argv, nullptr);
    });
    CHECK_STREQ(out.text.c_str(), "");
}

TEST("empty_argv_becomes_one_empty_string") {
    Output out = output_of([] {
        char* none[] = {nullptr};
        execve(kStatic, none, none);
    });
    CHECK_STREQ(out.text.c_str(), "\n");
}

TEST("auxv_of_each_form") {
    const char* forms[] = {kStatic, kPie, kDynamic};
    for (const char* program : forms) {
        Output out = output_of([&] { execl(program, "x", "auxv", nullptr); });
        CHECK(out.text.find("6=4096\n") != std::string::npos);  // AT_PAGESZ
        CHECK(out.text.find("4=56\n") != std::string::npos);    // AT_PHENT
        CHECK(out.text.find("17=100\n") != std::string::npos);  // AT_CLKTCK
        CHECK(out.text.find("23=0\n") != std::string::npos);    // AT_SECURE
        CHECK(out.text.find("platform=x86_64\n") != std::string::npos);
        CHECK(out.text.find(std::string("execfn=") + program + "\n") != std::string::npos);
        CHECK(out.text.find(program == kDynamic ? "entry=1 phdr=1 random=1 vdso=1 base=1"
                                                : "entry=1 phdr=1 random=1 vdso=1 base=0") != std::string::npos);
    }
}

TEST("auxv_ids_after_setuid") {
    Output out = output_of([] {
        OK(setresgid(77, 77, 77));
        OK(setresuid(66, 66, 66));
        execl(kStatic, "x", "auxv", nullptr);
    });
    CHECK(out.text.find("11=66\n12=66\n13=77\n14=77\n") != std::string::npos);
}

TEST("auxv_execfn_relative") {
    Output out = output_of([] {
        OK(chdir("/bin"));
        execl("./helper_static", "x", "auxv", nullptr);
    });
    CHECK(out.text.find("execfn=./helper_static\n") != std::string::npos);
}

TEST("auxv_random_differs") {
    CHECK(output_of([] { execl(kStatic, "x", "random", nullptr); }).text !=
          output_of([] { execl(kStatic, "x", "random", nullptr); }).text);
}

TEST("auxv_of_this_program") {
    CHECK_EQ(getauxval(AT_PAGESZ), 4096);
    CHECK_EQ(getauxval(AT_UID), getuid());
    CHECK_NE(getauxval(AT_HWCAP), 0);
    CHECK_NE(getauxval(AT_SYSINFO_EHDR), 0);
    CHECK(getauxval(AT_MINSIGSTKSZ) == 0 || getauxval(AT_MINSIGSTKSZ) >= 1000);  // a frame with FXSAVE at least
}

TEST("proc_self_exe") {
    CHECK_STREQ(output_of([] { execl(kStatic, "x", "exe", nullptr); }).text.c_str(), "/bin/helper_static\n");
    CHECK_STREQ(output_of([] { execl(kDynamic, "x", "exe", nullptr); }).text.c_str(), "/bin/helper_dynamic\n");
    CHECK_STREQ(output_of([] {
                    OK(chdir("/bin"));
                    execl("./helper_pie", "x", "exe", nullptr);
                }).text.c_str(),
                "/bin/helper_pie\n");
}

TEST("proc_self_exe_through_symlink") {
    scratch();
    OK(symlink(kStatic, "link"));
    CHECK_STREQ(output_of([] { execl("link", "x", "exe", nullptr); }).text.c_str(), "/bin/helper_static\n");
}

TEST("exec_of_proc_self_exe_target") {
    int fd = OK(open(kStatic, O_RDONLY));
    Output out = output_of([&] {
        char path[64];
        snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
        execl(path, "x", "args", nullptr);
    });
    CHECK_STREQ(out.text.c_str(), "x\nargs\n");
}

TEST("fexecve") {
    int fd = OK(open(kStatic, O_PATH | O_CLOEXEC));
    Output out = output_of([&] {
        char name[] = "x", what[] = "args";
        char *argv[] = {name, what, nullptr}, *envp[] = {nullptr};
        fexecve(fd, argv, envp);
    });
    CHECK_STREQ(out.text.c_str(), "x\nargs\n");
}

TEST("execveat_relative_to_descriptor") {
    int fd = OK(open("/bin", O_PATH | O_DIRECTORY));
    Output out = output_of([&] {
        char name[] = "x", what[] = "args";
        char *argv[] = {name, what, nullptr}, *envp[] = {nullptr};
        syscall(SYS_execveat, fd, "helper_static", argv, envp, 0);
    });
    CHECK_STREQ(out.text.c_str(), "x\nargs\n");
}

TEST("close_on_exec") {
    Output out = output_of([] {
        for (int fd = 3; fd < 300; fd++) close(fd);
        int null = OK(open("/dev/null", O_RDONLY));
        OK(dup2(null, 50));
        OK(dup3(null, 51, O_CLOEXEC));
        OK(dup2(null, 52));
        OK(fcntl(52, F_SETFD, FD_CLOEXEC));
        OK(dup2(51, 53));
        OK(close(null));
        execl(kStatic, "x", "fds", nullptr);
    });
    CHECK_STREQ(out.text.c_str(), "0\n1\n2\n50\n53\n");
}

TEST("pid_is_kept") {
    int pid = 0;
    int fds[2];
    OK(pipe(fds));
    pid_t child = OK(fork());
    if (child == 0) {
        dup2(fds[1], 1);
        execl(kStatic, "x", "pid", nullptr);
        _exit(1);
    }
    char text[32] = {};
    CHECK_GT(read(fds[0], text, sizeof(text) - 1), 0);
    OK(waitpid(child, nullptr, 0));
    pid = atoi(text);
    CHECK_EQ(pid, child);
}

TEST("signals_across_exec") {
    // Handlers go back to default, ignored stays ignored, the mask and pending signals stay.
    Output out = output_of([] {
        signal(SIGUSR1, [](int) {});
        signal(SIGUSR2, SIG_IGN);
        sigset_t set;
        sigemptyset(&set);
        sigaddset(&set, SIGUSR1);
        sigprocmask(SIG_BLOCK, &set, nullptr);
        raise(SIGUSR1);
        execl(kStatic, "x", "signals", nullptr);
    });
    CHECK_STREQ(out.text.c_str(), "blocked=1\n10=default\n12=ignored\n15=default\npending=1\n");
}

TEST("vfork_then_exec") {
    pid_t pid = vfork();
    if (pid == 0) {
        execl(kStatic, "x", "exit", "23", nullptr);
        _exit(1);
    }
    int status;
    CHECK_EQ(waitpid(pid, &status, 0), pid);
    CHECK_EXITED(status, 23);
}

TEST("exec_many_times") {
    for (int i = 0; i < 20; i++) {
        char code[8];
        snprintf(code, sizeof(code), "%d", i);
        CHECK_EXITED(run_child([&] { execl(kStatic, "x", "exit", code, nullptr); }), i);
    }
}

TEST("setuid_program_changes_effective_ids") {
    scratch();
    char command[] = "cp /bin/helper_static suid && chown 33:44 suid && chmod 6755 suid";
    CHECK_EXITED(run_child([&] { execl("/bin/sh", "sh", "-c", command, nullptr); }), 0);
    Output out = output_of([] {
        OK(setresgid(1001, 1001, 1001));
        OK(setresuid(1000, 1000, 1000));
        execl("./suid", "x", "ids", nullptr);
    });
    CHECK_STREQ(out.text.c_str(), "1000 33 1001 44\n");
}

TEST("a_program_is_dumpable_unless_it_is_set_id_or_unreadable") {
    scratch();
    char command[] =
        "cp /bin/helper_static suid && chown 33 suid && chmod 4755 suid && cp /bin/helper_static hidden && chmod 0711 "
        "hidden";
    CHECK_EXITED(run_child([&] { execl("/bin/sh", "sh", "-c", command, nullptr); }), 0);
    const auto start = [](const char* path) {
        return run_child([&] {
            OK(setresuid(1000, 1000, 1000));
            execl(path, "x", "dumpable", nullptr);
        });
    };
    CHECK_EXITED(start(kStatic), 1);
    CHECK_EXITED(start("./suid"), 0);
    CHECK_EXITED(start("./hidden"), 0);
    CHECK_EXITED(run_child([] {
                     OK(prctl(PR_SET_DUMPABLE, 0));
                     execl(kStatic, "x", "dumpable", nullptr);
                 }),
                 1);
}
