#include "oci/state.hpp"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/random.h>
#include <sys/stat.h>

#include <cctype>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <nlohmann/json.hpp>

namespace kvmsbx::oci {
namespace {

constexpr const char* kStateFile = "state.json";
constexpr const char* kTemporaryFile = "state.json.tmp";

bool is_id_character(char c) { return std::isalnum(static_cast<unsigned char>(c)) || std::strchr("_+.-", c); }

bool is_same_directory(int fd, int root_fd, const char* id) {
    struct stat held {
    }, named{};
    if (fstat(fd, &held) < 0 || fstatat(root_fd, id, &named, AT_SYMLINK_NOFOLLOW) < 0) return false;
    return held.st_ino == named.st_ino && held.st_dev == named.st_dev;
}

// The descriptor with the lock held; -1 with errno EWOULDBLOCK when another process has it.
int lock_directory(int root_fd, const char* id) {
    const int fd = openat(root_fd, id, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0) return -1;
    if (flock(fd, LOCK_EX | LOCK_NB) < 0) {
        const int error = errno;
        close(fd);
        errno = error;
        return -1;
    }
    if (is_same_directory(fd, root_fd, id)) return fd;
    close(fd);  // removed between open and lock
    errno = ENOENT;
    return -1;
}

void remove_contents(int root_fd, int directory_fd, const char* id) {
    unlinkat(directory_fd, kStateFile, 0);
    unlinkat(directory_fd, kTemporaryFile, 0);
    unlinkat(root_fd, id, AT_REMOVEDIR);
}

std::string state_json(const std::string& id, int pid, const std::string& bundle, const Spec& spec) {
    nlohmann::ordered_json document{{"ociVersion", "1.1.0"}, {"id", id},
                                    {"status", "running"},   {"pid", pid},
                                    {"bundle", bundle},      {"annotations", nlohmann::json::object()}};
    for (const auto& [name, value] : spec.annotations) document["annotations"][name] = value;
    return document.dump(-1, ' ', false, nlohmann::ordered_json::error_handler_t::replace) + "\n";
}

}  // namespace

Outcome<> validate_container_id(const std::string& id) {
    bool good = !id.empty() && id.size() <= 255 && id != "." && id != "..";
    for (char c : id) good = good && is_id_character(c);
    if (good) return {};
    return Failure{"container ID \"" + id.substr(0, 80) + "\": not allowed; use 1 to 255 letters, digits and _ + . -"};
}

std::string make_container_id(const std::string& bundle) {
    std::string id;
    for (char c : bundle.substr(bundle.find_last_of('/') + 1).substr(0, 64)) {
        if (is_id_character(c)) id += c;
    }
    if (id.empty() || id[0] == '.') id = "kvmsbx" + id;
    uint32_t number = 0;
    if (getrandom(&number, sizeof number, 0) != sizeof number) number = static_cast<uint32_t>(getpid());
    char suffix[16];
    std::snprintf(suffix, sizeof suffix, "-%08x", number);
    return id + suffix;
}

std::string default_state_root() {
    if (geteuid() == 0) return "/run/kvmsbx";
    const char* runtime_directory = std::getenv("XDG_RUNTIME_DIR");
    if (runtime_directory && *runtime_directory == '/') return std::string(runtime_directory) + "/kvmsbx";
    return "/tmp/kvmsbx-" + std::to_string(geteuid());
}

Outcome<host::Fd> open_state_root(const std::string& root) {
    for (size_t slash = root.find('/', 1);; slash = root.find('/', slash + 1)) {
        if (mkdir(root.substr(0, slash).c_str(), 0700) < 0 && errno != EEXIST) {
            return errno_failure("cannot make the state directory " + root + " (choose another with --root)", errno);
        }
        if (slash == std::string::npos) break;
    }
    host::Fd fd(open(root.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    if (!fd.is_open())
        return errno_failure("cannot open the state directory " + root + " (choose another with --root)", errno);
    struct stat status {};
    if (fstat(fd.get(), &status) == 0 && status.st_uid != geteuid()) {
        return Failure{"the state directory " + root + " belongs to another user; choose another with --root"};
    }
    return fd;
}

Outcome<StateDirectory> StateDirectory::create(const std::string& root, const std::string& id) {
    StateDirectory state;
    state.id_ = id;
    state.root_fd_ = TRY(open_state_root(root));
    for (int attempt = 0; attempt < 10; ++attempt) {
        if (mkdirat(state.root_fd_.get(), id.c_str(), 0700) < 0 && errno != EEXIST) {
            return errno_failure("cannot make " + root + "/" + id, errno);
        }
        state.lock_fd_ = host::Fd(lock_directory(state.root_fd_.get(), id.c_str()));
        if (state.lock_fd_.is_open()) return state;
        if (errno != ENOENT) break;  // removed by its last owner just now: once more
    }
    if (errno == EWOULDBLOCK) return Failure{"a container with the ID \"" + id + "\" is running; choose another ID"};
    return errno_failure("cannot lock " + root + "/" + id, errno);
}

Outcome<> StateDirectory::write_running(int pid, const std::string& bundle, const Spec& spec) {
    const std::string text = state_json(id_, pid, bundle, spec);
    host::Fd file(openat(lock_fd_.get(), kTemporaryFile, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, 0600));
    const bool written =
        file.is_open() && write(file.get(), text.data(), text.size()) == static_cast<ssize_t>(text.size());
    if (!written || renameat(lock_fd_.get(), kTemporaryFile, lock_fd_.get(), kStateFile) < 0) {
        return errno_failure("cannot write the state of container " + id_, errno);
    }
    return {};
}

void StateDirectory::remove() {
    if (lock_fd_.is_open()) remove_contents(root_fd_.get(), lock_fd_.get(), id_.c_str());
    lock_fd_.reset();
}

bool StateDirectory::remove_if_stale(int root_fd, const char* id) {
    const int fd = lock_directory(root_fd, id);
    if (fd < 0) return errno == ENOENT;
    remove_contents(root_fd, fd, id);
    close(fd);
    return true;
}

}  // namespace kvmsbx::oci
