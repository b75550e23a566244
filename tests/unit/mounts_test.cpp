// Mount options to the letter, mount points in images with links, and what read-only means with mounts below.
#include <gtest/gtest.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>

#include "common/host/submounts.hpp"
#include "oci/bundle.hpp"
#include "oci/mount_options.hpp"
#include "oci/mount_points.hpp"

namespace kvmsbx::oci {
namespace {

namespace fs = std::filesystem;

std::string document(const std::string& mounts) {
    return R"({"ociVersion": "1.2.0", "process": {"args": ["x"], "cwd": "/"}, "root": {"path": "rootfs"}, "mounts": [)" +
           mounts + "]}";
}
MountSpec mount_of(const std::string& mount) {
    Outcome<Spec> spec = parse_spec(document(mount), "c");
    EXPECT_TRUE(spec.is_ok()) << spec.error().message;
    return spec.is_ok() ? spec.value().mounts.at(0) : MountSpec{};
}
MountSpec mount_with(const std::string& type, const std::string& options) {
    return mount_of(R"({"destination": "/m", "source": "/s", "type": ")" + type + R"(", "options": [)" + options +
                    "]}");
}
std::string refusal(const std::string& type, const std::string& options) {
    Outcome<Spec> spec = parse_spec(
        document(R"({"destination": "/m", "source": "/s", "type": ")" + type + R"(", "options": [)" + options + "]}"),
        "c");
    return spec.is_ok() ? "" : spec.error().message;
}

TEST(MountOptions, NamesAreThere) {
    // runtime-spec, "Linux mount options", but for remount, which is no way to make a mount.
    for (const char* name : {"async",       "atime",       "bind",           "defaults",      "dev",
                             "diratime",    "dirsync",     "exec",           "iversion",      "lazytime",
                             "loud",        "noatime",     "nodev",          "nodiratime",    "noexec",
                             "noiversion",  "nolazytime",  "norelatime",     "nostrictatime", "nosuid",
                             "nosymfollow", "private",     "ratime",         "rbind",         "rdev",
                             "rdiratime",   "relatime",    "rexec",          "rnoatime",      "rnodiratime",
                             "rnoexec",     "rnorelatime", "rnostrictatime", "rnosuid",       "rnosymfollow",
                             "ro",          "rprivate",    "rrelatime",      "rro",           "rrw",
                             "rshared",     "rslave",      "rstrictatime",   "rsuid",         "rsymfollow",
                             "runbindable", "rw",          "shared",         "silent",        "slave",
                             "strictatime", "suid",        "symfollow",      "sync",          "tmpcopyup",
                             "unbindable",  "idmap",       "ridmap",         "mand",          "nomand",
                             "rnodev"})
        EXPECT_NE(find_mount_option(name), nullptr) << name;
    EXPECT_EQ(find_mount_option("size=5"), nullptr);
}

TEST(MountOptions, ReadonlyBelow) {
    const MountSpec rro = mount_with("bind", R"("rbind", "rro")");
    EXPECT_TRUE(rro.recursive_readonly && rro.recursive_bind);
    EXPECT_EQ(rro.flags, static_cast<uint64_t>(MS_RDONLY));
    EXPECT_FALSE(mount_with("bind", R"("rbind", "ro")").recursive_readonly);
    EXPECT_FALSE(mount_with("bind", R"("rbind", "rro", "rw")").recursive_readonly);
    EXPECT_FALSE(mount_with("bind", R"("rbind", "rro", "rrw")").recursive_readonly);
}

TEST(MountOptions, OfTmpfs) {
    const MountSpec mount = mount_with(
        "tmpfs",
        R"("size=64k", "mode=0700", "nr_inodes=5k", "uid=1", "gid=2", "huge=within_size", "mpol=local", "tmpcopyup", "")");
    EXPECT_TRUE(mount.copy_up);
    EXPECT_EQ(mount.data, "size=64k,mode=0700,nr_inodes=5k,uid=1,gid=2,huge=within_size,mpol=local");
    EXPECT_FALSE(mount_with("tmpfs", R"("tmpcopyup", "notmpcopyup")").copy_up);
    EXPECT_EQ(refusal("tmpfs", R"("size=64k", "sise=1")"),
              "c: line 1: mounts[0].options[1]: \"sise=1\" is not an option of tmpfs; remove it");
    EXPECT_EQ(refusal("tmpfs", R"("size=big")"),
              "c: line 1: mounts[0].options[0]: \"size=big\" has no value that tmpfs takes; correct or remove it");
    for (const char* bad :
         {R"("mode=9")", R"("uid=root")", R"("huge=sometimes")", R"("size")", R"("inode64=1")", R"("=")"})
        EXPECT_NE(refusal("tmpfs", bad), "") << bad;
}

TEST(MountOptions, OfOtherFileSystems) {
    EXPECT_EQ(mount_with("proc", R"("hidepid=2", "subset=pid")").data, "hidepid=2,subset=pid");
    EXPECT_EQ(mount_with("devpts", R"("newinstance", "ptmxmode=0666", "mode=0620", "gid=5")").data,
              "newinstance,ptmxmode=0666,mode=0620,gid=5");
    EXPECT_EQ(mount_with("cgroup2", R"("nsdelegate", "ro")").data, "nsdelegate");
    EXPECT_NE(refusal("proc", R"("hidepid=9")"), "");
    EXPECT_NE(refusal("sysfs", R"("mode=5")"), "");
    EXPECT_NE(refusal("mqueue", R"("size=5")"), "");
    EXPECT_NE(refusal("bind", R"("bind", "mode=5")"), "");
    EXPECT_NE(refusal("proc", R"("tmpcopyup")"), "");
}

TEST(MountOptions, MappedOwners) {
    EXPECT_EQ(refusal("bind", R"("bind", "idmap")"),
              "c: line 1: mounts[0].options: idmap needs uidMappings and gidMappings, of the mount or of linux");
    const std::string ids = R"([{"containerID": 0, "hostID": 1, "size": 1}])";
    EXPECT_TRUE(mount_of(R"({"destination": "/m", "source": "/s", "type": "bind", "uidMappings": )" + ids +
                         R"(, "gidMappings": )" + ids + "}")
                    .idmapped);
    EXPECT_NE(refusal("tmpfs", R"("idmap")"), "");
    EXPECT_TRUE(
        parse_spec(document(R"({"destination": "/m", "source": "/s", "type": "bind", "uidMappings": )" + ids + "}"),
                   "c")
            .is_error());
}

// A bundle whose root has links.
class MountPointsInImage : public testing::Test {
  protected:
    MountPointsInImage() {
        char name[] = "/tmp/kvmsbx-mounts-XXXXXX";
        bundle_.path = mkdtemp(name);
        bundle_.spec.root_path = "rootfs";
        fs::create_directories(root());
        std::ofstream(bundle_.path + "/file") << "x";
    }
    ~MountPointsInImage() override { fs::remove_all(bundle_.path); }

