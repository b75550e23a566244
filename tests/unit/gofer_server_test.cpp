#include <sys/socket.h>
#include <sys/sysmacros.h>

#include <chrono>
#include <fstream>
#include <map>
#include <set>
#include <thread>

#include "gofer/serve.hpp"
#include "tests/unit/gofer_client.hpp"

namespace kvmsbx::gofer {
namespace {

using namespace p9;
namespace fs = std::filesystem;

class GoferServer : public testing::Test {
  protected:
    void SetUp() override {
        fixture.start();
        client.attach();
    }
    void write_file(const fs::path& path, std::string_view text) { std::ofstream(path) << text; }
    std::string contents(const fs::path& path) {
        std::ifstream file(path);
        return {std::istreambuf_iterator<char>(file), {}};
    }
    struct stat stat_of(const fs::path& path) {
        struct stat st {};
        EXPECT_EQ(lstat(path.c_str(), &st), 0) << path;
        return st;
    }
    fs::path root() { return fixture.root(); }

    ServerFixture fixture;
    Client client{fixture.transport()};
};

TEST_F(GoferServer, NegotiatesTheVersion) {
    EXPECT_EQ(client.call(Tversion{65536, "9P2000.L"}).value().version, "9P2000.L");
    EXPECT_EQ(client.error(Twalkattr{}), Errno::kOPNOTSUPP);  // not negotiated
    EXPECT_EQ(client.call(Tversion{65536, "9P2000.L.other.7"}).value().version, "9P2000.L");
    EXPECT_EQ(client.call(Tversion{65536, "9P2000.u"}).value().version, "unknown");
    EXPECT_EQ(client.error(Tattach{.fid = 0, .uname = "", .aname = ""}), Errno::kPROTO);
    Rversion big = client.call(Tversion{~0u, "9P2000.L.kvmsbx.2"}).value();
    EXPECT_EQ(big.msize, 0x21000u);
    EXPECT_EQ(client.error(Tversion{100, "9P2000.L"}), Errno::kINVAL);
}

TEST_F(GoferServer, VersionForgetsAllFids) {
    EXPECT_EQ(fixture.server().fid_count(), 1u);
    client.call(Tversion{65536, "9P2000.L"}).value();
    EXPECT_EQ(fixture.server().fid_count(), 0u);
    EXPECT_EQ(client.error(Tgetattr{.fid = 0}), Errno::kBADF);
}

TEST_F(GoferServer, AttachRefusesWhatIsNotThere) {
    EXPECT_EQ(client.error(Tattach{.fid = 0, .uname = "", .aname = ""}), Errno::kINVAL);  // in use
    for (std::string_view aname : {"0", "-1", "..", "root", "1x", "99999999999999999999"})
        EXPECT_EQ(client.error(Tattach{.fid = 5, .uname = "", .aname = aname}), Errno::kNOENT) << aname;
    EXPECT_EQ(client.error(Tattach{.fid = kNoFid, .uname = "", .aname = ""}), Errno::kINVAL);
    EXPECT_EQ(client.error(Tattach{.fid = 5, .afid = 1, .uname = "", .aname = ""}), Errno::kINVAL);
    EXPECT_EQ(client.error(Tauth{}), Errno::kNOENT);
}

TEST_F(GoferServer, ReadsAndWritesFiles) {
    write_file(root() / "f", "hello");
    ASSERT_EQ(client.walk(0, 1, "f"), Errno{});
    EXPECT_EQ(client.error(Tread{1, 0, 10}), Errno::kBADF);
    Rlopen opened = client.call(Tlopen{1, kOpenReadWrite}).value();
    EXPECT_EQ(opened.qid.type, kQidFile);
    EXPECT_EQ(client.error(Tlopen{1, kOpenReadWrite}), Errno::kBUSY);
    EXPECT_EQ(client.read(1), "hello");
    EXPECT_EQ(client.read(1, 3), "lo");
    EXPECT_EQ(client.read(1, 100), "");
    EXPECT_EQ(client.error(Tread{1, ~uint64_t{0}, 10}), Errno::kINVAL);
    EXPECT_EQ(client.call(Twrite{1, 5, Client::data(" world")}).value().count, 6u);
    EXPECT_EQ(client.error(Twrite{1, ~uint64_t{0}, Client::data("x")}), Errno::kINVAL);
    EXPECT_EQ(contents(root() / "f"), "hello world");
    EXPECT_TRUE(client.call(Tfsync{1, {0}}).is_ok());
    EXPECT_TRUE(client.call(Tfsync{1, {1}}).is_ok());
    EXPECT_TRUE(client.call(Tclunk{1}).is_ok());
    EXPECT_EQ(client.error(Tclunk{1}), Errno::kBADF);
    EXPECT_TRUE(client.call(Tflush{3}).is_ok());
}

TEST_F(GoferServer, MovesAMessageFullOfData) {
    std::string big(128 * 1024, 'a');
    big[100'000] = 'b';
    client.call(Tlcreate{.fid = 0, .name = "big", .flags = kOpenReadWrite, .mode = 0600}).value();
    EXPECT_EQ(client.call(Twrite{0, 0, Client::data(big)}).value().count, big.size());
    EXPECT_EQ(client.read(0), big);
    EXPECT_EQ(client.read(0, 0, ~0u).size(), big.size());
}

TEST_F(GoferServer, CreatesWithTheModeGiven) {
    ASSERT_EQ(client.walk(0, 1, ""), Errno{});
    client.call(Tlcreate{.fid = 1, .name = "f", .flags = kOpenReadWrite, .mode = 06755}).value();
    EXPECT_EQ(stat_of(root() / "f").st_mode, S_IFREG | 06755u);
    client.call(Twrite{1, 0, Client::data("x")}).value();
    client.call(Tmkdir{.dfid = 0, .name = "d", .mode = 01777}).value();
    EXPECT_EQ(stat_of(root() / "d").st_mode, S_IFDIR | 01777u);
    client.call(Tmknod{.dfid = 0, .name = "p", .mode = S_IFIFO | 0622}).value();
    EXPECT_EQ(stat_of(root() / "p").st_mode, S_IFIFO | 0622u);
    client.call(Tsymlink{.dfid = 0, .name = "l", .target = "/etc/passwd"}).value();
    EXPECT_EQ(fs::read_symlink(root() / "l"), "/etc/passwd");
    EXPECT_EQ(client.error(Tmkdir{.dfid = 0, .name = "d", .mode = 0755}), Errno::kEXIST);
    EXPECT_EQ(client.error(Tlcreate{.fid = 0, .name = "f", .flags = kOpenExclusive, .mode = 0}), Errno::kEXIST);
    client.call(Tlcreate{.fid = 0, .name = "f", .flags = kOpenReadOnly, .mode = 0}).value();  // opens what is there
    EXPECT_EQ(client.read(0), "x");
}

TEST_F(GoferServer, CreatesForTheOwnerGiven) {
    if (geteuid() != 0) GTEST_SKIP() << "needs root";
    client.call(Tattach{.fid = 9, .uname = "", .aname = "", .n_uname = 1000}).value();
    client.call(Tmkdir{.dfid = 9, .name = "d", .mode = 0700, .gid = 1001}).value();
    client.call(Tsymlink{.dfid = 9, .name = "l", .target = "x", .gid = 1002}).value();
    client.call(Tmknod{.dfid = 9, .name = "dev", .mode = S_IFCHR | 0600, .major = 1, .minor = 3, .gid = 5}).value();
    client
        .call(Tcreatefid{.dfid = 0,
                         .nodefid = 1,
                         .openfid = 2,
                         .name = "f",
                         .flags = kOpenReadWrite,
                         .mode = 04711,
                         .uid = 33,
                         .gid = 34})
        .value();
    client.call(Tlcreate{.fid = 9, .name = "g", .flags = kOpenReadWrite, .mode = 0640, .gid = 7}).value();
    EXPECT_EQ(stat_of(root() / "d").st_uid, 1000u);
    EXPECT_EQ(stat_of(root() / "d").st_gid, 1001u);
    EXPECT_EQ(stat_of(root() / "l").st_gid, 1002u);
    EXPECT_EQ(stat_of(root() / "dev").st_rdev, makedev(1, 3));
    EXPECT_EQ(stat_of(root() / "f").st_uid, 33u);
    EXPECT_EQ(stat_of(root() / "f").st_mode, S_IFREG | 04711u);
    EXPECT_EQ(stat_of(root() / "g").st_uid, 1000u);
    EXPECT_EQ(stat_of(root() / "g").st_gid, 7u);
}

TEST_F(GoferServer, ASetgidDirectoryGivesItsGroup) {
    if (geteuid() != 0) GTEST_SKIP() << "needs root";
    fs::create_directory(root() / "d");
    ASSERT_EQ(chown((root() / "d").c_str(), 0, 50), 0);
    ASSERT_EQ(chmod((root() / "d").c_str(), 02755), 0);
    ASSERT_EQ(client.walk(0, 1, "d"), Errno{});
    client.call(Tmakenode{.dfid = 1, .newfid = 2, .name = "sub", .mode = S_IFDIR | 0755, .uid = 8}).value();
    EXPECT_EQ(stat_of(root() / "d/sub").st_gid, 50u);
    EXPECT_EQ(stat_of(root() / "d/sub").st_uid, 8u);
    EXPECT_EQ(stat_of(root() / "d/sub").st_mode, S_IFDIR | 02755u);
}

TEST_F(GoferServer, GivesAllAttributes) {
    write_file(root() / "f", std::string(5000, 'x'));
    fs::create_hard_link(root() / "f", root() / "g");
    struct stat st = stat_of(root() / "f");
    ASSERT_EQ(client.walk(0, 1, "f"), Errno{});
    Attr attr = client.call(Tgetattr{.fid = 1}).value().attr;
    EXPECT_EQ(attr.valid & kGetattrBasic, kGetattrBasic);
    EXPECT_EQ(attr.mode, st.st_mode);
    EXPECT_EQ(attr.nlink, 2u);
    EXPECT_EQ(attr.size, 5000u);
    EXPECT_EQ(attr.blocks, static_cast<uint64_t>(st.st_blocks));
    EXPECT_EQ(attr.blksize, static_cast<uint64_t>(st.st_blksize));
    EXPECT_EQ(attr.mtime_sec, static_cast<uint64_t>(st.st_mtim.tv_sec));
    EXPECT_EQ(attr.mtime_nsec, static_cast<uint64_t>(st.st_mtim.tv_nsec));
    EXPECT_EQ(attr.ctime_nsec, static_cast<uint64_t>(st.st_ctim.tv_nsec));
    EXPECT_EQ(attr.uid, st.st_uid);
    ASSERT_EQ(client.walk(0, 2, "g"), Errno{});
    EXPECT_EQ(client.call(Tgetattr{.fid = 2}).value().attr.qid, attr.qid);  // one inode, one qid
}

TEST_F(GoferServer, SetsAttributes) {
    write_file(root() / "f", "hello");
    ASSERT_EQ(client.walk(0, 1, "f"), Errno{});
    client
        .call(Tsetattr{1,
                       {.valid = kSetMode | kSetSize | kSetAtime | kSetAtimeSet | kSetMtime | kSetMtimeSet,
                        .mode = 04751,
                        .size = 2,
                        .atime_sec = 1000,
                        .atime_nsec = 1,
                        .mtime_sec = 2000,
                        .mtime_nsec = 999'999'999}})
        .value();
    struct stat st = stat_of(root() / "f");
    EXPECT_EQ(st.st_mode, S_IFREG | 04751u);
    EXPECT_EQ(st.st_size, 2);
    EXPECT_EQ(st.st_atim.tv_sec, 1000);
    EXPECT_EQ(st.st_mtim.tv_nsec, 999'999'999);
    Attr attr = client.call(Tsetattrget{1, {.valid = kSetMtime}}).value().attr;  // now
    EXPECT_GT(attr.mtime_sec, 1'000'000'000u);
    EXPECT_EQ(attr.atime_sec, 1000u);
    EXPECT_EQ(client.error(Tsetattr{1, {.valid = kSetMtime | kSetMtimeSet, .mtime_nsec = (1l << 30) - 1}}),
              Errno::kINVAL);  // UTIME_NOW's number
    EXPECT_EQ(client.error(Tsetattr{1, {.valid = kSetSize, .size = ~uint64_t{0}}}), Errno::kINVAL);
    EXPECT_EQ(client.error(Tsetattr{0, {.valid = kSetSize}}), Errno::kISDIR);
    if (geteuid() != 0) return;
    client.call(Tsetattr{1, {.valid = kSetUid | kSetGid, .uid = 12, .gid = 13}}).value();
    EXPECT_EQ(stat_of(root() / "f").st_uid, 12u);
    EXPECT_EQ(stat_of(root() / "f").st_mode & 07000u, 0u);  // chown clears suid, as on Linux
}

TEST_F(GoferServer, ASymlinksOwnAttributesAreSetAndNotItsTargets) {
    if (geteuid() != 0) GTEST_SKIP() << "needs root";
    write_file(fixture.outside() / "secret", "s");
    fs::create_symlink(fixture.outside() / "secret", root() / "l");
    ASSERT_EQ(client.walk(0, 1, "l"), Errno{});
    client.call(Tsetattr{1, {.valid = kSetUid | kSetMtime | kSetMtimeSet, .uid = 77, .mtime_sec = 5}}).value();
    EXPECT_EQ(client.error(Tsetattr{1, {.valid = kSetMode, .mode = 0777}}), Errno::kOPNOTSUPP);
    EXPECT_EQ(client.error(Tsetattr{1, {.valid = kSetSize, .size = 0}}), Errno::kINVAL);
    EXPECT_EQ(stat_of(root() / "l").st_uid, 77u);
    EXPECT_EQ(stat_of(root() / "l").st_mtim.tv_sec, 5);
    EXPECT_EQ(stat_of(fixture.outside() / "secret").st_uid, 0u);
    EXPECT_EQ(contents(fixture.outside() / "secret"), "s");
}

TEST_F(GoferServer, LinksRenamesAndRemoves) {
    write_file(root() / "f", "1");
    fs::create_directory(root() / "d");
    ASSERT_EQ(client.walk(0, 1, "f"), Errno{});
    ASSERT_EQ(client.walk(0, 2, "d"), Errno{});
    client.call(Tlink{2, 1, "hard"}).value();
    EXPECT_EQ(stat_of(root() / "f").st_nlink, 2u);
    client.call(Trenameat{0, "f", 2, "moved"}).value();
    EXPECT_FALSE(fs::exists(root() / "f"));
    EXPECT_EQ(contents(root() / "d/moved"), "1");
    ASSERT_EQ(client.walk(2, 3, "moved"), Errno{});
    client.call(Trename{3, 0, "back"}).value();
    EXPECT_EQ(contents(root() / "back"), "1");
    client.call(Tremove{3}).value();  // follows the rename
    EXPECT_FALSE(fs::exists(root() / "back"));
    EXPECT_EQ(client.error(Tgetattr{.fid = 3}), Errno::kBADF);
    EXPECT_EQ(client.error(Tremove{1}), Errno::kNOENT);  // its name is gone
    EXPECT_EQ(client.error(Tunlinkat{0, "d", 0}), Errno::kISDIR);
    EXPECT_EQ(client.error(Tunlinkat{0, "d", kUnlinkDirectory}), Errno::kNOTEMPTY);
    EXPECT_EQ(client.error(Tunlinkat{0, "d", 1}), Errno::kINVAL);
    client.call(Tunlinkat{2, "hard", 0}).value();
    client.call(Tunlinkat{0, "d", kUnlinkDirectory}).value();
    EXPECT_TRUE(fs::is_empty(root()));
}

TEST_F(GoferServer, RemoveTakesOnlyTheFileThatWasWalkedTo) {
    write_file(root() / "f", "1");
    ASSERT_EQ(client.walk(0, 1, "f"), Errno{});
    fs::remove(root() / "f");
    write_file(root() / "other", "2");
    fs::rename(root() / "other", root() / "f");
    EXPECT_EQ(client.error(Tremove{1}), Errno::kSTALE);
    EXPECT_EQ(contents(root() / "f"), "2");
}

TEST_F(GoferServer, AFileLivesOnWhenItsNameIsGone) {
    write_file(root() / "f", "1");
    ASSERT_EQ(client.walk(0, 1, "f"), Errno{});
    client.call(Tunlinkat{0, "f", 0}).value();
    EXPECT_EQ(client.call(Tgetattr{.fid = 1}).value().attr.nlink, 0u);
    client.call(Tlopen{1, kOpenReadOnly}).value();
    EXPECT_EQ(client.read(1), "1");
}

TEST_F(GoferServer, ReadsDirectoriesInPiecesWithStableCookies) {
    std::set<std::string> expected{".", ".."};
    for (int i = 0; i < 500; i++) {
        std::string name = "file-with-a-rather-long-name-" + std::to_string(i);
        write_file(root() / name, "");
        expected.insert(name);
    }
    ASSERT_EQ(client.walk(0, 1, ""), Errno{});
    EXPECT_EQ(client.error(Treaddir{1, 0, 1000}), Errno::kBADF);
    client.call(Tlopen{1, kOpenDirectory}).value();
    EXPECT_EQ(client.error(Treaddir{1, 0, 10}), Errno::kINVAL);
    EXPECT_EQ(client.error(Tread{1, 0, 10}), Errno::kISDIR);
    for (uint32_t count : {200u, 5000u, 100'000u}) {
        std::set<std::string> seen;
        std::map<std::string, uint64_t> cookies;
        uint64_t offset = 0;
        for (;;) {
            auto reply = client.call(Treaddir{1, offset, count});
            std::span<const uint8_t> data = reply.value().data.bytes;
            ASSERT_LE(data.size(), count);
            if (data.empty()) break;
            DirEntry entry;
            while (next_entry(data, entry).value()) {
                EXPECT_TRUE(seen.insert(std::string(entry.name)).second) << entry.name;
                cookies[std::string(entry.name)] = offset = entry.offset;
            }
        }
        EXPECT_EQ(seen, expected);
        // A cookie from the middle continues from there.
        auto reply = client.call(Treaddir{1, cookies.begin()->second, count});
        EXPECT_TRUE(reply.is_ok());
    }
}

TEST_F(GoferServer, ReadsDirectoriesWithAttributes) {
    write_file(root() / "f", "12345");
    fs::create_directory(root() / "d");
    fs::create_symlink("nowhere", root() / "l");
    client.call(Topenfid{0, 1, kOpenDirectory, 0}).value();
    auto reply = client.call(Treaddirattr{1, 0, 100'000});
    std::span<const uint8_t> data = reply.value().data.bytes;
    std::map<std::string, Attr> entries;
    DirEntryAttr entry;
    while (next_entry(data, entry).value()) entries[std::string(entry.name)] = entry.attr;
    ASSERT_EQ(entries.size(), 5u);
    EXPECT_EQ(entries["."].valid, 0u);  // "." and ".." come without attributes
    EXPECT_EQ(entries[".."].valid, 0u);
    EXPECT_EQ(entries["f"].size, 5u);
    EXPECT_TRUE(S_ISDIR(entries["d"].mode));
    EXPECT_TRUE(S_ISLNK(entries["l"].mode));
    ASSERT_EQ(client.walk(0, 2, "f"), Errno{});
    EXPECT_EQ(client.call(Tgetattr{.fid = 2}).value().attr, entries["f"]);
}

TEST_F(GoferServer, RenamesWithFlags) {
    write_file(root() / "a", "A");
    write_file(root() / "b", "B");
    EXPECT_EQ(client.error(Trenameflags{0, "a", 0, "b", 1}), Errno::kEXIST);
    EXPECT_EQ(client.error(Trenameflags{0, "a", 0, "b", 4}), Errno::kINVAL);
    EXPECT_EQ(client.error(Trenameflags{0, "a", 0, "../b", 2}), Errno::kINVAL);
    EXPECT_EQ(client.error(Trenameflags{0, "a", 0, "b", 2}), Errno{});
    ASSERT_EQ(client.walk(0, 2, "a"), Errno{});
    client.call(Tlopen{2, 0}).value();
    EXPECT_EQ(client.read(2), "B");
}

TEST_F(GoferServer, Allocates) {
    write_file(root() / "f", "12345");
    ASSERT_EQ(client.walk(0, 2, "f"), Errno{});
    EXPECT_EQ(client.error(Tallocate{2, 0, 0, 100}), Errno::kBADF);
    client.call(Tlopen{2, kOpenReadWrite}).value();
    EXPECT_EQ(client.call(Tallocate{2, 0, 0, 100}).value().attr.size, 100u);
    EXPECT_EQ(client.call(Tallocate{2, 1, 0, 1000}).value().attr.size, 100u);
    EXPECT_EQ(client.error(Tallocate{2, 8, 0, 4096}), Errno::kOPNOTSUPP);
    EXPECT_EQ(client.error(Tallocate{2, 0, ~uint64_t{0}, 1}), Errno::kINVAL);
}

TEST_F(GoferServer, WalkattrMakesAFidPerComponentAndStopsAtLinksAndErrors) {
    fs::create_directories(root() / "a/b");
    write_file(root() / "a/b/c", "c!");
    fs::create_symlink("b", root() / "a/link");
    Rwalkattr all = client.call(Twalkattr{0, 10, Client::names("a/b/c")}).value();
    ASSERT_EQ(all.attrs.count, 3);
    EXPECT_EQ(all.error, 0u);
    EXPECT_EQ(all.attrs[2].size, 2u);
    EXPECT_EQ(client.call(Tgetattr{.fid = 11}).value().attr.qid, all.attrs[1].qid);
    EXPECT_EQ(client.error(Twalkattr{0, 9, Client::names("a/b")}), Errno::kINVAL);  // fid 10 is taken
    EXPECT_EQ(client.error(Tgetattr{.fid = 9}), Errno::kBADF);

    Rwalkattr link = client.call(Twalkattr{0, 20, Client::names("a/link/c")}).value();
    ASSERT_EQ(link.attrs.count, 2);
    EXPECT_EQ(link.error, 0u);
    EXPECT_TRUE(S_ISLNK(link.attrs[1].mode));
    EXPECT_EQ(client.call(Treadlink{21}).value().target, "b");
    EXPECT_EQ(client.error(Treadlink{20}), Errno::kINVAL);

    Rwalkattr missing = client.call(Twalkattr{0, 30, Client::names("a/none/c")}).value();
    ASSERT_EQ(missing.attrs.count, 1);
    EXPECT_EQ(missing.error, static_cast<uint32_t>(Errno::kNOENT));
    EXPECT_EQ(client.error(Tgetattr{.fid = 31}), Errno::kBADF);
    Rwalkattr nothing = client.call(Twalkattr{0, 40, Client::names("none")}).value();
    EXPECT_EQ(nothing.attrs.count, 0);
    EXPECT_EQ(nothing.error, static_cast<uint32_t>(Errno::kNOENT));

    Rwalkattr clone = client.call(Twalkattr{12, 50, {}}).value();
    EXPECT_EQ(clone.attrs[0].qid, all.attrs[2].qid);

    Tclunkmany many;
    for (uint32_t fid : {10, 11, 12, 20, 21, 30, 50, 999}) many.fids.push(fid);
    client.call(many).value();
    EXPECT_EQ(fixture.server().fid_count(), 1u);
}

TEST_F(GoferServer, OpenfidOpensAndReadsInOneRoundTrip) {
    write_file(root() / "f", "hello");
    ASSERT_EQ(client.walk(0, 1, "f"), Errno{});
    Ropenfid opened = client.call(Topenfid{1, 2, kOpenReadOnly, 4096}).value();
    EXPECT_EQ(std::string(opened.data.bytes.begin(), opened.data.bytes.end()), "hello");
    EXPECT_EQ(opened.attr.size, 5u);
    EXPECT_EQ(client.read(2), "hello");
    EXPECT_EQ(client.error(Tread{1, 0, 10}), Errno::kBADF);  // fid 1 is still one to walk from
    Ropenfid truncated = client.call(Topenfid{1, 3, kOpenReadWrite | kOpenTruncate, 4096}).value();
    EXPECT_EQ(truncated.attr.size, 0u);
    EXPECT_EQ(client.error(Topenfid{1, 2, kOpenReadOnly, 0}), Errno::kINVAL);
    EXPECT_EQ(client.error(Topenfid{1, 9, kOpenDirectory, 0}), Errno::kNOTDIR);
    EXPECT_EQ(client.error(Topenfid{0, 9, kOpenReadWrite, 0}), Errno::kISDIR);
    EXPECT_EQ(client.error(Topenfid{1, 9, 3, 0}), Errno::kINVAL);
}

TEST_F(GoferServer, OpenfidOpensByNameToo) {
    write_file(root() / "f", "hello");
    fs::create_symlink("f", root() / "link");
    Ropenfid opened = client.call(Topenfid{0, 2, kOpenReadOnly, 4096, "f"}).value();
    EXPECT_EQ(std::string(opened.data.bytes.begin(), opened.data.bytes.end()), "hello");
    EXPECT_EQ(client.read(2), "hello");
    EXPECT_EQ(client.error(Topenfid{0, 3, kOpenReadOnly, 0, "missing"}), Errno::kNOENT);
    EXPECT_EQ(client.error(Topenfid{0, 3, kOpenReadOnly, 0, "link"}), Errno::kLOOP);
    EXPECT_EQ(client.error(Topenfid{0, 3, kOpenReadOnly, 0, "../f"}), Errno::kINVAL);
    EXPECT_EQ(client.error(Topenfid{0, 3, kOpenReadOnly, 0, ".."}), Errno::kINVAL);
    EXPECT_EQ(client.error(Topenfid{2, 3, kOpenReadOnly, 0, "f"}), Errno::kNOTDIR);
    EXPECT_EQ(fixture.server().fid_count(), 2u);
}

TEST_F(GoferServer, CreatefidMakesANodeAndAnOpenFile) {
    client.call(Tcreatefid{.dfid = 0, .nodefid = 1, .openfid = 2, .name = "f", .flags = kOpenReadWrite, .mode = 0600})
        .value();
    client.call(Twrite{2, 0, Client::data("abc")}).value();
    EXPECT_EQ(client.call(Tgetattr{.fid = 1}).value().attr.size, 3u);
    EXPECT_EQ(client.error(Tcreatefid{
                  .dfid = 0, .nodefid = 3, .openfid = 4, .name = "f", .flags = kOpenReadWrite, .mode = 0600}),
              Errno::kEXIST);
    EXPECT_EQ(client.error(Tcreatefid{.dfid = 0, .nodefid = 3, .openfid = 3, .name = "g", .flags = 0, .mode = 0}),
              Errno::kINVAL);
    EXPECT_EQ(client.error(Tcreatefid{.dfid = 1, .nodefid = 3, .openfid = 4, .name = "g", .flags = 0, .mode = 0}),
              Errno::kNOTDIR);
}

TEST_F(GoferServer, AppendsWhereTheFileEndsNow) {
    write_file(root() / "log", "one\n");
    ASSERT_EQ(client.walk(0, 1, "log"), Errno{});
    client.call(Tlopen{1, kOpenWriteOnly | kOpenAppend}).value();
    write_file(root() / "log", "one\ntwo\n");
    client.call(Twrite{1, 0, Client::data("three\n")}).value();
    EXPECT_EQ(contents(root() / "log"), "one\ntwo\nthree\n");
}

TEST_F(GoferServer, ExtendedAttributes) {
    write_file(root() / "f", "");
    ASSERT_EQ(client.walk(0, 1, "f"), Errno{});
    ASSERT_EQ(client.walk(0, 2, "f"), Errno{});
    client.call(Txattrcreate{.fid = 2, .name = "user.k", .attr_size = 5, .flags = 0}).value();
    client.call(Twrite{2, 0, Client::data("val")}).value();
    EXPECT_EQ(client.error(Twrite{2, 3, Client::data("too long")}), Errno::kINVAL);
    client.call(Twrite{2, 3, Client::data("ue")}).value();
    Errno set = client.error(Tclunk{2});
    if (set == Errno::kOPNOTSUPP) GTEST_SKIP() << "no user.* attributes on this file system";
    ASSERT_EQ(set, Errno{});
    EXPECT_EQ(client.call(Txattrwalk{1, 3, "user.k"}).value().size, 5u);
    EXPECT_EQ(client.read(3), "value");
    EXPECT_EQ(client.read(3, 3, 1), "u");
    EXPECT_EQ(client.call(Txattrwalk{1, 4, ""}).value().size, 7u);
    EXPECT_EQ(client.read(4), std::string("user.k\0", 7));
    EXPECT_EQ(client.error(Txattrwalk{1, 5, "trusted.overlay.opaque"}), Errno::kOPNOTSUPP);
    EXPECT_EQ(client.error(Txattrcreate{.fid = 1, .name = "security.selinux", .attr_size = 1, .flags = 0}),
              Errno::kOPNOTSUPP);
    ASSERT_EQ(client.walk(0, 6, "f"), Errno{});
    client.call(Txattrcreate{.fid = 6, .name = "user.k", .attr_size = 0, .flags = 2}).value();
    EXPECT_EQ(client.error(Tclunk{6}), Errno{});
    EXPECT_EQ(client.error(Txattrwalk{1, 7, "user.k"}), Errno::kNODATA);
}

TEST_F(GoferServer, StatfsIsTheHosts) {
    Rstatfs reply = client.call(Tstatfs{0}).value();
    EXPECT_GT(reply.blocks, 0u);
    EXPECT_EQ(reply.namelen, 255u);
}

TEST(GoferSocket, ServesTheBaseProtocolOverASocketpair) {
    ServerFixture fixture;
    std::ofstream(fixture.root() / "f") << "over a socket";
    fixture.start();
    int sockets[2];
    ASSERT_EQ(socketpair(AF_UNIX, SOCK_STREAM, 0, sockets), 0);
    ServeEnd end{};
    std::thread gofer([&] { end = serve_socket(fixture.server(), sockets[1], -1); });
    std::vector<uint8_t> reply(0x21000);
    Client client([&](std::span<const uint8_t> request) -> std::span<const uint8_t> {
        EXPECT_EQ(send(sockets[0], request.data(), request.size(), 0), static_cast<ssize_t>(request.size()));
        EXPECT_EQ(recv(sockets[0], reply.data(), 4, MSG_WAITALL), 4);
        uint32_t size;
        memcpy(&size, reply.data(), 4);
        EXPECT_EQ(recv(sockets[0], reply.data() + 4, size - 4, MSG_WAITALL), size - 4);
        return std::span<const uint8_t>(reply).first(size);
    });
    client.attach(0, "", kVersionBase);
    EXPECT_EQ(client.walk(0, 1, "f"), Errno{});
    client.call(Tlopen{1, kOpenReadOnly}).value();
    EXPECT_EQ(client.read(1), "over a socket");
    close(sockets[0]);
    gofer.join();
    close(sockets[1]);
    EXPECT_EQ(end, ServeEnd::kPeerGone);
}

}  // namespace
}  // namespace kvmsbx::gofer
