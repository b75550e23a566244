#include "common/host/landlock.hpp"

#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cstdint>

#include "common/host/errno.hpp"

namespace kvmsbx::host {
namespace {

// The kernel's ABI as of version 6; Debian 12's <linux/landlock.h> has version 2's.
struct RulesetAttributes {
    uint64_t handled_access_fs;
    uint64_t handled_access_net;
    uint64_t scoped;
};
struct [[gnu::packed]] PathBeneath {
    uint64_t allowed_access;
    int32_t parent_fd;
};
constexpr unsigned kVersionQuery = 1;
constexpr int kRulePathBeneath = 1;

constexpr uint64_t bit(unsigned number) { return uint64_t{1} << number; }
constexpr uint64_t kExecute = bit(0), kWriteFile = bit(1), kReadFile = bit(2), kReadFolder = bit(3);
constexpr uint64_t kAllOfFirstAbi = bit(13) - 1;
constexpr uint64_t kRefer = bit(13), kTruncate = bit(14), kDeviceIoctl = bit(15);
constexpr uint64_t kForFiles = kWriteFile | kReadFile | kTruncate;  // rights that a rule for a file may name
constexpr uint64_t kForReading = kReadFile | kReadFolder;
constexpr uint64_t kTcp = bit(0) | bit(1);     // bind, connect
constexpr uint64_t kScopes = bit(0) | bit(1);  // abstract sockets, signals

RulesetAttributes attributes_of(int abi) {
    RulesetAttributes attributes{kAllOfFirstAbi | kRefer, 0, 0};
    if (abi >= 3) attributes.handled_access_fs |= kTruncate;
    if (abi >= 4) attributes.handled_access_net = kTcp;
    if (abi >= 5) attributes.handled_access_fs |= kDeviceIoctl;
    if (abi >= 6) attributes.scoped = kScopes;
    return attributes;
}

Result<> add_tree(int ruleset, const LandlockTree& tree, uint64_t handled) {
    struct stat status {};
    if (fstat(tree.fd, &status) != 0) return last_errno();
    uint64_t allowed = handled & ~kExecute & ~kDeviceIoctl;
    if (tree.readonly) allowed &= kForReading;
    if (!S_ISDIR(status.st_mode)) allowed &= kForFiles;
    const PathBeneath rule{allowed, tree.fd};
    if (syscall(SYS_landlock_add_rule, ruleset, kRulePathBeneath, &rule, 0) != 0) return last_errno();
    return {};
}

Result<> enforce(int ruleset, std::span<const LandlockTree> trees, uint64_t handled) {
    for (const LandlockTree& tree : trees) TRY(add_tree(ruleset, tree, handled));
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0) return last_errno();
    if (syscall(SYS_landlock_restrict_self, ruleset, 0) != 0) return last_errno();
    return {};
}

long query_version() { return syscall(SYS_landlock_create_ruleset, nullptr, 0, kVersionQuery); }

}  // namespace

int landlock_abi() {
    const long version = query_version();
    return version >= 2 ? static_cast<int>(version) : 0;
}

Result<> restrict_files(std::span<const LandlockTree> trees) {
    const long abi = query_version();
    if (abi < 0) return last_errno();
    if (abi < 2) return Errno::kNOSYS;
    const RulesetAttributes attributes = attributes_of(static_cast<int>(abi));
    const size_t size = abi >= 6 ? sizeof attributes : abi >= 4 ? 16 : 8;
    const auto ruleset = static_cast<int>(syscall(SYS_landlock_create_ruleset, &attributes, size, 0));
    if (ruleset < 0) return last_errno();
    const Result<> done = enforce(ruleset, trees, attributes.handled_access_fs);
    close(ruleset);
    return done;
}

}  // namespace kvmsbx::host
