#include "oci/mount_options.hpp"

#include <sys/mount.h>

#include <algorithm>
#include <iterator>

namespace kvmsbx::oci {
namespace {

constexpr uint64_t kAtimeFlags = MS_NOATIME | MS_RELATIME | MS_STRICTATIME;
constexpr uint64_t kNoSymfollow = 256;  // MS_NOSYMFOLLOW, Linux 5.10

// What counts for the mounts below a bind mount, too, counts for the whole of it in any case: inside it is one mount.
constexpr MountOption kOptions[] = {
    {"ro", MS_RDONLY, 0},
    {"rw", 0, MS_RDONLY},
    {"rro", MS_RDONLY, 0, MountEffect::kReadonlyBelow},
    {"rrw", 0, MS_RDONLY, MountEffect::kWritableBelow},
    {"nosuid", MS_NOSUID, 0},
    {"suid", 0, MS_NOSUID},
    {"rnosuid", MS_NOSUID, 0},
    {"rsuid", 0, MS_NOSUID},
    {"nodev", MS_NODEV, 0},
    {"dev", 0, MS_NODEV},
    {"rnodev", MS_NODEV, 0},
    {"rdev", 0, MS_NODEV},
    {"noexec", MS_NOEXEC, 0},
    {"exec", 0, MS_NOEXEC},
    {"rnoexec", MS_NOEXEC, 0},
    {"rexec", 0, MS_NOEXEC},
    {"nosymfollow", kNoSymfollow, 0},
    {"symfollow", 0, kNoSymfollow},
    {"rnosymfollow", kNoSymfollow, 0},
    {"rsymfollow", 0, kNoSymfollow},
    {"sync", MS_SYNCHRONOUS, 0},
    {"async", 0, MS_SYNCHRONOUS},
    {"dirsync", MS_DIRSYNC, 0},
    {"noatime", MS_NOATIME, kAtimeFlags},
    {"atime", 0, MS_NOATIME},
    {"relatime", MS_RELATIME, kAtimeFlags},
    {"norelatime", 0, MS_RELATIME},
    {"strictatime", MS_STRICTATIME, kAtimeFlags},
    {"nostrictatime", 0, MS_STRICTATIME},
    {"nodiratime", MS_NODIRATIME, 0},
    {"diratime", 0, MS_NODIRATIME},
    {"rnoatime", MS_NOATIME, kAtimeFlags},
    {"ratime", 0, MS_NOATIME},
    {"rrelatime", MS_RELATIME, kAtimeFlags},
    {"rnorelatime", 0, MS_RELATIME},
    {"rstrictatime", MS_STRICTATIME, kAtimeFlags},
    {"rnostrictatime", 0, MS_STRICTATIME},
    {"rnodiratime", MS_NODIRATIME, 0},
    {"rdiratime", 0, MS_NODIRATIME},
    {"bind", 0, 0, MountEffect::kBind},
    {"rbind", 0, 0, MountEffect::kRecursiveBind},
    {"idmap", 0, 0, MountEffect::kIdmap},
    {"ridmap", 0, 0, MountEffect::kIdmap},
    {"tmpcopyup", 0, 0, MountEffect::kCopyUp},
    {"notmpcopyup", 0, 0, MountEffect::kNoCopyUp},
    // Without a meaning inside: the sandbox's mounts are its own, and nothing propagates.
    {"private"},
    {"rprivate"},
    {"shared"},
    {"rshared"},
    {"slave"},
    {"rslave"},
    {"unbindable"},
    {"runbindable"},
    // Hints to file systems, which the sandbox's do not need.
    {"defaults"},
    {"iversion"},
    {"noiversion"},
    {"lazytime"},
    {"nolazytime"},
    {"loud"},
    {"silent"},
    {"mand"},
    {"nomand"},
};

bool is_number(std::string_view text, std::string_view digits) {
    return !text.empty() && text.size() <= 20 && text.find_first_not_of(digits) == std::string_view::npos;
}

enum class Value : uint8_t { kNone, kNumber, kOctal, kSize, kWord };

bool fits(Value kind, std::string_view value) {
    switch (kind) {
        case Value::kNone: return value.empty();
        case Value::kNumber: return is_number(value, "0123456789");
        case Value::kOctal: return is_number(value, "01234567");
        case Value::kWord: return !value.empty();
        case Value::kSize: break;
    }
    if (!value.empty() && std::string_view("kKmMgGtT%").find(value.back()) != std::string_view::npos)
        value.remove_suffix(1);
    return is_number(value, "0123456789");
}

struct DataOption {
    std::string_view name;
    Value value;
    std::string_view words = {};  // of kWord: the only ones, "|never|always|"; "" for any
};
constexpr DataOption kTmpfs[] = {
    {"size", Value::kSize},    {"nr_blocks", Value::kSize}, {"nr_inodes", Value::kSize},
    {"mode", Value::kOctal},   {"uid", Value::kNumber},     {"gid", Value::kNumber},
    {"inode32", Value::kNone}, {"inode64", Value::kNone},   {"huge", Value::kWord, "|never|always|within_size|advise|"},
    {"mpol", Value::kWord},    {"noswap", Value::kNone},
};
constexpr DataOption kProc[] = {
    {"hidepid", Value::kWord, "|0|1|2|4|off|noaccess|invisible|ptraceable|"},
    {"subset", Value::kWord, "|pid|"},
    {"gid", Value::kNumber},
};
constexpr DataOption kDevpts[] = {
    {"newinstance", Value::kNone}, {"mode", Value::kOctal}, {"ptmxmode", Value::kOctal},
    {"uid", Value::kNumber},       {"gid", Value::kNumber}, {"max", Value::kNumber},
};
constexpr DataOption kCgroup[] = {
    {"nsdelegate", Value::kNone},
    {"memory_localevents", Value::kNone},
    {"memory_recursiveprot", Value::kNone},
    {"favordynmods", Value::kNone},
    {"nofavordynmods", Value::kNone},
    {"xattr", Value::kNone},
    {"none", Value::kNone},
    {"name", Value::kWord},
};

std::span<const DataOption> data_options(std::string_view type) {
    if (type == "tmpfs" || type == "devtmpfs" || type == "dev") return kTmpfs;
    if (type == "proc") return kProc;
    if (type == "devpts") return kDevpts;
    if (type == "cgroup" || type == "cgroup2") return kCgroup;
    return {};
}

}  // namespace

std::span<const MountOption> mount_options() { return kOptions; }

const MountOption* find_mount_option(std::string_view name) {
    const auto* found =
        std::find_if(std::begin(kOptions), std::end(kOptions), [&](const MountOption& o) { return o.name == name; });
    return found == std::end(kOptions) ? nullptr : found;
}

Outcome<> check_mount_data(std::string_view type, const std::string& option) {
    const std::string_view text(option);
    const size_t equals = std::min(text.find('='), text.size());
    const std::string_view name = text.substr(0, equals), value = text.substr(std::min(equals + 1, text.size()));
    const std::string shown = "\"" + option.substr(0, 80) + "\"";
    const std::span<const DataOption> options = data_options(type);
    const auto found =
        std::find_if(options.begin(), options.end(), [&](const DataOption& o) { return o.name == name; });
    if (found == options.end())
        return Failure{shown + " is not an option of " + std::string(type) + (type == "bind" ? " mounts" : "") +
                       "; remove it"};
    const std::string word = "|" + std::string(value) + "|";
    const bool known = found->words.empty() || found->words.find(word) != std::string_view::npos;
    if (known && fits(found->value, value)) return {};
    return Failure{shown + " has no value that " + std::string(type) + " takes; correct or remove it"};
}

}  // namespace kvmsbx::oci
