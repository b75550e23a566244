#include "oci/app_spec.hpp"

#include <gtest/gtest.h>
#include <sys/mount.h>

#include <cstring>
#include <string>

#include "common/abi/app_spec.hpp"
#include "oci/default_spec.hpp"

namespace kvmsbx::oci {
namespace {

struct Record {
    abi::AppSpecTag tag;
    std::string payload;
};

// Reads the blob as the Sentry does: header, payload, zero padding to 8.
std::vector<Record> decode(const std::vector<std::byte>& blob) {
    std::vector<Record> records;
    size_t at = 0;
    while (at + sizeof(abi::AppSpecHeader) <= blob.size()) {
        abi::AppSpecHeader header;
        std::memcpy(&header, blob.data() + at, sizeof header);
        at += sizeof header;
        if (at + header.length > blob.size()) ADD_FAILURE() << "a record runs over the end";
        std::string payload(header.length, '\0');
        std::memcpy(payload.data(), blob.data() + at, header.length);
        records.push_back({header.tag, payload});
        const size_t end = (at + header.length + 7) / 8 * 8;
        for (size_t i = at + header.length; i < end; ++i) EXPECT_EQ(blob.at(i), std::byte{0});
        at = end;
    }
    EXPECT_EQ(at, blob.size());
    return records;
}

std::vector<std::string> payloads(const std::vector<Record>& records, abi::AppSpecTag tag) {
    std::vector<std::string> out;
    for (const Record& record : records) {
        if (record.tag == tag) out.push_back(record.payload);
    }
    return out;
}

template <typename T>
T as(const std::string& payload) {
    T value{};
    EXPECT_GE(payload.size(), sizeof value);
    std::memcpy(&value, payload.data(), std::min(sizeof value, payload.size()));
    return value;
}

std::string mount_payload(uint64_t flags, std::initializer_list<std::string> words) {
    std::string payload(8, '\0');
    std::memcpy(payload.data(), &flags, 8);
    for (const std::string& word : words) payload += word + '\0';
    return payload;
}

TEST(AppSpec, StringsKeepTheirOrder) {
    Spec spec;
    spec.process.args = {"sh", "-c", ""};
    spec.process.env = {"A=1"};
    spec.process.cwd = "/tmp";
    spec.hostname = "box";
    spec.masked_paths = {"/proc/kcore"};
    spec.readonly_paths = {"/proc/sys"};
    spec.sysctl = {{"net.x", "1"}};
    const std::vector<Record> records = decode(encode_app_spec(spec, {}));
    EXPECT_EQ(payloads(records, abi::AppSpecTag::kArg), (std::vector<std::string>{"sh", "-c", ""}));
    EXPECT_EQ(payloads(records, abi::AppSpecTag::kEnv), std::vector<std::string>{"A=1"});
    EXPECT_EQ(payloads(records, abi::AppSpecTag::kCwd), std::vector<std::string>{"/tmp"});
    EXPECT_EQ(payloads(records, abi::AppSpecTag::kHostname), std::vector<std::string>{"box"});
    EXPECT_TRUE(payloads(records, abi::AppSpecTag::kDomainname).empty());
    EXPECT_EQ(payloads(records, abi::AppSpecTag::kMaskedPath), std::vector<std::string>{"/proc/kcore"});
    EXPECT_EQ(payloads(records, abi::AppSpecTag::kReadonlyPath), std::vector<std::string>{"/proc/sys"});
    EXPECT_EQ(payloads(records, abi::AppSpecTag::kSysctl), std::vector<std::string>{"net.x=1"});
    EXPECT_EQ(records.back().tag, abi::AppSpecTag::kEnd);
}

TEST(AppSpec, MountsRootFirstAndBindsByIndex) {
    Spec spec;
    spec.root_readonly = true;
    spec.mounts = {{"/proc", "proc", "proc", MS_NOSUID, ""},
                   {"/data", "bind", "/srv", MS_RDONLY, ""},
                   {"/tmp", "tmpfs", "tmpfs", 0, "size=1m"}};
    const auto mounts = payloads(decode(encode_app_spec(spec, {})), abi::AppSpecTag::kMount);
    ASSERT_EQ(mounts.size(), 4u);
    EXPECT_EQ(mounts[0], mount_payload(MS_RDONLY, {"9p", "", "/", ""}));
    EXPECT_EQ(mounts[1], mount_payload(MS_NOSUID, {"proc", "proc", "/proc", ""}));
    EXPECT_EQ(mounts[2], mount_payload(MS_RDONLY, {"9p", "1", "/data", ""}));
    EXPECT_EQ(mounts[3], mount_payload(0, {"tmpfs", "tmpfs", "/tmp", "size=1m"}));
}

TEST(AppSpec, CredentialsWithGroups) {
    Spec spec;
    spec.process.user = {1000, 100, 027, {7, 8}};
    spec.process.no_new_privileges = true;
    spec.process.capabilities = {1, 2, 4, 8, 16};
    const auto records = payloads(decode(encode_app_spec(spec, {})), abi::AppSpecTag::kCredentials);
    ASSERT_EQ(records.size(), 1u);
    ASSERT_EQ(records[0].size(), sizeof(abi::AppCredentials) + 8);
    const auto credentials = as<abi::AppCredentials>(records[0]);
    EXPECT_EQ(credentials.uid, 1000u);
    EXPECT_EQ(credentials.gid, 100u);
    EXPECT_EQ(credentials.umask, 027u);
    EXPECT_EQ(credentials.no_new_privileges, 1u);
    EXPECT_EQ(credentials.inheritable, 4u);
    EXPECT_EQ(credentials.ambient, 16u);
    EXPECT_EQ(as<uint32_t>(records[0].substr(sizeof(abi::AppCredentials) + 4)), 8u);
}

TEST(AppSpec, OptionsAndLimits) {
    Spec spec;
    spec.process.rlimits = {{7, 10, 20}};
    AppOptions options;
    options.terminal = true;
    options.console_size = {24, 80};
    options.file_access = FileAccess::kShared;
    options.overlay = true;
    const auto records = decode(encode_app_spec(spec, options));
    const auto app = as<abi::AppOptions>(payloads(records, abi::AppSpecTag::kOptions).at(0));
    EXPECT_EQ(app.terminal, 1u);
    EXPECT_EQ(app.rows, 24u);
    EXPECT_EQ(app.columns, 80u);
    EXPECT_EQ(app.file_access_shared, 1u);
    EXPECT_EQ(app.overlay, 1u);
    const auto limit = as<abi::AppRlimit>(payloads(records, abi::AppSpecTag::kRlimit).at(0));
    EXPECT_EQ(limit.resource, 7u);
    EXPECT_EQ(limit.soft, 10u);
    EXPECT_EQ(limit.hard, 20u);
}

}  // namespace
}  // namespace kvmsbx::oci
