#pragma once
// Reads the application spec that the CLI wrote (common/abi/app_spec.hpp). Every length is checked: a bad spec is an
// error, not a crash.
#include <cstddef>
#include <span>

#include "common/abi/app_spec.hpp"
#include "common/base/result.hpp"
#include "guestkernel/vfs/path.hpp"

namespace kvmsbx::init {

struct Sysctl {
    std::string_view name, value;
};

struct AppSpec {
    Vector<std::string_view> arguments, environment, masked_paths, readonly_paths;
    std::string_view cwd = "/", hostname = "kvmsbx", domainname;
    abi::AppCredentials credentials{};
    Vector<uint32_t> groups;
    Vector<abi::AppRlimit> limits;
    Vector<vfs::SpecMount> mounts;  // the first is the root
    Vector<Sysctl> sysctls;
    abi::AppOptions options{};
};

// The result points into `bytes`. EINVAL: malformed; ENOMEM.
Result<AppSpec> parse_app_spec(std::span<const std::byte> bytes);

}  // namespace kvmsbx::init