    fs::path root() const { return bundle_.path + "/rootfs"; }
    void bind(const std::string& destination, const std::string& source = "file") {
        MountSpec mount;
        mount.type = "bind";
        mount.source = source;
        mount.destination = destination;
        bundle_.spec.mounts.push_back(mount);
    }
    void tmpfs(const std::string& destination) {
        MountSpec mount;
        mount.type = "tmpfs";
        mount.destination = destination;
        bundle_.spec.mounts.push_back(mount);
    }
    std::vector<size_t> make() {
        Reporter reporter;
        return make_mount_points(bundle_, reporter);
    }

    Bundle bundle_;
};

TEST_F(MountPointsInImage, DanglingLinkLeadsInsideTheRoot) {
    fs::create_directories(root() / "etc");
    fs::create_symlink("/run/systemd/resolve/stub.conf", root() / "etc/resolv.conf");
    fs::create_symlink("../../../../../up/hosts", root() / "etc/hosts");
    fs::create_symlink("relative/name", root() / "etc/name");
    bind("/etc/resolv.conf");
    bind("/etc/hosts");
    bind("/etc/name");
    make();
    EXPECT_TRUE(fs::is_regular_file(root() / "run/systemd/resolve/stub.conf"));
    EXPECT_TRUE(fs::is_regular_file(root() / "up/hosts"));
    EXPECT_TRUE(fs::is_regular_file(root() / "etc/relative/name"));
    EXPECT_TRUE(fs::is_symlink(root() / "etc/resolv.conf"));
}

TEST_F(MountPointsInImage, FoldersAndFilesAsTheSourceIs) {
    fs::create_symlink("/data", root() / "link");
    bind("/a/b/c", ".");
    bind("/a/b/f");
    bind("/link/../x/./y", "file");
    tmpfs("/link/t");
    make();
    EXPECT_TRUE(fs::is_directory(root() / "a/b/c"));
    EXPECT_TRUE(fs::is_regular_file(root() / "a/b/f"));
    EXPECT_TRUE(fs::is_regular_file(root() / "x/y"));
    EXPECT_TRUE(fs::is_directory(root() / "data/t"));
}

TEST_F(MountPointsInImage, WhatIsBelowAnotherMountIsLeft) {
    fs::create_symlink("run", root() / "var");
    tmpfs("/run");
    bind("/run/secret");
    bind("/var/secret2");
    tmpfs("/other");
    EXPECT_EQ(make(), (std::vector<size_t>{0, 3}));
    EXPECT_EQ(make(), std::vector<size_t>{});
    EXPECT_TRUE(fs::is_directory(root() / "other"));
    EXPECT_FALSE(fs::exists(root() / "run/secret"));
    EXPECT_FALSE(fs::exists(root() / "run/secret2"));
}

TEST_F(MountPointsInImage, EndlessLinksAndFilesInTheWay) {
    fs::create_symlink("loop", root() / "loop");
    std::ofstream(root() / "plain") << "x";
    bind("/loop/x");
    bind("/plain/x");
    tmpfs("/good");
    make();
    EXPECT_TRUE(fs::is_directory(root() / "good"));
}

TEST_F(MountPointsInImage, BelongToTheContainersRoot) {
    if (geteuid() != 0) GTEST_SKIP() << "needs root to give files away";
    bundle_.spec.uid_mappings = bundle_.spec.gid_mappings = {{0, 100000, 10}};
    tmpfs("/new/deep");
    make();
    struct stat st {};
    ASSERT_EQ(stat((root() / "new/deep").c_str(), &st), 0);
    EXPECT_EQ(st.st_uid, 100000u);
}

// In a mount namespace of its own.
template <typename Body>
void with_mounts(const Body& body) {
    const pid_t child = fork();
    if (child == 0) {
        if (unshare(CLONE_NEWNS) != 0 || mount("", "/", nullptr, MS_PRIVATE | MS_REC, nullptr) != 0) _exit(77);
        _exit(body() ? 0 : 1);
    }
    int status = 0;
    waitpid(child, &status, 0);
    if (WEXITSTATUS(status) == 77) GTEST_SKIP() << "no right to mount";
    EXPECT_EQ(status, 0);
}

TEST_F(MountPointsInImage, ReadonlyIsForTheTopAlone) {
    with_mounts([&] {
        fs::create_directories(bundle_.path + "/v/sub mount");
        fs::create_directories(bundle_.path + "/w");
        if (host::has_submounts(bundle_.path + "/v")) return false;
        if (mount("t", (bundle_.path + "/v/sub mount").c_str(), "tmpfs", 0, nullptr) != 0) return false;
        if (!host::has_submounts(bundle_.path + "/v") || host::has_submounts(bundle_.path + "/v/sub mount"))
            return false;
        std::ofstream(bundle_.path + "/config.json")
            << document(R"({"destination": "/v", "type": "bind", "source": "v", "options": ["rbind", "ro"]},
                           {"destination": "/v2", "type": "bind", "source": "v", "options": ["rbind", "rro"]},
                           {"destination": "/w", "type": "bind", "source": "w", "options": ["rbind", "ro"]}, )"
                        R"({"destination": "/v3", "type": "bind", "source": "v", "options": ["bind", "ro"]})");
        const Outcome<Bundle> bundle = load_bundle(bundle_.path);
        if (bundle.is_error()) return false;
        const std::vector<MountSpec>& mounts = bundle.value().spec.mounts;
        return mounts[0].flags == 0 && mounts[1].flags == MS_RDONLY && mounts[2].flags == MS_RDONLY &&
               mounts[3].flags == MS_RDONLY;
    });
}

}  // namespace
}  // namespace kvmsbx::oci
