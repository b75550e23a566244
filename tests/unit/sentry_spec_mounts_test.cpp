// The mounts and devices of config.json: mount points that are made, what a tmpfs takes over, nodes.
#include "guestkernel/fs/dev.hpp"
#include "guestkernel/vfs/copy_tree.hpp"
#include "guestkernel/vfs/device.hpp"
#include "guestkernel/vfs/mount.hpp"
#include "guestkernel/vfs/mount_point.hpp"
#include "tests/unit/sentry_files.hpp"

namespace kvmsbx::vfs {
namespace {

Errno mount_tmpfs(Files& files, std::string_view place, std::string_view data = "", bool copy_up = false,
                  uint64_t flags = 0) {
    return Files::error(mount_spec(*files.context, {"tmpfs", "", place, data, flags, false, copy_up}));
}

bool is_mount(Files& files, std::string_view path) {
    const Path found = files.find(path);
    return found.mount().root() == &found.dentry();
}

SENTRY_TEST(MountPoint, IsMadeWithItsFolders) {
    Files files;
    EXPECT_EQ(mount_tmpfs(files, "//made/here//deep/"), kNoError);
    EXPECT_TRUE(is_mount(files, "/made/here/deep"));
    EXPECT_EQ(files.stat("/made").mode, kModeDirectory | 0755);
    EXPECT_EQ(files.stat("/made/here/deep").mode, kModeDirectory | 01777);
}

// As all Debian and Ubuntu roots have it: /etc/resolv.conf -> ../run/systemd/resolve/stub-resolv.conf.
SENTRY_TEST(MountPoint, IsWhereADanglingLinkLeads) {
    Files files;
    ASSERT_EQ(files.mkdir("/etc"), kNoError);
    ASSERT_EQ(files.symlink("../run/systemd/resolve/stub", "/etc/resolv.conf"), kNoError);
    auto place = obtain_place(files.caller(), "/etc/resolv.conf", PlaceKind::kFile);
    ASSERT_TRUE(place.is_ok());
    EXPECT_TRUE(place->made);
    EXPECT_EQ(files.stat("/run/systemd/resolve/stub").mode, kModeRegular | 0644);
    EXPECT_TRUE(files.find("/etc/resolv.conf", Follow::kNo).inode().is_link());
    EXPECT_FALSE(obtain_place(files.caller(), "/etc/resolv.conf", PlaceKind::kFile)->made);
}

SENTRY_TEST(MountPoint, StaysInTheRoot) {
    Files files;
    ASSERT_EQ(files.mkdir("/inner"), kNoError);
    ASSERT_EQ(files.symlink("/../../a/b", "/inner/up"), kNoError);
    ASSERT_EQ(files.symlink("up/c", "/inner/chain"), kNoError);
    files.context->root = files.find("/inner");
    EXPECT_EQ(mount_tmpfs(files, "/../chain/d"), kNoError);
    files.context->root = files.context->cwd;
    EXPECT_TRUE(is_mount(files, "/inner/a/b/c/d"));
    EXPECT_EQ(files.walk_error("/a"), Errno::kNOENT);
}

SENTRY_TEST(MountPoint, LoopsAndFilesInTheWayAreErrors) {
    Files files;
    ASSERT_EQ(files.symlink("loop2", "/loop"), kNoError);
    ASSERT_EQ(files.symlink("loop", "/loop2"), kNoError);
    files.write_file("/file", "x");
    EXPECT_EQ(mount_tmpfs(files, "/loop"), Errno::kLOOP);
    EXPECT_EQ(mount_tmpfs(files, "/loop/x"), Errno::kLOOP);
    EXPECT_EQ(mount_tmpfs(files, "/file/x"), Errno::kNOTDIR);
    EXPECT_EQ(mount_tmpfs(files, "/file"), Errno::kNOTDIR);
}

SENTRY_TEST(TmpfsMount, TakesTheModeOfTheFolderBelow) {
    Files files;
    ASSERT_EQ(files.mkdir("/root", 0700), kNoError);
    ASSERT_TRUE(change_owner(files.caller(), files.find("/root"), 7, 8).is_ok());
    ASSERT_TRUE(change_mode(files.caller(), files.find("/root"), 02750).is_ok());
    ASSERT_EQ(mount_tmpfs(files, "/root"), kNoError);
    EXPECT_EQ(files.stat("/root").mode, kModeDirectory | 02750);
    EXPECT_EQ(files.stat("/root").uid, 0U);
    EXPECT_EQ(files.find("/root").mount().fs().options()->view(), "mode=2750");
    ASSERT_EQ(files.mkdir("/given", 0700), kNoError);
    ASSERT_EQ(mount_tmpfs(files, "/given", "mode=0711,uid=3,nr_inodes=10"), kNoError);
    EXPECT_EQ(files.stat("/given").mode, kModeDirectory | 0711);
    EXPECT_EQ(files.find("/given").mount().fs().options()->view(), "nr_inodes=10,mode=711,uid=3");
    ASSERT_EQ(mount_tmpfs(files, "/new"), kNoError);
    EXPECT_EQ(files.stat("/new").mode, kModeDirectory | 01777);
}

SENTRY_TEST(TmpfsMount, RefusesWhatItDoesNotKnow) {
    Files files;
    EXPECT_EQ(mount_tmpfs(files, "/a", "color=blue"), Errno::kINVAL);
    EXPECT_EQ(mount_tmpfs(files, "/a", "size"), Errno::kINVAL);
    EXPECT_EQ(mount_tmpfs(files, "/a", "huge=sometimes"), Errno::kINVAL);
    EXPECT_EQ(mount_tmpfs(files, "/a", "uid=4294967295"), Errno::kINVAL);
    EXPECT_EQ(mount_tmpfs(files, "/a", "mpol=bind"), Errno::kINVAL);
    EXPECT_EQ(mount_tmpfs(files, "/a", "huge=within_size,mpol=prefer=static:0,size=1m,lazytime"), kNoError);
    EXPECT_EQ(files.find("/a").mount().fs().options()->view(),
              "size=1024k,mode=755,huge=within_size,mpol=prefer=static:0");
}

SENTRY_TEST(TmpfsMount, CopiesUpWhatIsBelow) {
    Files files;
    files.context->umask = 077;
    for (const char* folder : {"/var", "/var/empty", "/var/deep", "/var/deep/er"})
        ASSERT_EQ(files.mkdir(folder), kNoError);
    const std::string large(200'000, 'y');
    files.write_file("/var/file", "content");
    files.write_file("/var/deep/er/large", large);
    ASSERT_EQ(files.symlink("../nowhere", "/var/deep/link"), kNoError);
    ASSERT_TRUE(make_node(files.caller(), files.root(), "/var/fifo", kModeFifo | 0600, 0).is_ok());
    ASSERT_TRUE(change_owner(files.caller(), files.find("/var/file"), 5, 6).is_ok());
    ASSERT_TRUE(change_mode(files.caller(), files.find("/var/file"), 04751).is_ok());
    ASSERT_TRUE(change_owner(files.caller(), files.find("/var/deep"), 9, 9).is_ok());
    AttributeChange times;
    times.valid = AttributeChange::kAtime | AttributeChange::kMtime;
    times.atime = {1000, 1}, times.mtime = {2000, 2};
    for (const char* path : {"/var/file", "/var/deep"})
        ASSERT_TRUE(files.find(path).inode().set_attributes(times).is_ok());

    ASSERT_EQ(mount_tmpfs(files, "/var", "mode=0750", true, kMsRdonly), kNoError);

    EXPECT_TRUE(is_mount(files, "/var"));
    EXPECT_EQ(files.stat("/var").mode, kModeDirectory | 0750);
    const Attributes file = files.stat("/var/file"), folder = files.stat("/var/deep");
    EXPECT_EQ(files.list("/var"), "empty deep file fifo ");
    EXPECT_EQ(files.read_file("/var/file"), "content");
    EXPECT_EQ(files.read_file("/var/deep/er/large"), large);
    EXPECT_EQ(files.find("/var/deep/link", Follow::kNo).inode().read_link()->view(), "../nowhere");
    EXPECT_EQ(files.stat("/var/fifo").mode, kModeFifo | 0600);
    EXPECT_EQ(file.mode, kModeRegular | 04751);
    EXPECT_TRUE(file.uid == 5 && file.gid == 6 && folder.uid == 9);
    EXPECT_TRUE(file.mtime.seconds == 2000 && file.mtime.nanoseconds == 2 && file.atime.seconds == 1000);
    EXPECT_EQ(folder.mtime.seconds, 2000);
    EXPECT_EQ(files.open_error("/var/new", kOWronly | kOCreat), Errno::kROFS);
}

SENTRY_TEST(TmpfsMount, CopyUpFailsWhereThereIsNoRoom) {
    Files files;
    ASSERT_EQ(files.mkdir("/var"), kNoError);
    files.write_file("/var/file", std::string(20'000, 'x'));
    EXPECT_EQ(mount_tmpfs(files, "/var", "size=8k", true), Errno::kNOSPC);
    EXPECT_FALSE(is_mount(files, "/var"));
    EXPECT_EQ(mount_tmpfs(files, "/missing", "", true), kNoError);
}

Errno make_device(Files& files, std::string_view path, uint32_t type, uint32_t major, uint32_t minor,
                  uint32_t mode = 0666) {
    return Files::error(fs::make_device(*files.context, {path, type, major, minor, mode, 11, 12}));
}

SENTRY_TEST(Devices, AreMadeUnderAnyPath) {
    Files files;
    files.context->umask = 077;
    ASSERT_EQ(make_device(files, "/dev/of/mine/nothing", kModeChar, 1, 3, 0642), kNoError);
    const Attributes made = files.stat("/dev/of/mine/nothing");
    EXPECT_EQ(made.mode, kModeChar | 0642);
    EXPECT_EQ(made.rdev, vfs::make_device(1, 3));
    EXPECT_TRUE(made.uid == 11 && made.gid == 12);
    ASSERT_EQ(make_device(files, "/fifo", kModeFifo, 0, 0), kNoError);
    EXPECT_EQ(files.stat("/fifo").mode, kModeFifo | 0666);
}

SENTRY_TEST(Devices, ThatTheSentryLacksAreNot) {
    Files files;
    EXPECT_EQ(make_device(files, "/fuse", kModeChar, 10, 229), Errno::kNXIO);
    EXPECT_EQ(make_device(files, "/mem", kModeChar, 1, 1), Errno::kNXIO);
    EXPECT_EQ(make_device(files, "/sda", kModeBlock, 8, 0), Errno::kNXIO);
    EXPECT_EQ(files.list("/"), "");
}

SENTRY_TEST(Devices, ReplaceNodesAndNothingElse) {
    Files files;
    files.write_file("/file", "kept");
    ASSERT_EQ(make_device(files, "/null", kModeChar, 1, 3, 0600), kNoError);
    ASSERT_EQ(make_device(files, "/null", kModeChar, 1, 5, 0644), kNoError);
    EXPECT_EQ(files.stat("/null").rdev, vfs::make_device(1, 5));
    EXPECT_EQ(files.stat("/null").mode, kModeChar | 0644);
    ASSERT_EQ(make_device(files, "/file", kModeChar, 1, 3), kNoError);
    EXPECT_EQ(files.read_file("/file"), "kept");
}

}  // namespace
}  // namespace kvmsbx::vfs
