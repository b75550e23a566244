#include "oci/app_spec.hpp"

#include <sys/mount.h>

#include <span>
#include <string>

#include "common/abi/app_spec.hpp"

namespace kvmsbx::oci {
namespace {

using abi::AppSpecTag;

class Encoder {
  public:
    void record(AppSpecTag tag, std::span<const std::byte> payload) {
        const abi::AppSpecHeader header{tag, static_cast<uint32_t>(payload.size())};
        append(std::as_bytes(std::span(&header, 1)));
        append(payload);
        blob_.resize((blob_.size() + 7) / 8 * 8);
    }
    void record(AppSpecTag tag, const std::string& text) { record(tag, std::as_bytes(std::span(text))); }
    template <typename T>
    requires(std::is_trivially_copyable_v<T> && !std::is_same_v<T, std::string>) void record(AppSpecTag tag,
                                                                                             const T& value) {
        record(tag, std::as_bytes(std::span(&value, 1)));
    }

    std::vector<std::byte> finish() {
        record(AppSpecTag::kEnd, std::span<const std::byte>{});
        return std::move(blob_);
    }

  private:
    void append(std::span<const std::byte> bytes) { blob_.insert(blob_.end(), bytes.begin(), bytes.end()); }

    std::vector<std::byte> blob_;
};

std::vector<std::byte> bytes_of(std::span<const std::byte> bytes) { return {bytes.begin(), bytes.end()}; }

void add_string(std::vector<std::byte>& payload, const std::string& text) {
    const auto bytes = std::as_bytes(std::span(text.c_str(), text.size() + 1));
    payload.insert(payload.end(), bytes.begin(), bytes.end());
}

void encode_mount(Encoder& encoder, uint64_t flags, const std::string& type, const std::string& source,
                  const MountSpec& mount) {
    const abi::AppMountHeader header{flags};
    std::vector<std::byte> payload = bytes_of(std::as_bytes(std::span(&header, 1)));
    for (const std::string& text : {type, source, mount.destination, mount.data}) add_string(payload, text);
    encoder.record(AppSpecTag::kMount, payload);
}

void encode_mounts(Encoder& encoder, const Spec& spec) {
    MountSpec root;
    root.destination = "/";
    encode_mount(encoder, spec.root_readonly ? MS_RDONLY : 0, "9p", "", root);
    for (size_t i = 0; i < spec.mounts.size(); ++i) {
        const MountSpec& mount = spec.mounts[i];
        if (mount.is_bind()) {
            encode_mount(encoder, mount.flags, "9p", std::to_string(i), mount);
        } else {
            encode_mount(encoder, mount.flags, mount.type, mount.source, mount);
        }
    }
}

void encode_credentials(Encoder& encoder, const ProcessSpec& process) {
    const CapabilitySets& sets = process.capabilities;
    const abi::AppCredentials credentials{process.user.uid,          process.user.gid, process.user.umask,
                                          process.no_new_privileges, sets.bounding,    sets.effective,
                                          sets.inheritable,          sets.permitted,   sets.ambient};
    std::vector<std::byte> payload = bytes_of(std::as_bytes(std::span(&credentials, 1)));
    const auto groups = std::as_bytes(std::span(process.user.additional_gids));
    payload.insert(payload.end(), groups.begin(), groups.end());
    encoder.record(AppSpecTag::kCredentials, payload);
}

}  // namespace

std::vector<std::byte> encode_app_spec(const Spec& spec, const AppOptions& options) {
    Encoder encoder;
    abi::AppOptions app{};
    app.terminal = options.terminal;
    app.rows = options.console_size.rows;
    app.columns = options.console_size.columns;
    app.file_access_shared = options.file_access == FileAccess::kShared;
    app.overlay = options.overlay;
    app.cpu_limit = options.cpu_limit;
    app.memory_limit = spec.limits.memory;
    encoder.record(AppSpecTag::kOptions, app);
    for (const std::string& word : spec.process.args) encoder.record(AppSpecTag::kArg, word);
    for (const std::string& word : spec.process.env) encoder.record(AppSpecTag::kEnv, word);
    encoder.record(AppSpecTag::kCwd, spec.process.cwd);
    if (!spec.hostname.empty()) encoder.record(AppSpecTag::kHostname, spec.hostname);
    if (!spec.domainname.empty()) encoder.record(AppSpecTag::kDomainname, spec.domainname);
    encode_credentials(encoder, spec.process);
    for (const RlimitSpec& limit : spec.process.rlimits) {
        encoder.record(AppSpecTag::kRlimit, abi::AppRlimit{limit.resource, 0, limit.soft, limit.hard});
    }
    encode_mounts(encoder, spec);
    for (const std::string& path : spec.masked_paths) encoder.record(AppSpecTag::kMaskedPath, path);
    for (const std::string& path : spec.readonly_paths) encoder.record(AppSpecTag::kReadonlyPath, path);
    for (const auto& [name, value] : spec.sysctl) encoder.record(AppSpecTag::kSysctl, name + "=" + value);
    return encoder.finish();
}

}  // namespace kvmsbx::oci
