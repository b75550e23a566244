// The gofer as a process of its own, over the ring, with the test in the place of the Sentry.
#include <poll.h>
#include <sched.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/user.h>
#include <sys/wait.h>

#include <chrono>
#include <fstream>
#include <map>
#include <set>
#include <thread>

#include "common/p9/ring.hpp"
#include "gofer/confine.hpp"
#include "gofer/destinations.hpp"
#include "gofer/main.hpp"
#include "tests/unit/gofer_client.hpp"

namespace kvmsbx::gofer {
namespace {

using namespace p9;
namespace fs = std::filesystem;

class GoferProcess : public testing::Test {
  protected:
    void SetUp() override {
        if (geteuid() != 0) GTEST_SKIP() << "needs root: namespaces and mounts";
        char path[] = "/tmp/gofer-process-XXXXXX";
        bundle = mkdtemp(path);
        fs::create_directories(bundle / "rootfs/dir");
        fs::create_directories(bundle / "volume");
        std::ofstream(bundle / "rootfs/f") << "hello";
        std::ofstream(bundle / "volume/v") << "volume";
        std::ofstream(bundle / "single") << "single";
        fs::create_symlink("/dir", bundle / "rootfs/link");
        write_config(R"({"root": {"path": "rootfs"}, "mounts": [
            {"destination": "/proc", "type": "proc", "source": "proc"},
            {"destination": "/link/../link/volume", "type": "bind", "source": ")" +
                     (bundle / "volume").string() + R"(", "options": ["rbind", "ro"]},
            {"destination": "/single", "type": "none", "source": ")" +
                     (bundle / "single").string() + R"(", "options": ["bind"]}]})");
        channel = memfd_create("channel", MFD_CLOEXEC | MFD_ALLOW_SEALING);
        ASSERT_EQ(ftruncate(channel, abi::kChannelSize), 0);
        void* memory = mmap(nullptr, abi::kChannelSize, PROT_READ | PROT_WRITE, MAP_SHARED, channel, 0);
        region = {static_cast<uint8_t*>(memory), abi::kChannelSize};
        doorbell = eventfd(0, 0);
        completion = eventfd(0, 0);
        ASSERT_EQ(pipe(lifeline), 0);
        ASSERT_EQ(pipe(log), 0);
        ASSERT_EQ(pipe(mounts), 0);
        ASSERT_TRUE(driver.initialize(region).is_ok());
    }
    void TearDown() override {
        if (bundle.empty()) return;
        close_all({&lifeline[1], &log[0], &mounts[0], &channel, &doorbell, &completion});
        if (pid > 0) wait_for_end();
        munmap(region.data(), region.size());
        fs::remove_all(bundle);
    }
    void write_config(const std::string& text) { std::ofstream(bundle / "config.json") << text; }
    static void close_all(std::initializer_list<int*> fds) {
        for (int* fd : fds) {
            if (*fd >= 0) close(*fd);
            *fd = -1;
        }
    }

    std::vector<std::string> arguments(std::vector<std::string> extra) {
        std::vector<std::string> args{
            "gofer",
            "--bundle",
            bundle.string(),
            "--log-fd",
            std::to_string(log[1]),
            "--lifeline-fd",
            std::to_string(lifeline[0]),
            "--mounts-fd",
            std::to_string(mounts[1]),
            "--io-fds",
            std::to_string(channel) + "," + std::to_string(doorbell) + "," + std::to_string(completion)};
        args.insert(args.end(), extra.begin(), extra.end());
        return args;
    }
    static int run_gofer(std::vector<std::string> args) {
        alarm(60);
        std::vector<char*> argv;
        for (std::string& arg : args) argv.push_back(arg.data());
        return gofer_main(static_cast<int>(argv.size()), argv.data());
    }
    void start(std::vector<std::string> extra = {}) {
        pid = fork();
        if (pid == 0) {
            close(lifeline[1]);
            _exit(run_gofer(arguments(extra)));
        }
        close_all({&lifeline[0], &log[1], &mounts[1]});
    }
    int wait_for_end() {
        int status = 0;
        waitpid(std::exchange(pid, 0), &status, 0);
        return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
    }
    static std::string read_text(int fd) {
        std::string text;
        char buffer[4096];
        for (ssize_t n; (n = read(fd, buffer, sizeof buffer)) > 0;) text.append(buffer, static_cast<size_t>(n));
        return text;
    }

