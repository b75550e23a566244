#include "oci/config_file.hpp"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <iterator>

#define TOML_HEADER_ONLY 1
#include <toml++/toml.h>

#include "common/host/fd.hpp"

namespace kvmsbx::oci {
namespace {

enum class Kind : uint8_t { kSwitch, kNumber, kText, kSize };  // kSize: a number, or a text such as "512M"

struct KnownFlag {
    std::string_view name;
    Kind kind;
    bool by_annotation;
};
constexpr KnownFlag kFlags[] = {
    {"cpus", Kind::kNumber, true},
    {"debug", Kind::kSwitch, true},
    {"debug-log", Kind::kText, false},
    {"file-access", Kind::kText, true},
    {"log", Kind::kText, false},
    {"log-format", Kind::kText, false},
    {"memory", Kind::kSize, true},
    {"network", Kind::kText, false},
    {"no-namespaces", Kind::kSwitch, false},
    {"overlay", Kind::kSwitch, true},
    {"platform", Kind::kText, true},
    {"privilege", Kind::kText, false},
    {"root", Kind::kText, false},
    {"strace", Kind::kSwitch, true},
    {"strict", Kind::kSwitch, true},
    {"systemd-cgroup", Kind::kSwitch, false},
};
constexpr std::string_view kAllowAnnotations = "allow-flag-annotations";

const KnownFlag* find_flag(std::string_view name) {
    const auto* found =
        std::find_if(std::begin(kFlags), std::end(kFlags), [&](const KnownFlag& f) { return f.name == name; });
    return found == std::end(kFlags) ? nullptr : found;
}

std::string at_line(const std::string& file, const toml::source_region& source) {
    return file + ": line " + std::to_string(source.begin.line);
}

Outcome<std::string> value_of(const toml::node& node, Kind kind, const std::string& where) {
    const auto wrong = [&](const char* expected) { return Failure{where + ": expected " + expected}; };
    switch (kind) {
        case Kind::kSwitch:
            if (!node.is_boolean()) return wrong("true or false");
            return std::string(node.ref<bool>() ? "true" : "false");
        case Kind::kNumber:
            if (!node.is_integer()) return wrong("a number");
            return std::to_string(node.ref<int64_t>());
        case Kind::kSize:
            if (node.is_integer()) return std::to_string(node.ref<int64_t>());
            if (!node.is_string()) return wrong("a size such as \"512M\"");
            return node.ref<std::string>();
        case Kind::kText: break;
    }
    if (!node.is_string()) return wrong("a text in quotes");
    return node.ref<std::string>();
}

// Flags have no sections. (toml++ 3.3 aborts on some broken headers, so they do not get there.)
Outcome<> refuse_sections(std::string_view text, const std::string& file) {
    for (size_t line = 1; !text.empty(); ++line) {
        const size_t end = std::min(text.find('\n'), text.size() - 1);
        const size_t begin = text.find_first_not_of(" \t\r");
        if (begin <= end && text[begin] == '[')
            return Failure{file + ": line " + std::to_string(line) + ": a section; flags stand by themselves"};
        text.remove_prefix(end + 1);
    }
    return {};
}

Outcome<std::string> read_text(const std::string& path, Missing missing) {
    constexpr size_t kMaxBytes = 1 << 20;
    const host::Fd file(open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
    if (!file.is_open()) {
        if (errno == ENOENT && missing == Missing::kIsEmpty) return std::string();
        return errno_failure(path, errno);
    }
    std::string text;
    char buffer[4096];
    for (ssize_t n; (n = read(file.get(), buffer, sizeof buffer)) != 0;) {
        if (n < 0) return errno_failure(path, errno);
        text.append(buffer, static_cast<size_t>(n));
        if (text.size() > kMaxBytes) return Failure{path + ": larger than " + std::to_string(kMaxBytes) + " bytes"};
    }
    return text;
}

}  // namespace

Outcome<FlagConfig> parse_flag_config(std::string_view text, const std::string& file) {
    TRY(refuse_sections(text, file));
    toml::table document;
    try {
        document = toml::parse(text, file);
    } catch (const toml::parse_error& error) {
        return Failure{at_line(file, error.source()) + ": not valid TOML: " + std::string(error.description())};
    }
    FlagConfig config;
    for (const auto& [key, node] : document) {
        const std::string name(key.str()), where = at_line(file, key.source());
        if (name == kAllowAnnotations) {
            config.allow_annotations = TRY(value_of(node, Kind::kSwitch, where + ": " + name)) == "true";
            continue;
        }
        const KnownFlag* flag = find_flag(name);
        if (!flag)
            return Failure{where + ": \"" + name.substr(0, 80) +
                           "\" is no flag of kvmsbx that a file can set (kvmsbx --help lists them)"};
        config.flags.push_back({name, TRY(value_of(node, flag->kind, where + ": " + name)), where});
    }
    return config;
}

Outcome<FlagConfig> load_flag_config(const std::string& path, Missing missing) {
    return parse_flag_config(TRY(read_text(path, missing)), path);
}

Outcome<std::vector<ConfiguredFlag>> flags_of_annotations(const std::map<std::string, std::string>& annotations) {
    std::vector<ConfiguredFlag> flags;
    for (const auto& [key, value] : annotations) {
        if (!key.starts_with(kFlagAnnotationPrefix)) continue;
        const std::string name = key.substr(std::string_view(kFlagAnnotationPrefix).size());
        const std::string where = "annotation " + key.substr(0, 120);
        const KnownFlag* flag = find_flag(name);
        if (!flag || !flag->by_annotation)
            return Failure{where + ": this flag cannot be set by an annotation; remove it"};
        flags.push_back({name, value, where});
    }
    return flags;
}

}  // namespace kvmsbx::oci
