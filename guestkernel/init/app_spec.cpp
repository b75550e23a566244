#include "guestkernel/init/app_spec.hpp"

#include <cstring>

namespace kvmsbx::init {
namespace {

using Bytes = std::span<const std::byte>;

std::string_view text_of(Bytes bytes) {
    return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}  // SAFETY: bytes as text

template <typename T>
Result<T> read(Bytes bytes) {
    T value;
    if (bytes.size() < sizeof value) return Errno::kINVAL;
    memcpy(&value, bytes.data(), sizeof value);
    return value;
}

Result<std::string_view> take_string(std::string_view& rest) {
    const size_t end = rest.find('\0');
    if (end == std::string_view::npos) return Errno::kINVAL;
    const std::string_view text = rest.substr(0, end);
    rest.remove_prefix(end + 1);
    return text;
}

Result<vfs::SpecMount> parse_mount(Bytes bytes) {
    const auto header = TRY(read<abi::AppMountHeader>(bytes));
    std::string_view rest = text_of(bytes.subspan(sizeof header));
    vfs::SpecMount mount;
    mount.flags = header.flags;
    mount.type = TRY(take_string(rest));
    mount.source = TRY(take_string(rest));
    mount.destination = TRY(take_string(rest));
    mount.data = TRY(take_string(rest));
    return mount;
}

Result<> parse_credentials(AppSpec& spec, Bytes bytes) {
    spec.credentials = TRY(read<abi::AppCredentials>(bytes));
    for (bytes = bytes.subspan(sizeof(abi::AppCredentials)); bytes.size() >= sizeof(uint32_t);
         bytes = bytes.subspan(sizeof(uint32_t)))
        TRY(spec.groups.push_back(TRY(read<uint32_t>(bytes))));
    return {};
}

Result<Sysctl> parse_sysctl(std::string_view text) {
    const size_t equals = text.find('=');
    if (equals == text.npos) return Errno::kINVAL;
    return Sysctl{text.substr(0, equals), text.substr(equals + 1)};
}

Result<> parse_record(AppSpec& spec, abi::AppSpecTag tag, Bytes bytes) {
    using enum abi::AppSpecTag;
    switch (tag) {
        case kArg: return spec.arguments.push_back(text_of(bytes));
        case kEnv: return spec.environment.push_back(text_of(bytes));
        case kCwd: spec.cwd = text_of(bytes); return {};
        case kHostname: spec.hostname = text_of(bytes); return {};
        case kDomainname: spec.domainname = text_of(bytes); return {};
        case kCredentials: return parse_credentials(spec, bytes);
        case kRlimit: return spec.limits.push_back(TRY(read<abi::AppRlimit>(bytes)));
        case kMount: return spec.mounts.push_back(TRY(parse_mount(bytes)));
        case kOptions: spec.options = TRY(read<abi::AppOptions>(bytes)); return {};
        case kMaskedPath: return spec.masked_paths.push_back(text_of(bytes));
        case kReadonlyPath: return spec.readonly_paths.push_back(text_of(bytes));
        case kSysctl: return spec.sysctls.push_back(TRY(parse_sysctl(text_of(bytes))));
        default: return {};  // newer records are for newer Sentries
    }
}

}  // namespace

Result<AppSpec> parse_app_spec(Bytes bytes) {
    AppSpec spec;
    for (;;) {
        const auto header = TRY(read<abi::AppSpecHeader>(bytes));
        bytes = bytes.subspan(sizeof header);
        if (header.tag == abi::AppSpecTag::kEnd) break;
        if (header.length > bytes.size()) return Errno::kINVAL;
        TRY(parse_record(spec, header.tag, bytes.first(header.length)));
        const size_t padded = (size_t{header.length} + 7) & ~size_t{7};
        if (padded > bytes.size()) return Errno::kINVAL;
        bytes = bytes.subspan(padded);
    }
    if (spec.arguments.empty() || spec.mounts.empty()) return Errno::kINVAL;
    return spec;
}

}  // namespace kvmsbx::init