    std::span<const uint8_t> exchange(std::span<const uint8_t> request) {
        uint32_t slot = driver.acquire().value();
        std::copy(request.begin(), request.end(), driver.request(slot).begin());
        driver.submit(slot, static_cast<uint32_t>(request.size()));
        if (driver.kick_needed()) ring(doorbell);
        for (;;) {
            Completion done = driver.poll().value();
            if (done.slot != RingDriver::kNoSlot) {
                driver.release(slot);
                return driver.reply(slot).first(done.length);
            }
            if (!driver.arm()) continue;
            pollfd fds[1] = {{completion, POLLIN, 0}};
            if (poll(fds, 1, 5000) != 1) {
                close_all({&lifeline[1]});
                ADD_FAILURE() << "no reply within 5 s; the gofer ended with " << wait_for_end() << ": "
                              << read_text(log[0]);
                exit(1);  // nothing after it makes sense
            }
            uint64_t count;
            EXPECT_EQ(read(completion, &count, sizeof count), 8);
        }
    }
    static void ring(int fd) {
        uint64_t one = 1;
        EXPECT_EQ(write(fd, &one, sizeof one), 8);
    }
    // "Key:\tvalue" lines of the gofer proper: a child of the process that was started.
    std::map<std::string, std::string> status() {
        std::string self = std::to_string(pid), child;
        std::ifstream("/proc/" + self + "/task/" + self + "/children") >> child;
        gofer_pid = child;
        std::map<std::string, std::string> fields;
        std::ifstream file("/proc/" + child + "/status");
        for (std::string line; std::getline(file, line);)
            if (size_t colon = line.find(":\t"); colon != line.npos)
                fields[line.substr(0, colon)] = line.substr(colon + 2);
        return fields;
    }

    void use_every_message();

    fs::path bundle;
    std::span<uint8_t> region;
    RingDriver driver;
    int channel = -1, doorbell = -1, completion = -1;
    int lifeline[2], log[2], mounts[2];
    pid_t pid = 0;
    std::string gofer_pid;
    Client client{[this](std::span<const uint8_t> request) { return exchange(request); }};
};

TEST_F(GoferProcess, ServesTheBundleOverTheRing) {
    start();
    client.attach();
    ASSERT_EQ(client.walk(0, 1, "f"), Errno{});
    client.call(Tlopen{1, kOpenReadWrite}).value();
    EXPECT_EQ(client.read(1), "hello");
    client.call(Twrite{1, 0, Client::data("HELLO")}).value();
    client
        .call(Tcreatefid{
            .dfid = 0, .nodefid = 2, .openfid = 3, .name = "new", .flags = 2, .mode = 04755, .uid = 5, .gid = 6})
        .value();
    struct stat st {};
    ASSERT_EQ(stat((bundle / "rootfs/new").c_str(), &st), 0);
    EXPECT_EQ(st.st_mode, S_IFREG | 04755u);
    EXPECT_EQ(st.st_uid, 5u);
    std::string text;
    std::ifstream(bundle / "rootfs/f") >> text;
    EXPECT_EQ(text, "HELLO");
    // Bind mounts: a read-only folder and a file.
    client.call(Tattach{.fid = 10, .aname = "1"}).value();
    client.call(Tattach{.fid = 11, .aname = "2"}).value();
    EXPECT_EQ(client.error(Tattach{.fid = 12, .aname = "0"}), Errno::kNOENT);  // proc is the Sentry's
    EXPECT_EQ(client.error(Tmkdir{.dfid = 10, .name = "n", .mode = 0755}), Errno::kROFS);
    ASSERT_EQ(client.walk(10, 13, "v"), Errno{});
    client.call(Tlopen{13, 0}).value();
    EXPECT_EQ(client.read(13), "volume");
    client.call(Tlopen{11, kOpenReadWrite}).value();
    EXPECT_EQ(client.read(11), "single");
}

