// The file server's process. One per sandbox, started by the CLI with the descriptors it needs; the only part of a
// sandbox that touches the host's files. It confines itself (confine.hpp) before it reads the first byte of the
// channel, and lives until the lifeline closes or the channel breaks.
#include "gofer/main.hpp"

#include <fcntl.h>
#include <malloc.h>
#include <sched.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>

#include <CLI/CLI.hpp>

#include "common/abi/channel.hpp"
#include "common/host/code_pages.hpp"
#include "common/host/fd.hpp"
#include "common/host/write_all.hpp"
#include "gofer/confine.hpp"
#include "gofer/destinations.hpp"
#include "gofer/log.hpp"
#include "gofer/serve.hpp"

namespace kvmsbx::gofer {
namespace {

struct Options {
    std::string bundle = ".";
    std::vector<int> io_fds;
    int socket_fd = -1, spec_fd = -1, mounts_fd = -1, log_fd = -1, lifeline_fd = -1;
    bool apply_caps = true, setup_root = true, user_namespace = false, debug = false;
};

bool fail(const std::string& text) { return log.error_text(text), false; }

// 0 or 1: go on; else exit code + 2. (CLI11 reports --help and errors by exceptions.)
bool parse_options(int argc, char** argv, Options& options, int& exit_code) {
    CLI::App app("Serves the bundle's files to the sandbox by 9P2000.L (started by kvmsbx itself)", "kvmsbx gofer");
    app.add_option("--bundle", options.bundle, "folder of config.json");
    app.add_option("--io-fds", options.io_fds, "channel memfd, doorbell eventfd, completion eventfd")->delimiter(',');
    app.add_option("--socket-fd", options.socket_fd, "serve this connected stream socket instead");
    app.add_option("--spec-fd", options.spec_fd, "read config.json from this descriptor");
    app.add_option("--mounts-fd", options.mounts_fd,
                   "write the mounts here, their destinations resolved inside the root");
    app.add_option("--lifeline-fd", options.lifeline_fd, "a pipe: at its end the sandbox is gone");
    app.add_option("--log-fd", options.log_fd, "write messages here instead of to stderr");
    app.add_option("--apply-caps", options.apply_caps, "drop capabilities")->default_val(true);
    app.add_option("--setup-root", options.setup_root,
                   "make namespaces and a private root; false: an empty root and Landlock, where the host has them")
        ->default_val(true);
    app.add_flag("--user-namespace", options.user_namespace,
                 "the process was put into a user namespace of its own: the ids of config.json are those outside");
    app.add_flag("--debug", options.debug, "log every message");
    try {
        app.parse(argc, argv);
    } catch (const CLI::ParseError& error) {
        exit_code = error.get_exit_code() == 0 ? app.exit(error) : 1;
        if (exit_code != 0) log.error_text(error.what());
        return false;
    }
    exit_code = 1;
    if (options.socket_fd < 0 && options.io_fds.size() != 3)
        return fail(
            "--io-fds needs three descriptors: channel memfd, doorbell eventfd, completion eventfd (or use "
            "--socket-fd)");
    for (int fd : {options.socket_fd, options.spec_fd, options.mounts_fd, options.log_fd, options.lifeline_fd})
        if (fd >= 0 && fcntl(fd, F_GETFD) < 0) return fail("descriptor " + std::to_string(fd) + " is not open");
    for (int fd : options.io_fds)
        if (fcntl(fd, F_GETFD) < 0) return fail("--io-fds: descriptor " + std::to_string(fd) + " is not open");
    return true;
}

bool read_all(int fd, std::string& text) {
    char buffer[16 * 1024];
    for (;;) {
        ssize_t n = read(fd, buffer, sizeof buffer);
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) return false;
        if (n == 0) return true;
        text.append(buffer, static_cast<size_t>(n));
    }
}

bool load_spec(const Options& options, GoferSpec& spec) {
    std::string path = options.bundle + "/config.json";
    host::Fd file(options.spec_fd >= 0 ? options.spec_fd : open(path.c_str(), O_RDONLY | O_CLOEXEC));
    std::string text, error;
    if (!file.is_open()) return fail("cannot open " + path + because());
    if (!read_all(file.get(), text)) return fail("cannot read config.json" + because());
    char* bundle = realpath(options.bundle.c_str(), nullptr);
    if (bundle == nullptr) return fail("cannot find the bundle " + options.bundle + because());
    bool parsed = parse_spec(text, bundle, spec, error);
    free(bundle);
    return parsed || fail(error);
}

bool report_mounts(const Options& options, const GoferSpec& spec, const Export& root) {
    if (options.mounts_fd < 0) return true;
    host::Fd out(options.mounts_fd);
    std::vector<std::string> resolved;
    for (size_t i = 0; i < spec.destinations.size(); i++) {
        resolved.push_back(resolve_destination(root.fd.get(), spec.destinations[i]));
        if (resolved.back().empty())
            return fail("mounts[" + std::to_string(i) + "].destination " + spec.destinations[i] +
                        ": too many symbolic links");
    }
    return host::write_all(out.get(), mounts_with_destinations(spec, resolved)).is_ok() ||
           fail("cannot write to --mounts-fd" + because());
}

bool has_second_cpu() {
    cpu_set_t cpus;
    return sched_getaffinity(0, sizeof cpus, &cpus) == 0 && CPU_COUNT(&cpus) > 1;
}

bool map_channel(int fd, std::span<uint8_t>& region) {
    struct stat st;
    if (fstat(fd, &st) != 0 || static_cast<uint64_t>(st.st_size) < abi::kChannelSize)
        return fail("--io-fds: the channel memfd has not the " + std::to_string(abi::kChannelSize) +
                    " bytes of the channel region");
    // A file that shrinks under the mapping is a SIGBUS that the other side can cause.
    if (fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK) != 0 && (fcntl(fd, F_GET_SEALS) & F_SEAL_SHRINK) == 0)
        log.debug_text("the channel memfd cannot be sealed against shrinking (create it with MFD_ALLOW_SEALING)");
    void* memory = mmap(nullptr, abi::kChannelSize, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (memory == MAP_FAILED) return fail("cannot map the channel memfd" + because());
    region = {static_cast<uint8_t*>(memory), abi::kChannelSize};
    return true;
}

void detach_from_terminal() {
    setsid();  // fails for the leader of a process group: then the signals below are ignored at least
    for (int signal_number : {SIGINT, SIGQUIT, SIGTSTP, SIGHUP, SIGPIPE}) signal(signal_number, SIG_IGN);
    host::Fd null(open("/dev/null", O_RDWR | O_CLOEXEC));
    if (!null.is_open()) return;
    dup2(null.get(), STDIN_FILENO);
    dup2(null.get(), STDOUT_FILENO);
}

int report_end(ServeEnd end) {
    switch (end) {
        case ServeEnd::kPeerGone: return 0;
        case ServeEnd::kBadHeader:
            log.error_text(
                "the channel region has no header of this version; the Sentry and the gofer are of different builds");
            break;
        case ServeEnd::kRingViolation:
            log.error_text(
                "the Sentry broke the rules of the channel's ring; the sandbox's files are no longer served");
            break;
        case ServeEnd::kBadFrame:
            log.error_text("the client sent a frame larger than msize or shorter than a header");
            break;
        case ServeEnd::kHostError: log.error_text("the channel failed" + because()); break;
    }
    return 1;
}

std::string text_of(const char* path) {
    const host::Fd file(open(path, O_RDONLY | O_CLOEXEC));
    std::string text;
    if (!file.is_open() || !read_all(file.get(), text)) log.debug_text("cannot read " + std::string(path) + because());
    return text;
}

ExportOptions export_options(const Options& options) {
    if (!options.user_namespace) return {options.setup_root, {}};
    return {options.setup_root,
            {parse_id_map(text_of("/proc/self/uid_map")), parse_id_map(text_of("/proc/self/gid_map"))}};
}

bool confine(const Options& options, const GoferSpec& spec, ServerConfig& config) {
    if (options.setup_root && !enter_namespaces()) return false;
    detach_from_terminal();
    raise_descriptor_limit();
    umask(0);
    if (!open_exports(spec, export_options(options), config.exports, config.proc_self_fd)) return false;
    if (!report_mounts(options, spec, config.exports.front())) return false;
    if (!options.setup_root) leave_host_files(config.exports);
    if (options.apply_caps && !drop_capabilities()) return false;
    // After the change of credentials, which would reset it. (A parent that died before this line is noticed by the
    // lifeline.)
    prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0);
    return true;
}

}  // namespace

