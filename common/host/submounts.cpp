#include "common/host/submounts.hpp"

#include <stdlib.h>

#include <fstream>
#include <memory>

namespace kvmsbx::host {
namespace {

// proc(5): spaces and such are written as \040.
std::string unescape(const std::string& text) {
    std::string plain;
    for (size_t i = 0; i < text.size(); ++i) {
        if (text[i] != '\\' || i + 3 >= text.size()) {
            plain += text[i];
            continue;
        }
        plain += static_cast<char>(strtol(text.substr(i + 1, 3).c_str(), nullptr, 8));
        i += 3;
    }
    return plain;
}

}  // namespace

bool has_submounts(const std::string& folder) {
    const std::unique_ptr<char, decltype(&free)> resolved(realpath(folder.c_str(), nullptr), free);
    std::ifstream mounts("/proc/self/mountinfo");
    if (!resolved || !mounts) return true;
    const std::string prefix = std::string(resolved.get()) == "/" ? "/" : std::string(resolved.get()) + "/";
    // "31 23 0:28 / POINT rw ... - type source options"
    std::string id, parent, device, root, point, rest;
    while (mounts >> id >> parent >> device >> root >> point && std::getline(mounts, rest)) {
        const std::string place = unescape(point);
        if (place.size() > prefix.size() && place.starts_with(prefix)) return true;
    }
    return false;
}

}  // namespace kvmsbx::host