// Every kind of message passes the seccomp filter.
void GoferProcess::use_every_message() {
    ASSERT_EQ(client.walk(0, 19, "f"), Errno{});
    client.call(Tlopen{19, kOpenReadWrite}).value();
    EXPECT_EQ(client.read(19), "hello");
    usleep(50'000);  // the gofer goes to sleep, and the doorbell wakes it
    client.call(Twrite{19, 5, Client::data("!")}).value();
    client
        .call(Tcreatefid{
            .dfid = 0, .nodefid = 17, .openfid = 18, .name = "suid", .flags = 2, .mode = 04755, .uid = 5, .gid = 6})
        .value();
    ASSERT_EQ(client.walk(0, 20, "f"), Errno{});
    client.call(Tsetattr{20, {.valid = 0x1ff, .mode = 0600, .uid = 1, .gid = 1, .size = 3}}).value();
    client.call(Tgetattr{.fid = 20}).value();
    client.call(Tlink{0, 20, "hard"}).value();
    client.call(Tsymlink{.dfid = 0, .name = "sym", .target = "x"}).value();
    ASSERT_EQ(client.walk(0, 21, "sym"), Errno{});
    client.call(Treadlink{21}).value();
    client.call(Tmknod{.dfid = 0, .name = "null", .mode = S_IFCHR | 0666, .major = 1, .minor = 3}).value();
    client.call(Tmkdir{.dfid = 0, .name = "d", .mode = 0755}).value();
    client.call(Trenameat{0, "d", 0, "e"}).value();
    client.call(Tunlinkat{0, "e", kUnlinkDirectory}).value();
    client.call(Tremove{21}).value();
    client.call(Tstatfs{0}).value();
    EXPECT_EQ(client.error(Trenameflags{0, "f", 0, "hard", 1}), Errno::kEXIST);
    (void)client.error(Tallocate{19, 0, 0, 100});  // ramfs has none
    client.call(Tfsync{19, {0}}).value();
    client.call(Tfsync{19, {1}}).value();
    client.call(Topenfid{0, 22, kOpenDirectory, 0}).value();
    client.call(Treaddir{22, 0, 4096}).value();
    client.call(Treaddirattr{22, 0, 4096}).value();
    client.call(Txattrwalk{20, 23, ""}).value();
    Errno none = client.error(Txattrwalk{20, 24, "user.none"});
    EXPECT_TRUE(none == Errno::kNODATA || none == Errno::kOPNOTSUPP);  // the latter on ramfs
    client.call(Txattrcreate{.fid = 20, .name = "user.k", .attr_size = 1, .flags = 0}).value();
    client.call(Twrite{20, 0, Client::data("v")}).value();
    (void)client.call(Tclunk{20});
    ASSERT_EQ(client.walk(0, 30, "f"), Errno{});
    client.call(Txattrcreate{.fid = 30, .name = "user.k", .attr_size = 0, .flags = 2}).value();
    (void)client.call(Tclunk{30});
    for (uint32_t fid = 100; fid < 1000; fid++) ASSERT_EQ(client.walk(0, fid, "f"), Errno{});  // malloc asks for more
}

TEST_F(GoferProcess, TheFilterLetsEveryMessagePass) {
    start();
    client.attach();
    use_every_message();
}

// Traces all system calls made under the filter.
TEST_F(GoferProcess, NoRuleOfTheFilterIsUnused) {
#ifdef __SANITIZE_ADDRESS__
    GTEST_SKIP() << "no filter in builds with sanitizers";
#endif
    constexpr long kNamespaces = CLONE_NEWPID | CLONE_NEWNET | CLONE_NEWIPC | CLONE_NEWUTS;
    pid_t traced = static_cast<pid_t>(syscall(SYS_clone, kNamespaces | SIGCHLD, 0, 0, 0, 0));
    ASSERT_GE(traced, 0);
    if (traced == 0) {
        close(lifeline[1]);
        ptrace(PTRACE_TRACEME, 0, 0, 0);
        kill(getpid(), SIGSTOP);
        _exit(run_gofer(arguments({})));
    }
    std::thread user([this] {
        client.attach();
        use_every_message();
        close_all({&lifeline[0], &lifeline[1]});
    });
    int status = 0;
    waitpid(traced, &status, 0);
    ptrace(PTRACE_SETOPTIONS, traced, 0, PTRACE_O_TRACESYSGOOD | PTRACE_O_EXITKILL);
    std::set<long> made;
    bool filtered = false;
    while (ptrace(PTRACE_SYSCALL, traced, 0, 0) == 0 && waitpid(traced, &status, 0) == traced && WIFSTOPPED(status)) {
        user_regs_struct regs;
        if (WSTOPSIG(status) != (SIGTRAP | 0x80) || ptrace(PTRACE_GETREGS, traced, 0, &regs) != 0) continue;
        long number = static_cast<long>(regs.orig_rax);
        if (filtered) made.insert(number);
        filtered |= number == SYS_seccomp && regs.rdi == 1 && regs.rax == 0;  // SECCOMP_SET_MODE_FILTER
    }
    user.join();
    EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 0) << status;
    for (const SeccompRule& rule : seccomp_rules())
        EXPECT_TRUE(rule.use != SeccompRule::kOrdinary || made.contains(rule.number))
            << "system call " << rule.number << ": " << rule.reason;
}

