// Scripts and the errors of execve.
#include <fcntl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#include <vector>

#include "tests/guest/exec/exec_test.hpp"

using namespace guest;

TEST("script_without_argument") {
    scratch();
    CHECK(write_file("script", "#!/bin/helper_static\nrest\n", 0755));
    Output out = output_of([] { execl("./script", "ignored", "one", "two", nullptr); });
    CHECK_STREQ(out.text.c_str(), "/bin/helper_static\n./script\none\ntwo\n");
}

TEST("script_with_one_argument") {
    scratch();
    CHECK(write_file("script", "#!/bin/helper_static args\n", 0755));
    Output out = output_of([] { execl("./script", "x", "tail", nullptr); });
    CHECK_STREQ(out.text.c_str(), "/bin/helper_static\nargs\n./script\ntail\n");
}

TEST("script_argument_is_not_split") {
    scratch();
    CHECK(write_file("script", "#!   /bin/helper_static   args  two  three \t \n", 0755));
    Output out = output_of([] { execl("./script", "x", nullptr); });
    CHECK_STREQ(out.text.c_str(), "/bin/helper_static\nargs  two  three\n./script\n");
}

TEST("script_without_newline") {
    scratch();
    CHECK(write_file("script", "#!/bin/helper_static", 0755));
    CHECK_STREQ(output_of([] { execl("./script", "x", nullptr); }).text.c_str(), "/bin/helper_static\n./script\n");
}

TEST("script_run_by_shell") {
    scratch();
    CHECK(write_file("script", "#!/bin/sh\necho $0 $1 $#\nexit 6\n", 0755));
    Output out = output_of([] { execl("./script", "x", "a", "b", nullptr); });
    CHECK_STREQ(out.text.c_str(), "./script a 2\n");
    CHECK_EXITED(out.status, 6);
}

TEST("script_nested") {
    scratch();
    CHECK(write_file("inner", "#!/bin/helper_static args\n", 0755));
    CHECK(write_file("outer", "#!./inner second\n", 0755));
    Output out = output_of([] { execl("./outer", "x", "tail", nullptr); });
    CHECK_STREQ(out.text.c_str(), "/bin/helper_static\nargs\n./inner\nsecond\n./outer\ntail\n");
}

TEST("script_too_deep_is_eloop") {
    scratch();
    CHECK(write_file("s0", "#!/bin/helper_static\n", 0755));
    for (int i = 1; i <= 6; i++) {
        char name[8], text[16];
        snprintf(name, sizeof(name), "s%d", i);
        snprintf(text, sizeof(text), "#!./s%d\n", i - 1);
        CHECK(write_file(name, text, 0755));
    }
    CHECK_EQ(exec_errno("./s6"), ELOOP);
    CHECK_EXITED(run_child([] { execl("./s4", "x", nullptr); }), 0);
}

TEST("script_missing_interpreter_is_enoent") {
    scratch();
    CHECK(write_file("script", "#!/no/such/program\n", 0755));
    CHECK_EQ(exec_errno("./script"), ENOENT);
}

TEST("script_empty_interpreter_is_enoexec") {
    scratch();
    CHECK(write_file("script", "#!   \n", 0755));
    CHECK_EQ(exec_errno("./script"), ENOEXEC);
}

TEST("script_not_executable_is_eacces") {
    scratch();
    CHECK(write_file("script", "#!/bin/sh\n", 0644));
    CHECK_EQ(exec_errno("./script"), EACCES);
}

TEST("script_comm_is_script_name") {
    scratch();
    CHECK(write_file("myscript", "#!/bin/sh\nread -r line < /proc/self/comm || true\ncat /proc/$$/comm\n", 0755));
    CHECK_STREQ(output_of([] { execl("./myscript", "x", nullptr); }).text.c_str(), "myscript\n");
}

TEST("missing_is_enoent") {
    scratch();
    CHECK_EQ(exec_errno("./nothing"), ENOENT);
    CHECK_EQ(exec_errno(""), ENOENT);
}

TEST("path_through_file_is_enotdir") {
    scratch();
    CHECK(write_file("file", "x", 0755));
    CHECK_EQ(exec_errno("./file/program"), ENOTDIR);
}

TEST("directory_is_eacces") {
    scratch();
    OK(mkdir("folder", 0755));
    CHECK_EQ(exec_errno("./folder"), EACCES);
}

TEST("no_execute_bit_is_eacces_even_for_root") {
    scratch();
    CHECK(write_file("file", "\177ELF", 0644));
    CHECK_EQ(exec_errno("./file"), EACCES);
}

TEST("no_permission_for_other_user_is_eacces") {
    scratch();
    CHECK(write_file("file", "#!/bin/sh\n", 0700));
    CHECK_EXITED(run_child([] {
                     OK(setresuid(1000, 1000, 1000));
                     CHECK_ERRNO(execl("./file", "x", nullptr), EACCES);
                 }),
                 0);
}

TEST("unsearchable_folder_is_eacces") {
    scratch();
    OK(mkdir("folder", 0700));
    CHECK(write_file("folder/file", "#!/bin/sh\n", 0755));
    CHECK_EXITED(run_child([] {
                     OK(setresuid(1000, 1000, 1000));
                     CHECK_ERRNO(execl("./folder/file", "x", nullptr), EACCES);
                 }),
                 0);
}

