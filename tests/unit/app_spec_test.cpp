// From a config.json to the spec that the Sentry reads: what oci/ writes and wire::Viewed gives back.
#include "oci/app_spec.hpp"

#include <gtest/gtest.h>
#include <sys/mount.h>

#include <string>

namespace kvmsbx::oci {
namespace {

using Read = spec::SandboxSpec<wire::Viewed>;

class Encoded {
  public:
    explicit Encoded(const Spec& spec, const AppOptions& options = {})
        : bytes_(wire::encode(make_sandbox_spec(spec, options).release_value())) {}
    Read read() const { return wire::decode<Read>(bytes_).release_value(); }
    const std::vector<uint8_t>& bytes() const { return bytes_; }

  private:
    std::vector<uint8_t> bytes_;
};

MountSpec mount_spec(const char* destination, const char* type, const char* source, uint64_t flags, const char* data) {
    MountSpec mount;
    mount.destination = destination;
    mount.type = type;
    mount.source = source;
    mount.flags = flags;
    mount.data = data;
    return mount;
}

std::vector<std::string> texts(const wire::Sequence<std::string_view>& list) {
    std::vector<std::string> out;
    for (std::string_view text : list) out.emplace_back(text);
    return out;
}

TEST(AppSpec, TextsKeepTheirOrder) {
    Spec spec;
    spec.process.args = {"sh", "-c", ""};
    spec.process.env = {"A=1"};
    spec.process.cwd = "/tmp";
    spec.hostname = "box";
    spec.masked_paths = {"/proc/kcore"};
    spec.readonly_paths = {"/proc/sys", "/proc/irq"};
    spec.sysctl = {{"net.x", "1"}};
    const Encoded encoded(spec);
    const Read read = encoded.read();
    EXPECT_EQ(read.version, spec::kSandboxSpecVersion);
    EXPECT_EQ(texts(read.process.args), (std::vector<std::string>{"sh", "-c", ""}));
    EXPECT_EQ(texts(read.process.env), std::vector<std::string>{"A=1"});
    EXPECT_EQ(read.process.cwd, "/tmp");
    EXPECT_EQ(read.hostname, "box");
    EXPECT_EQ(read.domainname, "");
    EXPECT_EQ(texts(read.masked_paths), std::vector<std::string>{"/proc/kcore"});
    EXPECT_EQ(texts(read.readonly_paths), (std::vector<std::string>{"/proc/sys", "/proc/irq"}));
    ASSERT_EQ(read.sysctls.size(), 1u);
    EXPECT_EQ(read.sysctls.front().name, "net.x");
    EXPECT_EQ(read.sysctls.front().value, "1");
    EXPECT_FALSE(read.wait_for_start);
}

TEST(AppSpec, MountsRootFirstAndBindsByIndex) {
    Spec spec;
    spec.root_readonly = true;
    spec.mounts = {mount_spec("/proc", "proc", "proc", MS_NOSUID, ""),
                   mount_spec("/data", "bind", "/srv", MS_RDONLY, ""),
                   mount_spec("/tmp", "tmpfs", "tmpfs", 0, "size=1m")};
    const Encoded encoded(spec);
    std::vector<std::string> lines;
    for (const auto& mount : encoded.read().mounts)
        lines.push_back(std::string(mount.type) + " " + std::string(mount.source) + " " +
                        std::string(mount.destination) + " " + std::string(mount.data) + " " +
                        std::to_string(mount.flags));
    EXPECT_EQ(lines, (std::vector<std::string>{"9p  /  1", "proc proc /proc  2", "9p 1 /data  1",
                                               "tmpfs tmpfs /tmp size=1m 0"}));
}

TEST(AppSpec, CredentialsAndLimitsOfTheProcess) {
    Spec spec;
    spec.process.user = {1000, 100, 027, {7, 8}};
    spec.process.no_new_privileges = true;
    spec.process.capabilities = {1, 2, 4, 8, 16};
    spec.process.rlimits = {{7, 10, 20}};
    const Encoded encoded(spec);
    const auto process = encoded.read().process;
    EXPECT_EQ(process.uid, 1000u);
    EXPECT_EQ(process.gid, 100u);
    EXPECT_EQ(process.umask, 027u);
    EXPECT_TRUE(process.no_new_privileges);
    EXPECT_EQ(process.capabilities.effective, 2u);
    EXPECT_EQ(process.capabilities.ambient, 16u);
    std::vector<uint32_t> groups;
    for (uint32_t gid : process.groups) groups.push_back(gid);
    EXPECT_EQ(groups, (std::vector<uint32_t>{7, 8}));
    ASSERT_EQ(process.rlimits.size(), 1u);
    EXPECT_EQ(process.rlimits.front().resource, 7u);
    EXPECT_EQ(process.rlimits.front().soft, 10u);
    EXPECT_EQ(process.rlimits.front().hard, 20u);
}

TEST(AppSpec, OptionsOfTheCommandLine) {
    Spec spec;
    spec.limits.memory = 1 << 30;
    spec.limits.cpu_quota = 50'000;
    spec.limits.cpu_period = 200'000;
    AppOptions options;
    EXPECT_EQ(Encoded(spec, options).read().limits.cpu_quota, 50'000u);
    EXPECT_EQ(Encoded(spec, options).read().limits.cpu_period, 200'000u);
    options.terminal = true;
    options.console_size = {24, 80};
    options.file_access = FileAccess::kShared;
    options.overlay = true;
    options.cpus = 3;
    options.wait_for_start = true;
    const Encoded encoded(spec, options);
    const Read read = encoded.read();
    EXPECT_TRUE(read.process.terminal);
    EXPECT_EQ(read.process.rows, 24u);
    EXPECT_EQ(read.process.columns, 80u);
    EXPECT_TRUE(read.mounts.front().shared_access);
    EXPECT_TRUE(read.overlay);
    EXPECT_TRUE(read.wait_for_start);
    EXPECT_EQ(read.limits.memory, 1u << 30);
    EXPECT_EQ(read.limits.cpu_quota, 300'000u);
    EXPECT_EQ(read.limits.cpu_period, 100'000u);
}

TEST(AppSpec, NoTruncatedSpecIsTaken) {
    Spec spec;
    spec.process.args = {"sh"};
    spec.mounts = {mount_spec("/proc", "proc", "proc", 0, "")};
    std::vector<uint8_t> bytes = Encoded(spec).bytes();
    for (size_t size = 0; size < bytes.size(); size++)
        EXPECT_EQ(wire::decode<Read>(std::span(bytes).first(size)).error(), Errno::kPROTO) << size;
    bytes.push_back(0);
    EXPECT_EQ(wire::decode<Read>(bytes).error(), Errno::kPROTO);
}

}  // namespace
}  // namespace kvmsbx::oci