TEST_F(GoferProcess, GivesUpItsPowers) {
    start();
    client.attach();
    auto fields = status();
    EXPECT_EQ(fields["NoNewPrivs"], "1");
#ifndef __SANITIZE_ADDRESS__
    EXPECT_EQ(fields["Seccomp"], "2");
#endif
    // CHOWN 0, DAC_OVERRIDE 1, DAC_READ_SEARCH 2, FOWNER 3, FSETID 4, MKNOD 27
    for (const char* set : {"CapEff", "CapPrm", "CapBnd"}) EXPECT_EQ(fields[set], "000000000800001f") << set;
    EXPECT_EQ(fields["CapInh"], "0000000000000000");
    EXPECT_EQ(fields["CapAmb"], "0000000000000000");
    EXPECT_EQ(fields["NSpid"].substr(fields["NSpid"].rfind('\t') + 1), "1");
    for (const char* kind : {"mnt", "pid", "net", "ipc", "uts"})
        EXPECT_NE(fs::read_symlink("/proc/" + gofer_pid + "/ns/" + kind),
                  fs::read_symlink(std::string("/proc/self/ns/") + kind))
            << kind;
    // Its root holds the exports and nothing else; its descriptors are the channel's and the exports'.
    std::set<std::string> names;
    for (const auto& entry : fs::directory_iterator("/proc/" + gofer_pid + "/root"))
        names.insert(entry.path().filename());
    EXPECT_EQ(names, (std::set<std::string>{"root", "mount1", "mount2"}));
    std::ifstream mountinfo("/proc/" + gofer_pid + "/mountinfo");
    int lines = 0;
    for (std::string line; std::getline(mountinfo, line);) lines++;
    EXPECT_LE(lines, 4);
    for (const auto& entry : fs::directory_iterator("/proc/" + gofer_pid + "/fd")) {
        std::string target = fs::read_symlink(entry.path());
        EXPECT_EQ(target.find(bundle.string()), std::string::npos) << target;
    }
}

TEST_F(GoferProcess, WritesTheMountsBackWithDestinationsResolvedInTheRoot) {
    start();
    std::string text = read_text(mounts[0]);
    EXPECT_NE(text.find(R"("destination":"/dir/volume")"), std::string::npos) << text;
    EXPECT_NE(text.find(R"("destination":"/proc")"), std::string::npos) << text;
}

TEST_F(GoferProcess, EndsSoonAfterTheLifeline) {
    start();
    client.attach();
    auto cut = std::chrono::steady_clock::now();
    close_all({&lifeline[1]});
    EXPECT_EQ(wait_for_end(), 0);
    EXPECT_LT(std::chrono::steady_clock::now() - cut, std::chrono::seconds(1));
}

