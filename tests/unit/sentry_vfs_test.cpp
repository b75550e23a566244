// Path walk, names, permissions, descriptors and tmpfs of the Sentry.
#include "tests/unit/sentry_files.hpp"

#include "guestkernel/vfs/dentry.hpp"
#include "guestkernel/vfs/locks.hpp"
#include "guestkernel/vfs/mount_tree.hpp"

namespace kvmsbx::vfs {
namespace {

SENTRY_TEST(Walk, FollowsNamesDotsAndSlashes) {
    Files files;
    ASSERT_EQ(files.mkdir("/a"), kNoError);
    ASSERT_EQ(files.mkdir("/a/b"), kNoError);
    files.write_file("/a/b/f", "x");
    EXPECT_EQ(files.walk_error("//a/./b/../b//f"), kNoError);
    EXPECT_EQ(files.walk_error("/../../a"), kNoError);
    EXPECT_EQ(files.walk_error(""), Errno::kNOENT);
    EXPECT_EQ(files.walk_error("/a/missing"), Errno::kNOENT);
    EXPECT_EQ(files.walk_error("/a/missing/f"), Errno::kNOENT);
    EXPECT_EQ(files.walk_error("/a/b/f/g"), Errno::kNOTDIR);
    EXPECT_EQ(files.walk_error("/a/b/f/"), Errno::kNOTDIR);
    EXPECT_EQ(files.walk_error("/a/b/f/."), Errno::kNOTDIR);
    EXPECT_EQ(files.walk_error("/a/b/"), kNoError);
    EXPECT_EQ(files.walk_error(std::string("/") + std::string(256, 'n')), Errno::kNAMETOOLONG);
    EXPECT_EQ(files.walk_error(std::string(4096, '/')), Errno::kNAMETOOLONG);
}

SENTRY_TEST(Walk, FollowsLinks) {
    Files files;
    ASSERT_EQ(files.mkdir("/a"), kNoError);
    files.write_file("/a/f", "x");
    ASSERT_EQ(files.symlink("a", "/relative"), kNoError);
    ASSERT_EQ(files.symlink("/a/f", "/absolute"), kNoError);
    ASSERT_EQ(files.symlink("absolute", "/twice"), kNoError);
    ASSERT_EQ(files.symlink("loop", "/loop"), kNoError);
    ASSERT_EQ(files.symlink("a/", "/slash"), kNoError);
    EXPECT_EQ(files.walk_error("/relative/f"), kNoError);
    EXPECT_EQ(files.walk_error("/twice"), kNoError);
    EXPECT_EQ(files.walk_error("/slash/f"), kNoError);
    EXPECT_EQ(files.walk_error("/loop"), Errno::kLOOP);
    EXPECT_EQ(files.walk_error("/loop/x"), Errno::kLOOP);
    EXPECT_TRUE(files.find("/twice", Follow::kNo).inode().is_link());
    EXPECT_TRUE(files.find("/relative/", Follow::kNo).inode().is_directory());
    EXPECT_EQ(files.open_error("/absolute", kORdonly | kONofollow), Errno::kLOOP);
    for (int i = 0; i < 41; ++i)
        ASSERT_EQ(files.symlink(i ? "chain" + std::to_string(i - 1) : "a", "chain" + std::to_string(i)), kNoError);
    EXPECT_EQ(files.walk_error("/chain39"), kNoError);
    EXPECT_EQ(files.walk_error("/chain40"), Errno::kLOOP);
}

SENTRY_TEST(Walk, StopsWithoutSearchPermission) {
    Files files;
    ASSERT_EQ(files.mkdir("/closed", 0700), kNoError);
    files.write_file("/closed/f", "x");
    files.become(1000);
    EXPECT_EQ(files.walk_error("/closed"), kNoError);
    EXPECT_EQ(files.walk_error("/closed/f"), Errno::kACCES);
    EXPECT_EQ(files.walk_error("/closed/.."), Errno::kACCES);
}

SENTRY_TEST(Walk, CrossesMountsBothWays) {
    Files files;
    ASSERT_EQ(mount_spec(*files.context, {"tmpfs", "", "/mnt/inner", "", 0}).is_ok(), true);
    files.write_file("/mnt/inner/f", "x");
    EXPECT_EQ(files.walk_error("/mnt/inner/../inner/f"), kNoError);
    EXPECT_NE(files.find("/mnt/inner").inode().fs().device, files.find("/mnt").inode().fs().device);
    EXPECT_EQ(files.rmdir("/mnt/inner"), Errno::kBUSY);
    EXPECT_EQ(files.move("/mnt/inner/f", "/f"), Errno::kXDEV);
    EXPECT_EQ(path_string(files.find("/mnt/inner/f"), files.root()).release_value().view(), "/mnt/inner/f");
}

SENTRY_TEST(Names, CreateFollowsUmaskAndSetgidDirectories) {
    Files files;
    files.context->umask = 027;
    ASSERT_EQ(files.mkdir("/d", 0777), kNoError);
    EXPECT_EQ(files.stat("/d").mode, kModeDirectory | 0750);
    ASSERT_TRUE(change_owner(files.caller(), files.find("/d"), ~0U, 50).is_ok());
    ASSERT_TRUE(change_mode(files.caller(), files.find("/d"), 02777).is_ok());
    files.write_file("/d/f", "");
    EXPECT_EQ(files.stat("/d/f").gid, 50u);
    ASSERT_EQ(files.mkdir("/d/sub"), kNoError);
    EXPECT_TRUE(files.stat("/d/sub").mode & kModeSetgid);
}

SENTRY_TEST(Names, StickyDirectoriesProtectOthersFiles) {
    Files files;
    files.context->umask = 0;
    ASSERT_EQ(files.mkdir("/t", 01777), kNoError);
    files.become(1000);
    files.write_file("/t/mine", "x");
    files.become(2000);
    EXPECT_EQ(files.remove("/t/mine"), Errno::kPERM);
    EXPECT_EQ(files.move("/t/mine", "/t/other"), Errno::kPERM);
    files.become(1000);
    EXPECT_EQ(files.remove("/t/mine"), kNoError);
}

SENTRY_TEST(Names, RenameReplacesAndRefuses) {
    Files files;
    files.write_file("/a", "a");
    files.write_file("/b", "b");
    ASSERT_EQ(files.mkdir("/d"), kNoError);
    ASSERT_EQ(files.mkdir("/d/e"), kNoError);
    EXPECT_EQ(files.move("/a", "/b", 1), Errno::kEXIST);
    EXPECT_EQ(files.move("/a", "/b"), kNoError);
    EXPECT_EQ(files.read_file("/b"), "a");
    EXPECT_EQ(files.walk_error("/a"), Errno::kNOENT);
    EXPECT_EQ(files.move("/b", "/d"), Errno::kISDIR);
    EXPECT_EQ(files.move("/d", "/b"), Errno::kNOTDIR);
    EXPECT_EQ(files.move("/d", "/d/e/x"), Errno::kINVAL);
    EXPECT_EQ(files.move("/d/e", "/d"), Errno::kNOTEMPTY);
    EXPECT_EQ(files.move("/b", "/d/e", 2), kNoError);  // exchange
    EXPECT_EQ(files.read_file("/d/e"), "a");
    EXPECT_TRUE(files.find("/b").inode().is_directory());
    EXPECT_EQ(files.move("/", "/x"), Errno::kBUSY);
    EXPECT_EQ(files.rmdir("/d"), Errno::kNOTEMPTY);
    EXPECT_EQ(files.rmdir("/d/."), Errno::kINVAL);
    EXPECT_EQ(files.remove("/d"), Errno::kISDIR);
}

SENTRY_TEST(Names, UnlinkedFilesLiveWhileOpen) {
    Files files;
    files.write_file("/f", "kept");
    auto file = files.open("/f", kORdwr).release_value();
    ASSERT_EQ(files.remove("/f"), kNoError);
    EXPECT_EQ(Files::read(*file, 10), "kept");
    EXPECT_EQ(file->inode()->attributes().value().nlink, 0u);
    EXPECT_EQ(file->describe().value().view(), std::string_view(file->describe().value().view()));
    EXPECT_TRUE(path_string(*file->path(), files.root()).value().view().ends_with("/f (deleted)"));
    EXPECT_EQ(files.open_error("/f", kORdonly), Errno::kNOENT);
}

SENTRY_TEST(Open, ObeysItsFlags) {
    Files files;
    EXPECT_EQ(files.open_error("/f", kOWronly), Errno::kNOENT);
    EXPECT_EQ(files.open_error("/f", kOWronly | kOCreat | kOExcl), kNoError);
    EXPECT_EQ(files.open_error("/f", kOWronly | kOCreat | kOExcl), Errno::kEXIST);
    EXPECT_EQ(files.open_error("/f/", kOWronly | kOCreat), Errno::kISDIR);
    EXPECT_EQ(files.open_error("/f", kORdonly | kODirectory), Errno::kNOTDIR);
    EXPECT_EQ(files.open_error("/", kOWronly), Errno::kISDIR);
    files.write_file("/f", "12345");
    files.write_file("/f", "67", kOWronly | kOAppend);
    EXPECT_EQ(files.read_file("/f"), "1234567");
    files.write_file("/f", "", kOWronly | kOTrunc);
    EXPECT_EQ(files.read_file("/f"), "");
    ASSERT_EQ(files.symlink("missing", "/dangling"), kNoError);
    EXPECT_EQ(files.open_error("/dangling", kOWronly | kOCreat | kOExcl), Errno::kEXIST);
    EXPECT_EQ(files.open_error("/dangling", kOWronly | kOCreat), kNoError);
    EXPECT_EQ(files.walk_error("/missing"), kNoError);
}

SENTRY_TEST(Tmpfs, HolesReadAsZeroesAndCostNothing) {
    Files files;
    auto file = files.open("/f", kORdwr | kOCreat).release_value();
    ASSERT_TRUE(file->seek(1 << 20, 0).is_ok());
    EXPECT_EQ(Files::write(*file, "end"), 3u);
    EXPECT_EQ(files.stat("/f").size, (1u << 20) + 3);
    EXPECT_EQ(files.stat("/f").blocks, 8u);
    ASSERT_TRUE(file->seek((1 << 20) - 2, 0).is_ok());
    EXPECT_EQ(Files::read(*file, 10), std::string("\0\0end", 5));
    ASSERT_TRUE(truncate(files.caller(), files.find("/f"), 10).is_ok());
    EXPECT_EQ(files.stat("/f").blocks, 0u);
}

SENTRY_TEST(Tmpfs, KeepsItsSize) {
    Files files;
    ASSERT_TRUE(mount_spec(*files.context, {"tmpfs", "", "/small", "size=64k", 0}).is_ok());
    auto file = files.open("/small/f", kOWronly | kOCreat).release_value();
    const std::string piece(48 * 1024, 'x');
    EXPECT_EQ(Files::write(*file, piece), piece.size());
    EXPECT_EQ(Files::write(*file, piece), 16u * 1024);
    EXPECT_EQ(Files::write(*file, piece), ~size_t{0});  // ENOSPC
    file = nullptr;
    EXPECT_EQ(files.remove("/small/f"), kNoError);
    files.write_file("/small/g", piece);
    EXPECT_FALSE(mount_spec(*files.context, {"tmpfs", "", "/bad", "size=lots", 0}).is_ok());
}

SENTRY_TEST(Tmpfs, ReaddirSurvivesChanges) {
    Files files;
    for (int i = 0; i < 100; ++i) files.write_file("/f" + std::to_string(i), "");
    struct Remover final : DirectoryVisitor {
        Files& files;
        int seen = 0;
        explicit Remover(Files& f) : files(f) {}
        bool visit(const DirectoryEntry& entry) override {
            if (entry.name[0] != 'f') return true;
            ++seen;
            EXPECT_EQ(files.remove("/" + std::string(entry.name)), kNoError);
            return true;
        }
    } remover(files);
    auto directory = files.open("/", kORdonly | kODirectory).release_value();
    EXPECT_TRUE(directory->read_directory(remover).is_ok());
    EXPECT_EQ(remover.seen, 100);
    EXPECT_EQ(files.list("/"), "");
}

SENTRY_TEST(Tmpfs, DeepTreesGoWithoutRecursion) {
    Files files;
    ASSERT_TRUE(mount_spec(*files.context, {"tmpfs", "", "/deep", "", 0}).is_ok());
    Path place = files.find("/deep");
    for (int i = 0; i < 20000; ++i) {
        ASSERT_TRUE(make_directory(files.caller(), place, "d", 0755).is_ok());
        place = walk(files.caller(), place, "d", Follow::kYes).release_value();
    }
    place = Path();
    Dentry::shrink(~size_t{0});
    RefPtr<Mount> mount(files.find("/deep").mount());
    EXPECT_TRUE(unmount(*mount, Unmount::kLazily, 0).is_ok());
}

SENTRY_TEST(FdTable, GivesTheLowestFreeDescriptor) {
    Files files;
    auto table = make_ref<FdTable>().release_value();
    auto file = files.open("/", kORdonly).release_value();
    for (int i = 0; i < 5; ++i) EXPECT_EQ(table->install(file, false, 100).value(), i);
    EXPECT_TRUE(table->close(1).is_ok());
    EXPECT_TRUE(table->close(3).is_ok());
    EXPECT_EQ(table->install(file, true, 100, 2).value(), 3);
    EXPECT_EQ(table->install(file, false, 100).value(), 1);
    EXPECT_EQ(table->install(file, false, 100).value(), 5);
    EXPECT_EQ(table->install(file, false, 6).error(), Errno::kMFILE);
    EXPECT_EQ(table->get(7).error(), Errno::kBADF);
    EXPECT_TRUE(table->install_at(50, file, false, 100).is_ok());
    EXPECT_EQ(table->install_at(100, file, false, 100).error(), Errno::kBADF);
    auto copy = table->clone().release_value();
    table->close_all_on_exec();
    EXPECT_EQ(table->get(3).error(), Errno::kBADF);
    EXPECT_TRUE(copy->get(3).is_ok());
    EXPECT_TRUE(table->close_range(2, 60).is_ok());
    EXPECT_EQ(table->next_open(2), -1);
}

SENTRY_TEST(Locks, SplitAndConflict) {
    Files files;
    files.write_file("/f", "x");
    Inode& inode = files.find("/f").inode();
    int a, b;
    EXPECT_TRUE(set_record_lock(inode, {LockType::kWrite, LockKind::kPosix, 0, 100, &a, 1}, LockWait::kNo).is_ok());
    EXPECT_TRUE(set_record_lock(inode, {LockType::kUnlock, LockKind::kPosix, 40, 60, &a, 1}, LockWait::kNo).is_ok());
    EXPECT_EQ(set_record_lock(inode, {LockType::kRead, LockKind::kPosix, 90, 95, &b, 2}, LockWait::kNo).error(),
              Errno::kAGAIN);
    EXPECT_TRUE(set_record_lock(inode, {LockType::kRead, LockKind::kPosix, 45, 55, &b, 2}, LockWait::kNo).is_ok());
    EXPECT_EQ(test_record_lock(inode, {LockType::kWrite, LockKind::kPosix, 0, 200, &b, 2}).pid, 1);
    release_record_locks(inode, &a);
    EXPECT_EQ(test_record_lock(inode, {LockType::kWrite, LockKind::kPosix, 0, 200, &b, 2}).type, LockType::kUnlock);
    EXPECT_TRUE(set_flock(inode, &a, 1, LockType::kRead, LockWait::kNo).is_ok());
    EXPECT_TRUE(set_flock(inode, &b, 1, LockType::kRead, LockWait::kNo).is_ok());
    EXPECT_EQ(set_flock(inode, &a, 1, LockType::kWrite, LockWait::kNo).error(), Errno::kAGAIN);
}

}  // namespace
}  // namespace kvmsbx::vfs
