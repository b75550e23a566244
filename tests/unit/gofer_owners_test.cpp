#include "gofer/owners.hpp"

#include <gtest/gtest.h>
#include <unistd.h>

#include "gofer/spec.hpp"
#include "tests/unit/gofer_client.hpp"

namespace kvmsbx::gofer {
namespace {

using namespace p9;

const IdRanges kNone;

TEST(IdTable, PlainWithoutMappings) {
    const IdTable table = IdTable::create(kNone, kNone, kNone);
    EXPECT_TRUE(table.is_plain());
    EXPECT_EQ(table.to_client(4'000'000'000), 4'000'000'000u);
    EXPECT_EQ(table.to_own(7).value(), 7u);
}

TEST(IdTable, OfAContainer) {
    const IdTable table = IdTable::create({{0, 100000, 1000}, {1000, 1000, 1}}, kNone, kNone);
    EXPECT_EQ(table.to_client(100000), 0u);
    EXPECT_EQ(table.to_client(100999), 999u);
    EXPECT_EQ(table.to_client(101000), 65534u);
    EXPECT_EQ(table.to_client(0), 65534u);
    EXPECT_EQ(table.to_client(1000), 1000u);
    EXPECT_EQ(table.to_own(5).value(), 100005u);
    EXPECT_EQ(table.to_own(1001).error(), Errno::kOVERFLOW);
}

TEST(IdTable, OfAMount) {
    // Without a user namespace of the container: ids of the file system are shown as those of the host.
    const IdTable alone = IdTable::create(kNone, {{0, 500, 10}}, kNone);
    EXPECT_EQ(alone.to_client(3), 503u);
    EXPECT_EQ(alone.to_own(500).value(), 0u);
    EXPECT_EQ(alone.to_own(3).error(), Errno::kOVERFLOW);
    // With the container's own mapping both cancel out.
    const IdRanges container{{0, 100000, 65536}};
    const IdTable both = IdTable::create(container, container, kNone);
    EXPECT_EQ(both.to_client(12), 12u);
    EXPECT_EQ(both.to_client(70000), 65534u);
    EXPECT_EQ(both.to_own(65535).value(), 65535u);
}

TEST(IdTable, OfAProcessInAUserNamespace) {
    // Rootless: the user 1000 is root in its user namespace, and in the container.
    const IdTable table = IdTable::create({{0, 1000, 1}}, kNone, {{0, 1000, 1}});
    EXPECT_EQ(table.to_client(0), 0u);
    EXPECT_EQ(table.to_client(65534), 65534u);
    EXPECT_EQ(table.to_own(0).value(), 0u);
    EXPECT_EQ(table.to_own(1).error(), Errno::kOVERFLOW);
    const IdTable apart = IdTable::create({{0, 5, 1}}, kNone, {{0, 1000, 1}});
    EXPECT_EQ(apart.to_client(0), 65534u);
    EXPECT_EQ(apart.to_own(0).error(), Errno::kOVERFLOW);
}

TEST(IdTable, ReadsTheKernelsText) {
    const IdRanges ranges = parse_id_map("         0     100000      65536\n     65536 5 1\n");
    ASSERT_EQ(ranges.size(), 2u);
    EXPECT_EQ(ranges[0].outside, 100000u);
    EXPECT_EQ(ranges[1].inside, 65536u);
    EXPECT_TRUE(parse_id_map("rubbish").empty());
}

TEST(GoferSpecOwners, MappingsOfContainerAndMount) {
    GoferSpec spec;
    std::string error;
    const char* text = R"({"root": {"path": "r"}, "linux": {
        "uidMappings": [{"containerID": 0, "hostID": 7, "size": 2}], "gidMappings": [{"containerID": 0, "hostID": 8, "size": 2}]},
        "mounts": [{"destination": "/a", "source": "/a", "options": ["rbind", "idmap"]},
                   {"destination": "/b", "source": "/b", "options": ["bind", "ro"], "uidMappings": [{"containerID": 1, "hostID": 2, "size": 3}],
                    "gidMappings": [{"containerID": 1, "hostID": 2, "size": 3}]},
                   {"destination": "/c", "source": "/c", "options": ["rbind", "ro", "rro"]}]})";
    ASSERT_TRUE(parse_spec(text, "/bundle", spec, error)) << error;
    EXPECT_EQ(spec.container_maps.gids.at(0).outside, 8u);
    EXPECT_EQ(spec.binds.at(0).maps.uids.at(0).outside, 7u);
    EXPECT_EQ(spec.binds.at(1).maps.uids.at(0).size, 3u);
    EXPECT_TRUE(spec.binds.at(1).readonly && !spec.binds.at(1).readonly_below);
    EXPECT_TRUE(spec.binds.at(2).readonly && spec.binds.at(2).readonly_below);
    GoferSpec without;
    EXPECT_FALSE(parse_spec(
        R"({"root": {"path": "r"}, "mounts": [{"destination": "/a", "source": "/a", "options": ["bind", "idmap"]}]})",
        "/", without, error));
    EXPECT_EQ(error, "config.json: mounts[0]: idmap needs uidMappings and gidMappings, of the mount or of linux");
}

TEST(GoferMappedExport, ShowsAndSetsTheClientsIds) {
    if (geteuid() != 0) GTEST_SKIP() << "needs root to give files away";
    ServerFixture fixture;
    const IdTable table = IdTable::create({{0, 100000, 1000}}, kNone, kNone);
    fixture.add_export(3, fixture.outside(), false, {table, table});
    ASSERT_EQ(chown(fixture.outside().c_str(), 100000, 100000), 0);
    fixture.start();
    Client client(fixture.transport());
    client.attach(0, "3");
    EXPECT_EQ(client.call(Tgetattr{.fid = 0}).value().attr.uid, 0u);
    ASSERT_TRUE(client.call(Tmakenode{.dfid = 0, .newfid = 1, .name = "d", .mode = S_IFDIR | 0755, .uid = 7, .gid = 8})
                    .is_ok());
    struct stat st {};
    ASSERT_EQ(stat((fixture.outside() / "d").c_str(), &st), 0);
    EXPECT_EQ(st.st_uid, 100007u);
    EXPECT_EQ(st.st_gid, 100008u);
    const Attr made = client.call(Tgetattr{.fid = 1}).value().attr;
    EXPECT_EQ(made.uid, 7u);
    EXPECT_EQ(made.gid, 8u);
    // Nobody outside has this id: nothing is made.
    EXPECT_EQ(
        client.error(Tmakenode{.dfid = 0, .newfid = 2, .name = "e", .mode = S_IFDIR | 0755, .uid = 5000, .gid = 8}),
        Errno::kOVERFLOW);
    EXPECT_FALSE(std::filesystem::exists(fixture.outside() / "e"));
    SetAttr owner{};
    owner.valid = kSetUid;
    owner.uid = 9;
    EXPECT_EQ(client.call(Tsetattrget{.fid = 1, .set = owner}).value().attr.uid, 9u);
    owner.uid = 1000;
    EXPECT_EQ(client.error(Tsetattr{.fid = 1, .set = owner}), Errno::kOVERFLOW);
    EXPECT_EQ(client.error(Txattrcreate{.fid = 1, .name = "system.posix_acl_access", .attr_size = 4}),
              Errno::kOPNOTSUPP);
}

}  // namespace
}  // namespace kvmsbx::gofer