TEST_F(GoferProcess, EndsWithTheProcessThatStandsBy) {
    start();
    client.attach();
    status();
    ASSERT_EQ(kill(pid, SIGKILL), 0);
    wait_for_end();
    auto runs = [this] {
        std::string state;
        std::ifstream("/proc/" + gofer_pid + "/stat") >> state >> state >> state;
        return !state.empty() && state != "Z";  // a zombie waits for whoever is init here
    };
    for (int i = 0; i < 100 && runs(); i++) usleep(10'000);
    EXPECT_FALSE(runs());
}

TEST_F(GoferProcess, EndsWhenTheRingIsViolated) {
    start();
    client.attach();
    ChannelView(region).avail().index += 1000;
    ring(doorbell);
    EXPECT_EQ(wait_for_end(), 1);
    EXPECT_NE(read_text(log[0]).find("broke the rules of the channel's ring"), std::string::npos);
}

TEST_F(GoferProcess, ReadsTheSpecFromADescriptor) {
    int spec[2];
    ASSERT_EQ(pipe(spec), 0);
    std::string text = R"({"root": {"path": ")" + (bundle / "volume").string() + R"(", "readonly": true}})";
    ASSERT_EQ(write(spec[1], text.data(), text.size()), static_cast<ssize_t>(text.size()));
    close(spec[1]);
    start({"--spec-fd", std::to_string(spec[0])});
    close(spec[0]);
    client.attach();
    EXPECT_EQ(client.walk(0, 1, "v"), Errno{});
    EXPECT_EQ(client.error(Tmkdir{.dfid = 0, .name = "n", .mode = 0755}), Errno::kROFS);
}

TEST_F(GoferProcess, WorksWithoutSetupRootAndCaps) {
    start({"--setup-root=false", "--apply-caps=false"});
    client.attach();
    EXPECT_EQ(client.walk(0, 1, "f"), Errno{});
    EXPECT_EQ(client.walk(0, 2, ".."), Errno::kINVAL);
    std::error_code gone;  // the root is a folder of a process that has ended
    EXPECT_EQ(fs::directory_iterator("/proc/" + std::to_string(pid) + "/root", gone), fs::directory_iterator());
}

TEST_F(GoferProcess, SaysWhatIsWrongInOneLine) {
    struct Case {
        std::string config;
        std::string message;
    };
    const Case cases[] = {
        {"{", "config.json is not a JSON object"},
        {"{}", "config.json: root is missing"},
        {R"({"root": {}})", "config.json: root.path is missing"},
        {R"({"root": {"path": "none"}})", "/none: No such file or directory; check root.path in config.json"},
        {R"({"root": {"path": "rootfs"}, "mounts": [{"destination": "/d", "type": "bind"}]})",
         "config.json: mounts[0] is a bind mount without a source"},
        {R"({"root": {"path": "rootfs"}, "mounts": [{"destination": "/d", "type": "bind", "source": "none"}]})",
         "check mounts[0].source in config.json"},
    };
    for (const Case& bad : cases) {
        write_config(bad.config);
        close_all({&log[0], &log[1], &lifeline[0], &lifeline[1], &mounts[0], &mounts[1]});
        ASSERT_EQ(pipe(log), 0);
        ASSERT_EQ(pipe(lifeline), 0);
        ASSERT_EQ(pipe(mounts), 0);
        start();
        EXPECT_EQ(wait_for_end(), 1) << bad.config;
        std::string line = read_text(log[0]);
        EXPECT_NE(line.find(bad.message), std::string::npos) << line;
        EXPECT_EQ(line.find('\n'), line.size() - 1) << line;
    }
}

TEST(GoferDestinations, AreResolvedInsideTheRoot) {
    char path[] = "/tmp/gofer-dest-XXXXXX";
    fs::path root = mkdtemp(path);
    fs::create_directories(root / "a/b");
    fs::create_symlink("/a", root / "absolute");
    fs::create_symlink("../../../../etc", root / "a/up");
    fs::create_symlink("loop", root / "loop");
    fs::create_symlink("absolute/b", root / "chain");
    host::Fd fd(open(root.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC));
    EXPECT_EQ(resolve_destination(fd.get(), "/a/b"), "/a/b");
    EXPECT_EQ(resolve_destination(fd.get(), "a//./b/"), "/a/b");
    EXPECT_EQ(resolve_destination(fd.get(), "/absolute/new/dir"), "/a/new/dir");
    EXPECT_EQ(resolve_destination(fd.get(), "/chain/x"), "/a/b/x");
    EXPECT_EQ(resolve_destination(fd.get(), "/a/up/passwd"), "/etc/passwd");  // the root's own /etc
    EXPECT_EQ(resolve_destination(fd.get(), "/../../x"), "/x");
    EXPECT_EQ(resolve_destination(fd.get(), "/"), "/");
    EXPECT_EQ(resolve_destination(fd.get(), "/loop/x"), "");
    fs::remove_all(root);
}

}  // namespace
}  // namespace kvmsbx::gofer
