#include "oci/install.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "common/host/fd.hpp"
#include "common/host/write_all.hpp"

namespace kvmsbx::oci {
namespace {

using Json = nlohmann::ordered_json;
namespace fs = std::filesystem;

Failure in_file(const std::string& file, const std::string& problem) { return Failure{file + ": " + problem}; }

Outcome<Json> parse_config(std::string_view text, const std::string& file) {
    if (text.find_first_not_of(" \t\r\n") == std::string_view::npos) return Json(Json::object());
    Json document;
    bool too_deep = false;  // copying and printing recurse
    const auto check_depth = [&](int depth, Json::parse_event_t, const Json&) {
        constexpr int kMaxDepth = 100;
        too_deep |= depth > kMaxDepth;
        return depth <= kMaxDepth;
    };
    try {
        document = Json::parse(text, check_depth);
    } catch (const Json::parse_error& error) {
        const std::string_view before = text.substr(0, error.byte > 0 ? error.byte - 1 : 0);
        const auto line = 1 + std::count(before.begin(), before.end(), '\n');
        return in_file(file, "line " + std::to_string(line) + ": not valid JSON; correct it first");
    } catch (const Json::exception& error) { return in_file(file, std::string("not valid JSON: ") + error.what()); }
    if (too_deep) return in_file(file, "nested too deeply");
    if (!document.is_object()) return in_file(file, "not a JSON object; correct it first");
    const auto runtimes = document.find("runtimes");
    if (runtimes != document.end() && !runtimes->is_object())
        return in_file(file, "\"runtimes\" is not an object; correct it first");
    return document;
}

// As the text is indented; dockerd's own examples have two spaces.
std::string dump_like(const Json& document, std::string_view text) {
    const size_t newline = text.find("\n");
    const size_t begin = newline == std::string_view::npos ? text.size() : newline + 1;
    const size_t end = std::min(text.find_first_not_of(" \t", begin), text.size());
    if (begin >= end) return document.dump(2) + "\n";
    return document.dump(static_cast<int>(end - begin), text[begin]) + "\n";
}

// dockerd 20.10 hands the arguments to a shell without quotes.
Outcome<> check_argument(const std::string& argument) {
    const bool plain = !argument.empty() && argument.find_first_of(" \t\n\"'\\$`;&|<>()*?[]{}~#!") == std::string::npos;
    if (argument.starts_with("-") && plain) return {};
    return Failure{"\"" + argument +
                   "\" cannot be an argument of the runtime: Docker needs flags without spaces and characters that a "
                   "shell knows, such as --platform=process (/etc/kvmsbx.toml takes any value)"};
}

Outcome<> check_name(const std::string& name) {
    constexpr std::string_view kAllowed = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.-";
    if (!name.empty() && name.find_first_not_of(kAllowed) == std::string::npos) return {};
    return Failure{"--name: \"" + name + "\" cannot be the name of a runtime; use letters, digits, '_', '.' and '-'"};
}

Outcome<> make_file(const std::string& path, std::string_view text, mode_t mode, const struct stat* like) {
    const host::Fd file(open(path.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600));
    if (!file.is_open()) return errno_failure(path, errno);
    if (host::write_all(file.get(), text).is_error()) return errno_failure("writing " + path, errno);
    if (like && fchown(file.get(), like->st_uid, like->st_gid) != 0) return errno_failure("chown of " + path, errno);
    if (fchmod(file.get(), mode) != 0 || fsync(file.get()) != 0) return errno_failure("writing " + path, errno);
    return {};
}

}  // namespace

Outcome<std::string> register_runtime(std::string_view text, const std::string& file,
                                      const Registration& registration) {
    TRY(check_name(registration.name));
    for (const std::string& argument : registration.runtime_args) TRY(check_argument(argument));
    Json document = TRY(parse_config(text, file));
    Json entry = {{"path", registration.path}};
    if (!registration.runtime_args.empty()) entry["runtimeArgs"] = registration.runtime_args;
    Json& runtimes = document["runtimes"];
    if (runtimes.contains(registration.name) && runtimes[registration.name] == entry) return std::string(text);
    runtimes[registration.name] = entry;
    return dump_like(document, text);
}

Outcome<std::string> unregister_runtime(std::string_view text, const std::string& file, const std::string& name) {
    Json document = TRY(parse_config(text, file));
    const auto runtimes = document.find("runtimes");
    if (runtimes == document.end() || !runtimes->contains(name)) return std::string(text);
    if (document.value("default-runtime", Json()) == name)
        return in_file(file, "\"default-runtime\" is " + name + "; set another one first");
    runtimes->erase(name);
    if (runtimes->empty()) document.erase("runtimes");
    return dump_like(document, text);
}

Outcome<std::string> read_config(const std::string& path) {
    const host::Fd file(open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
    if (!file.is_open()) return errno == ENOENT ? Outcome<std::string>(std::string()) : errno_failure(path, errno);
    std::string text;
    char buffer[4096];
    for (ssize_t n; (n = read(file.get(), buffer, sizeof buffer)) != 0;) {
        if (n < 0) return errno_failure(path, errno);
        text.append(buffer, static_cast<size_t>(n));
    }
    return text;
}

Outcome<> replace_config(const std::string& path, std::string_view text) {
    std::error_code error;
    const std::string real = fs::exists(path, error) ? fs::canonical(path, error).string() : path;
    if (error) return Failure{path + ": " + error.message()};
    const fs::path folder = fs::absolute(real, error).parent_path();
    fs::create_directories(folder, error);
    if (error) return Failure{folder.string() + ": " + error.message()};
    struct stat status {};
    const bool exists = stat(real.c_str(), &status) == 0;
    const std::string temporary = real + ".kvmsbx-" + std::to_string(getpid());
    Outcome<> made = make_file(temporary, text, exists ? status.st_mode & 07777 : 0644, exists ? &status : nullptr);
    if (made.is_ok() && rename(temporary.c_str(), real.c_str()) != 0) made = errno_failure("replacing " + real, errno);
    if (made.is_error()) unlink(temporary.c_str());
    return made;
}

std::string podman_snippet(const Registration& registration) {
    const std::string& name = registration.name;
    return "# Podman: /etc/containers/containers.conf.d/" + name + ".conf, then podman run --runtime " + name +
           " ...\n"
           "# Flags come from /etc/kvmsbx.toml, or from --runtime-flag.\n"
           "[engine]\n"
           "runtime_supports_json = [\"crun\", \"runc\", \"kata\", \"runsc\", \"krun\", \"" +
           name +
           "\"]\n\n"
           "[engine.runtimes]\n" +
           name + " = [\"" + registration.path + "\"]\n";
}

std::string containerd_snippet(const Registration& registration) {
    const auto table = [&](const std::string& plugin) {
        const std::string runtime = "[plugins." + plugin + ".containerd.runtimes." + registration.name;
        return runtime + "]\n  runtime_type = \"io.containerd.runc.v2\"\n" + runtime + ".options]\n  BinaryName = \"" +
               registration.path + "\"\n";
    };
    return "# containerd: /etc/containerd/config.toml, then restart containerd.\n"
           "# Flags come from /etc/kvmsbx.toml.\n"
           "# containerd 1 (version = 2):\n" +
           table("\"io.containerd.grpc.v1.cri\"") + "\n# containerd 2 (version = 3):\n" +
           table("'io.containerd.cri.v1.runtime'") + "\n# Without Kubernetes: ctr run --runc-binary " +
           registration.path + " ...\n";
}

Outcome<std::string> own_path() {
    std::error_code error;
    const fs::path path = fs::read_symlink("/proc/self/exe", error);
    if (error) return Failure{"/proc/self/exe: " + error.message()};
    return path.string();
}

}  // namespace kvmsbx::oci
