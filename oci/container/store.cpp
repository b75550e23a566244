#include "oci/container/store.hpp"

#include <dirent.h>
#include <fcntl.h>
#include <sys/file.h>
#include <sys/random.h>
#include <sys/stat.h>

#include <algorithm>
#include <cctype>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>

#include "common/host/write_all.hpp"

namespace kvmsbx::oci {
namespace {

constexpr const char* kStateFile = "state.json";
constexpr const char* kConfigFile = "config.json";
constexpr size_t kMostBytes = 16 << 20;  // of a file that is read

bool is_id_character(char c) { return std::isalnum(static_cast<unsigned char>(c)) || std::strchr("_+.-", c); }

bool is_same_directory(int fd, int root_fd, const char* id) {
    struct stat held {
    }, named{};
    if (fstat(fd, &held) < 0 || fstatat(root_fd, id, &named, AT_SYMLINK_NOFOLLOW) < 0) return false;
    return held.st_ino == named.st_ino && held.st_dev == named.st_dev;
}

host::Fd open_folder(int at, const char* name) {
    return host::Fd(openat(at, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
}

// The folder with the lock held; none with errno EWOULDBLOCK when another process has it, ENOENT when it was removed
// meanwhile.
host::Fd lock_folder(int root_fd, const char* id) {
    host::Fd fd = open_folder(root_fd, id);
    if (!fd.is_open() || flock(fd.get(), LOCK_EX | LOCK_NB) < 0) return {};
    if (is_same_directory(fd.get(), root_fd, id)) return fd;
    errno = ENOENT;
    return {};
}

Failure exists_already(const std::string& id, bool held) {
    if (held) return {"a container with the ID \"" + id + "\" exists already and is running; choose another ID"};
    return {"a container with the ID \"" + id + "\" exists already; `kvmsbx delete " + id + "` removes it"};
}

using Directory = std::unique_ptr<DIR, int (*)(DIR*)>;

Directory read_directory(int fd) {
    // A descriptor of its own: reading moves its position, and closedir() closes it.
    host::Fd own(openat(fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    DIR* directory = own.is_open() ? fdopendir(own.get()) : nullptr;
    if (directory) static_cast<void>(own.release());
    return {directory, closedir};
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

Outcome<ContainerFolder> ContainerFolder::create(const std::string& root, const std::string& id) {
    ContainerFolder folder;
    folder.id_ = id;
    folder.root_fd_ = TRY(open_state_root(root));
    for (int attempt = 0; attempt < 10; ++attempt) {
        if (mkdirat(folder.root_fd_.get(), id.c_str(), 0700) < 0 && errno != EEXIST)
            return errno_failure("cannot make " + root + "/" + id, errno);
        folder.fd_ = lock_folder(folder.root_fd_.get(), id.c_str());
        if (folder.fd_.is_open()) {
            if (folder.read_record().is_ok()) return exists_already(id, false);
            return folder;  // new, or half-made by somebody who was killed
        }
        if (errno != ENOENT) break;  // removed by its last owner just now: once more
    }
    if (errno == EWOULDBLOCK) return exists_already(id, true);
    return errno_failure("cannot lock " + root + "/" + id, errno);
}

Outcome<ContainerFolder> ContainerFolder::open(const std::string& root, const std::string& id) {
    TRY(validate_container_id(id));
    ContainerFolder folder;
    folder.id_ = id;
    folder.root_fd_ = host::Fd(::open(root.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    if (folder.root_fd_.is_open()) folder.fd_ = open_folder(folder.root_fd_.get(), id.c_str());
    if (folder.fd_.is_open()) return folder;
    if (errno == ENOENT) return Failure{"container \"" + id + "\" does not exist (in " + root + ")"};
    return errno_failure("cannot open " + root + "/" + id, errno);
}

bool ContainerFolder::is_held() const {
    const host::Fd own = open_folder(fd_.get(), ".");
    return own.is_open() && flock(own.get(), LOCK_SH | LOCK_NB) < 0 && errno == EWOULDBLOCK;
}

Outcome<> ContainerFolder::replace(const char* name, std::string_view text) const {
    const std::string temporary = std::string(name) + ".tmp";
    const host::Fd file(
        openat(fd_.get(), temporary.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, 0600));
    if (file.is_open() && host::write_all(file.get(), text).is_ok() &&
        renameat(fd_.get(), temporary.c_str(), fd_.get(), name) == 0)
        return {};
    const int error = errno;
    unlinkat(fd_.get(), temporary.c_str(), 0);
    return errno_failure(std::string("cannot write ") + name + " of container " + id_, error);
}

Outcome<std::string> ContainerFolder::read(const char* name) const {
    const host::Fd file(openat(fd_.get(), name, O_RDONLY | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK));
    std::string text;
    char buffer[16 * 1024];
    ssize_t got = file.is_open() ? 0 : -1;
    while (got >= 0 && (got = ::read(file.get(), buffer, sizeof buffer)) > 0 && text.size() < kMostBytes)
        text.append(buffer, static_cast<size_t>(got));
    if (got < 0) return errno_failure(std::string("cannot read ") + name + " of container " + id_, errno);
    return text;
}

Outcome<> ContainerFolder::write_record(const ContainerRecord& record) const {
    return replace(kStateFile, record_to_json(record));
}

Outcome<> ContainerFolder::write_config(std::string_view text) const { return replace(kConfigFile, text); }

Outcome<ContainerRecord> ContainerFolder::read_record() const {
    Outcome<ContainerRecord> record = record_from_json(TRY(read(kStateFile)));
    if (record.is_error())
        return Failure{std::string(kStateFile) + " of container " + id_ + " is damaged: " + record.error().message +
                       "; `kvmsbx delete --force " + id_ + "` removes the container"};
    return record;
}

Outcome<std::string> ContainerFolder::read_config() const { return read(kConfigFile); }

std::string ContainerFolder::socket_path() const {
    return "/proc/self/fd/" + std::to_string(fd_.get()) + "/control.sock";
}

Outcome<> ContainerFolder::remove() {
    if (Directory directory = read_directory(fd_.get()); directory) {
        while (const dirent* entry = readdir(directory.get())) {
            if (entry->d_name[0] != '.') unlinkat(fd_.get(), entry->d_name, 0);
        }
    }
    if (unlinkat(root_fd_.get(), id_.c_str(), AT_REMOVEDIR) < 0 && errno != ENOENT)
        return errno_failure("cannot remove the state of container " + id_, errno);
    fd_.reset();
    return {};
}

std::vector<std::string> list_container_ids(const std::string& root) {
    std::vector<std::string> ids;
    const Directory directory(opendir(root.c_str()), closedir);
    if (!directory) return ids;
    while (const dirent* entry = readdir(directory.get())) {
        if (validate_container_id(entry->d_name).is_ok()) ids.emplace_back(entry->d_name);
    }
    std::sort(ids.begin(), ids.end());
    return ids;
}

}  // namespace kvmsbx::oci