TEST("text_file_is_enoexec") {
    scratch();
    CHECK(write_file("file", "echo hello\n", 0755));
    CHECK_EQ(exec_errno("./file"), ENOEXEC);
}

TEST("empty_file_is_enoexec") {
    scratch();
    CHECK(write_file("file", "", 0755));
    CHECK_EQ(exec_errno("./file"), ENOEXEC);
}

TEST("truncated_elf_is_enoexec") {
    scratch();
    CHECK(write_file("file", "\177ELF\2\1\1", 0755));
    CHECK_EQ(exec_errno("./file"), ENOEXEC);
}

TEST("elf_of_other_machine_is_enoexec") {
    scratch();
    int in = OK(open(kStatic, O_RDONLY));
    char header[4096];
    CHECK_EQ(read(in, header, sizeof(header)), sizeof(header));
    header[18] = static_cast<char>(0xb7);  // e_machine: AArch64
    int out = OK(open("file", O_WRONLY | O_CREAT, 0755));
    CHECK_EQ(write(out, header, sizeof(header)), sizeof(header));
    OK(close(out));
    CHECK_EQ(exec_errno("./file"), ENOEXEC);
}

TEST("text_busy_on_exec_of_file_open_for_writing") {
    scratch();
    CHECK(write_file("file", "#!/bin/sh\n", 0755));
    int fd = OK(open("file", O_WRONLY));
    CHECK_EQ(exec_errno("./file"), ETXTBSY);
    OK(close(fd));
    CHECK_EXITED(run_child([] { execl("./file", "x", nullptr); }), 0);
}

TEST("text_busy_on_write_of_running_program") {
    scratch();
    CHECK_EXITED(run_child([] { execl("/bin/sh", "sh", "-c", "cp /bin/busybox prog", nullptr); }), 0);
    pid_t pid = OK(fork());
    if (pid == 0) {
        execl("./prog", "sleep", "20", nullptr);
        _exit(1);
    }
    // Not before it runs: a file open for writing could not be executed.
    std::string link = "/proc/" + std::to_string(pid) + "/exe";
    char target[300] = {};
    for (int i = 0; i < 1000 && strstr(target, "/prog") == nullptr; i++) {
        sleep_ms(2);
        memset(target, 0, sizeof(target));
        OK(readlink(link.c_str(), target, sizeof(target) - 1));
    }
    int fd = open("prog", O_WRONLY);
    int value = fd < 0 ? errno : 0;
    OK(kill(pid, SIGKILL));
    OK(waitpid(pid, nullptr, 0));
    CHECK_EQ(value, ETXTBSY);
}

TEST("bad_pointers_are_efault") {
    CHECK_ERRNO(syscall(SYS_execve, 8, nullptr, nullptr), EFAULT);
    CHECK_ERRNO(syscall(SYS_execve, kStatic, 8, nullptr), EFAULT);
    const char* argv[] = {"x", reinterpret_cast<const char*>(8), nullptr};
    CHECK_ERRNO(syscall(SYS_execve, kStatic, argv, nullptr), EFAULT);
    const char* good[] = {"x", nullptr};
    CHECK_ERRNO(syscall(SYS_execve, kStatic, good, argv), EFAULT);
}

TEST("long_argument_is_e2big") {
    // One string may have at most 32 pages with its NUL.
    std::string text(131072, 'a');
    char name[] = "x", what[] = "argsize";
    char* argv[] = {name, what, text.data(), nullptr};
    CHECK_EQ(exec_errno(kStatic, argv), E2BIG);
    text.resize(131071);
    argv[2] = text.data();
    CHECK_STREQ(output_of([&] { execv(kStatic, argv); }).text.c_str(), "3 131071\n");
}

TEST("many_arguments") {
    std::string text(1000, 'b');
    char name[] = "x", what[] = "argsize";
    std::vector<char*> argv = {name, what};
    for (int i = 0; i < 500; i++) argv.push_back(text.data());
    argv.push_back(nullptr);
    CHECK_STREQ(output_of([&] { execv(kStatic, argv.data()); }).text.c_str(), "502 1000\n");
}

TEST("too_many_arguments_is_e2big") {
    rlimit stack;
    OK(getrlimit(RLIMIT_STACK, &stack));
    stack.rlim_cur = 1024 * 1024;  // a quarter of it is for arguments, at least 128 KiB
    OK(setrlimit(RLIMIT_STACK, &stack));
    std::string text(1000, 'b');
    char name[] = "x";
    std::vector<char*> argv = {name};
    for (int i = 0; i < 400; i++) argv.push_back(text.data());
    argv.push_back(nullptr);
    CHECK_EQ(exec_errno(kStatic, argv.data()), E2BIG);
}

TEST("failed_exec_leaves_process_intact") {
    int value = 5;
    CHECK_ERRNO(execl("/no/such", "x", nullptr), ENOENT);
    CHECK_EQ(value, 5);
    CHECK_EQ(fcntl(1, F_GETFD), 0);
}

TEST("path_too_long_is_enametoolong") {
    std::string path(4096, 'a');
    CHECK_EQ(exec_errno(path.c_str()), ENAMETOOLONG);
    std::string component = "/" + std::string(256, 'a');
    CHECK_EQ(exec_errno(component.c_str()), ENAMETOOLONG);
}
