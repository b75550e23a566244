#include "gofer/destinations.hpp"

#include <fcntl.h>
#include <linux/openat2.h>
#include <sys/syscall.h>

#include <deque>
#include <vector>

#include "common/host/fd.hpp"

namespace kvmsbx::gofer {
namespace {

constexpr int kMaxLinks = 40;  // as path_resolution(7)

void push_front(std::deque<std::string>& todo, const std::string& path) {
    std::vector<std::string> parts;
    for (size_t at = 0; at < path.size();) {
        size_t end = std::min(path.find('/', at), path.size());
        if (end > at) parts.push_back(path.substr(at, end - at));
        at = end + 1;
    }
    todo.insert(todo.begin(), parts.begin(), parts.end());
}

std::string join(const std::vector<std::string>& parts) {
    std::string path;
    for (const std::string& part : parts) path += "/" + part;
    return path.empty() ? "/" : path;
}

// The target if the path, whose directories are free of symlinks, is a symlink in the tree; else "".
std::string link_target(int root, const std::string& path) {
    open_how how{
        .flags = O_PATH | O_NOFOLLOW | O_CLOEXEC, .mode = 0, .resolve = RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS};
    host::Fd fd(static_cast<int>(syscall(SYS_openat2, root, path.c_str(), &how, sizeof how)));
    if (!fd.is_open()) return {};
    char target[4096];
    ssize_t length = readlinkat(fd.get(), "", target, sizeof target);
    return length <= 0 ? std::string() : std::string(target, static_cast<size_t>(length));
}

}  // namespace

std::string resolve_destination(int root, const std::string& destination) {
    std::deque<std::string> todo;
    push_front(todo, destination);
    std::vector<std::string> done;
    int links = 0;
    while (!todo.empty()) {
        std::string part = todo.front();
        todo.pop_front();
        if (part == ".") continue;
        if (part == "..") {
            if (!done.empty()) done.pop_back();
            continue;
        }
        done.push_back(part);
        std::string target = link_target(root, join(done));
        if (target.empty()) continue;
        if (++links > kMaxLinks) return {};
        done.pop_back();
        if (target.starts_with('/')) done.clear();
        push_front(todo, target);
    }
    return join(done);
}

}  // namespace kvmsbx::gofer