int gofer_main(int argc, char** argv) {
    Options options;
    int exit_code = 1;
    if (!parse_options(argc, argv, options, exit_code)) return exit_code;
    log = host::Log(options.log_fd >= 0 ? options.log_fd : STDERR_FILENO, options.debug, host::kGoferPrefixes);
    std::vector<int> keep = options.io_fds;
    keep.insert(keep.end(),
                {options.socket_fd, options.spec_fd, options.mounts_fd, options.log_fd, options.lifeline_fd});
    close_others(keep);

    GoferSpec spec;
    if (!load_spec(options, spec)) return 1;
    ServerConfig config;
    config.max_msize = abi::kSlotBufferSize;
    if (options.debug) config.trace = [](std::string_view line) { log.debug_text(line); };
    if (!confine(options, spec, config)) return 1;
    RingTransport ring{};
    if (options.socket_fd < 0) {
        if (!map_channel(options.io_fds[0], ring.region)) return 1;
        close(options.io_fds[0]);
        ring.doorbell = options.io_fds[1];
        ring.completion = options.io_fds[2];
        ring.lifeline = options.lifeline_fd;
        ring.may_poll = has_second_cpu();
    }
    auto server = std::make_unique<Server>(std::move(config));
    log.debug_text("serving " + spec.root_path);
    malloc_trim(0);  // what config.json and the options needed
    host::let_go_of_code();
    if (!install_seccomp(options.socket_fd >= 0)) return 1;
    ServeEnd end = options.socket_fd >= 0 ? serve_socket(*server, options.socket_fd, options.lifeline_fd)
                                          : serve_ring(*server, ring);
    int result = report_end(end);
    _exit(result);  // the sandbox is gone: nothing to put in order
}

}  // namespace kvmsbx::gofer
