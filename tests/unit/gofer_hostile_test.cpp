// What a hostile client may try against the server: names, symlinks, devices, races, malformed messages, read-only
// trees.
#include <sys/resource.h>
#include <sys/sysmacros.h>

#include <atomic>
#include <chrono>
#include <fstream>
#include <thread>

#include "tests/unit/gofer_client.hpp"

namespace kvmsbx::gofer {
namespace {

using namespace p9;
namespace fs = std::filesystem;

class GoferHostile : public testing::Test {
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

TEST_F(GoferHostile, NamesThatAreNotOneComponentAreRefusedEverywhere) {
    write_file(fixture.outside() / "secret", "s");
    write_file(root() / "f", "");
    ASSERT_EQ(client.walk(0, 1, "f"), Errno{});
    std::string longest(256, 'n');
    for (std::string_view bad : {std::string_view(""), std::string_view("."), std::string_view(".."),
                                 std::string_view("../outside"), std::string_view("/"), std::string_view("a/b"),
                                 std::string_view("f\0g", 3), std::string_view("/etc"), std::string_view(longest)}) {
        Twalk walk{.fid = 0, .newfid = 7, .names = {}};
        walk.names.push(bad);
        EXPECT_NE(client.error(walk), Errno{}) << bad;
        Twalkattr walkattr{.fid = 0, .newfid = 7, .names = {}};
        walkattr.names.push(bad);
        EXPECT_NE(client.error(walkattr), Errno{}) << bad;
        EXPECT_NE(client.error(Tmkdir{.dfid = 0, .name = bad, .mode = 0755}), Errno{});
        EXPECT_NE(client.error(Tsymlink{.dfid = 0, .name = bad, .target = "t"}), Errno{});
        EXPECT_NE(client.error(Tmknod{.dfid = 0, .name = bad, .mode = S_IFREG}), Errno{});
        EXPECT_NE(client.error(Tlink{0, 1, bad}), Errno{});
        EXPECT_NE(client.error(Trename{1, 0, bad}), Errno{});
        EXPECT_NE(client.error(Trenameat{0, "f", 0, bad}), Errno{});
        EXPECT_NE(client.error(Trenameat{0, bad, 0, "x"}), Errno{});
        EXPECT_NE(client.error(Tunlinkat{0, bad, 0}), Errno{});
        EXPECT_NE(client.error(Tunlinkat{0, bad, kUnlinkDirectory}), Errno{});
        EXPECT_NE(client.error(Tlcreate{.fid = 0, .name = bad, .flags = kOpenReadWrite, .mode = 0600}), Errno{});
        EXPECT_NE(
            client.error(Tcreatefid{.dfid = 0, .nodefid = 7, .openfid = 8, .name = bad, .flags = 2, .mode = 0600}),
            Errno{});
        EXPECT_NE(client.error(Tmakenode{.dfid = 0, .newfid = 7, .name = bad, .mode = S_IFDIR | 0755}), Errno{});
    }
    EXPECT_EQ(fixture.server().fid_count(), 2u);
    EXPECT_EQ(std::distance(fs::directory_iterator(root()), {}), 1);
    EXPECT_EQ(std::distance(fs::directory_iterator(fixture.outside()), {}), 1);
}

TEST_F(GoferHostile, SymlinksAreNeverFollowed) {
    write_file(fixture.outside() / "secret", "s");
    fs::create_directory_symlink(fixture.outside(), root() / "absolute");
    fs::create_directory_symlink("../outside", root() / "relative");
    fs::create_directory_symlink("/", root() / "slash");
    for (const char* link : {"absolute", "relative", "slash"}) {
        EXPECT_EQ(client.walk(0, 1, std::string(link) + "/secret"), Errno::kNOENT) << link;
        ASSERT_EQ(client.walk(0, 2, link), Errno{});
        EXPECT_EQ(client.error(Tlopen{2, kOpenReadOnly}), Errno::kLOOP);
        EXPECT_EQ(client.error(Topenfid{2, 3, kOpenDirectory, 0}), Errno::kLOOP);
        EXPECT_EQ(client.error(Tmkdir{.dfid = 2, .name = "x", .mode = 0755}), Errno::kNOTDIR);
        EXPECT_EQ(client.error(Tunlinkat{2, "secret", 0}), Errno::kNOTDIR);
        client.call(Tclunk{2}).value();
    }
    fs::create_symlink(fixture.outside() / "new", root() / "dangling");
    EXPECT_EQ(client.error(Tlcreate{.fid = 0, .name = "dangling", .flags = kOpenReadWrite, .mode = 0600}),
              Errno::kLOOP);
    EXPECT_FALSE(fs::exists(fixture.outside() / "new"));
    // A hard link to a symlink is to the symlink.
    ASSERT_EQ(client.walk(0, 4, "absolute"), Errno{});
    client.call(Tlink{0, 4, "hard"}).value();
    EXPECT_TRUE(fs::is_symlink(root() / "hard"));
}

TEST_F(GoferHostile, DevicesFifosAndSocketsAreNotOpened) {
    ASSERT_EQ(mkfifo((root() / "fifo").c_str(), 0666), 0);
    client.call(Tmakenode{.dfid = 0, .newfid = 2, .name = "socket", .mode = S_IFSOCK | 0600}).value();
    ASSERT_EQ(client.walk(0, 1, "fifo"), Errno{});
    EXPECT_TRUE(S_ISFIFO(client.call(Tgetattr{.fid = 1}).value().attr.mode));
    for (uint32_t fid : {1, 2}) {
        EXPECT_EQ(client.error(Tlopen{fid, kOpenReadOnly}), Errno::kNXIO);
        EXPECT_EQ(client.error(Topenfid{fid, 9, kOpenReadWrite, 0}), Errno::kNXIO);
    }
    EXPECT_EQ(client.error(Tlcreate{.fid = 0, .name = "fifo", .flags = kOpenReadOnly, .mode = 0}),
              Errno::kNXIO);  // and does not block
    if (mknod((root() / "null").c_str(), S_IFCHR | 0666, makedev(1, 3)) != 0) return;
    ASSERT_EQ(client.walk(0, 3, "null"), Errno{});
    EXPECT_EQ(client.call(Tgetattr{.fid = 3}).value().attr.rdev, makedev(1, 3));
    EXPECT_EQ(client.error(Tlopen{3, kOpenReadWrite}), Errno::kNXIO);
}

// Another process swaps a directory for a symlink to the outside, all the time.
TEST_F(GoferHostile, ARenameRaceLeadsNowhere) {
    write_file(fixture.outside() / "secret", "outside");
    fs::create_directory(root() / "real");
    write_file(root() / "real/secret", "inside");
    fs::create_directory_symlink(fixture.outside(), root() / "link");
    fs::path dir = root() / "dir", real = root() / "real", link = root() / "link";
    std::atomic<bool> stop{false};
    std::thread swapper([&] {
        while (!stop) {
            (void)!rename(real.c_str(), dir.c_str());
            (void)!rename(dir.c_str(), real.c_str());
            (void)!rename(link.c_str(), dir.c_str());
            (void)!rename(dir.c_str(), link.c_str());
        }
    });
    int reached = 0;
    auto end = std::chrono::steady_clock::now() + std::chrono::seconds(1);
    while (std::chrono::steady_clock::now() < end) {
        if (client.walk(0, 1, "dir/secret") == Errno{}) {
            Ropenfid opened = client.call(Topenfid{1, 2, kOpenReadOnly, 100}).value();
            ASSERT_EQ(std::string(opened.data.bytes.begin(), opened.data.bytes.end()), "inside");
            client.call(Tclunk{1}).value();
            client.call(Tclunk{2}).value();
            reached++;
        }
        if (client.walk(0, 1, "dir") == Errno{}) {
            (void)client.call(Tmkdir{.dfid = 1, .name = "planted", .mode = 0755});
            (void)client.call(Tunlinkat{1, "planted", kUnlinkDirectory});
            client.call(Tclunk{1}).value();
        }
    }
    stop = true;
    swapper.join();
    EXPECT_GT(reached, 0);
    EXPECT_EQ(std::distance(fs::directory_iterator(fixture.outside()), {}), 1);
}

TEST_F(GoferHostile, WhatIsHeldForAClientIsLimited) {
    write_file(root() / "f", "");
    ASSERT_EQ(client.walk(0, 1, "f"), Errno{});
    uint32_t fid = 2;
    while (client.call(Txattrwalk{1, fid, ""}).is_ok()) fid++;
    EXPECT_EQ(fid - 2, XattrValue::kMaxLive);
    EXPECT_EQ(client.error(Txattrwalk{1, fid, ""}), Errno::kNFILE);
    client.call(Tclunk{2}).value();
    EXPECT_TRUE(client.call(Txattrwalk{1, fid, ""}).is_ok());
    client.attach();
    EXPECT_EQ(fixture.server().fid_count(), 1u);

    // As many fids as there may be need more descriptors than a test has: they run out first, and nothing else happens.
    rlimit limit{};
    getrlimit(RLIMIT_NOFILE, &limit);
    rlimit low = limit;
    low.rlim_cur = 200;
    setrlimit(RLIMIT_NOFILE, &low);
    uint32_t made = 1;
    while (client.walk(0, made, "f") == Errno{}) made++;
    EXPECT_LT(made, 200u);
    EXPECT_EQ(client.error(Twalk{0, made, Client::names("f")}), Errno::kMFILE);
    client.call(Tclunk{made - 1}).value();  // one is free: enough to create, not for the node
    Errno created =
        client.error(Tcreatefid{.dfid = 0, .nodefid = 900, .openfid = 901, .name = "new", .flags = 2, .mode = 0600});
    EXPECT_EQ(created, Errno::kMFILE);
    EXPECT_FALSE(fs::exists(root() / "new"));
    for (uint32_t i = 1; i < made - 1; i++) client.call(Tclunk{i}).value();
    EXPECT_EQ(client.walk(0, 1, "f"), Errno{});
    setrlimit(RLIMIT_NOFILE, &limit);
}

TEST_F(GoferHostile, MalformedMessagesGetAnErrorAndNothingElse) {
    Server& server = fixture.server();
    std::vector<uint8_t> reply(0x21000);
    uint8_t tiny[5] = {5, 0, 0, 0, 110};
    EXPECT_EQ(server.handle(tiny, reply), 0u);
    auto error_of = [&](std::span<const uint8_t> request) {
        Rlerror error;
        uint32_t length = server.handle(request, reply);
        EXPECT_TRUE(decode(std::span(reply).first(length), error).is_ok());
        return static_cast<Errno>(error.ecode);
    };
    std::vector<uint8_t> message(64);
    encode(message, 1, Tgetattr{.fid = 0}).value();
    message[0] = 63;
    EXPECT_EQ(error_of(message), Errno::kPROTO);  // bytes left over
    message[0] = 65;
    EXPECT_EQ(error_of(message), Errno::kPROTO);  // larger than what came
    message[0] = 6;
    EXPECT_EQ(error_of(message), Errno::kPROTO);
    encode(message, 1, Rgetattr{}.attr.qid.path == 0 ? Rclunk{} : Rclunk{}).value();
    EXPECT_EQ(error_of(message), Errno::kOPNOTSUPP);  // a reply is no request
    std::vector<uint8_t> large(10'000);
    uint32_t size = 10'000;
    memcpy(large.data(), &size, sizeof size);
    large[4] = Twalk::kType;
    EXPECT_EQ(error_of(large), Errno::kMSGSIZE);
    // A reply buffer that holds no more than an error; and one that does not even hold that.
    encode(message, 1, Tgetattr{.fid = 0}).value();
    uint8_t small[11];
    EXPECT_EQ(server.handle(message, small), 11u);
    EXPECT_EQ(small[4], Rlerror::kType);
    EXPECT_EQ(server.handle(message, std::span(small).first(10)), 0u);
}

TEST(GoferReadonly, RefusesEveryChange) {
    ServerFixture fixture;
    std::ofstream(fixture.root() / "f") << "x";
    fs::create_directory(fixture.root() / "d");
    fixture.start(true);
    Client client(fixture.transport());
    client.attach();
    ASSERT_EQ(client.walk(0, 1, "f"), Errno{});
    for (uint32_t flags : {kOpenWriteOnly, kOpenReadWrite, kOpenReadOnly | kOpenTruncate})
        EXPECT_EQ(client.error(Tlopen{1, flags}), Errno::kROFS);
    EXPECT_EQ(client.error(Topenfid{1, 2, kOpenWriteOnly, 0}), Errno::kROFS);
    EXPECT_EQ(client.error(Tlcreate{.fid = 0, .name = "n", .flags = 2, .mode = 0600}), Errno::kROFS);
    EXPECT_EQ(client.error(Tcreatefid{.dfid = 0, .nodefid = 3, .openfid = 4, .name = "n", .flags = 2, .mode = 0600}),
              Errno::kROFS);
    EXPECT_EQ(client.error(Tmakenode{.dfid = 0, .newfid = 3, .name = "n", .mode = S_IFDIR}), Errno::kROFS);
    EXPECT_EQ(client.error(Tmkdir{.dfid = 0, .name = "n", .mode = 0755}), Errno::kROFS);
    EXPECT_EQ(client.error(Tsymlink{.dfid = 0, .name = "n", .target = "t"}), Errno::kROFS);
    EXPECT_EQ(client.error(Tmknod{.dfid = 0, .name = "n", .mode = S_IFREG}), Errno::kROFS);
    EXPECT_EQ(client.error(Tlink{0, 1, "n"}), Errno::kROFS);
    EXPECT_EQ(client.error(Trename{1, 0, "n"}), Errno::kROFS);
    EXPECT_EQ(client.error(Trenameat{0, "f", 0, "n"}), Errno::kROFS);
    EXPECT_EQ(client.error(Tunlinkat{0, "f", 0}), Errno::kROFS);
    EXPECT_EQ(client.error(Tsetattr{1, {.valid = kSetMode, .mode = 0777}}), Errno::kROFS);
    EXPECT_EQ(client.error(Tsetattrget{1, {.valid = kSetMtime}}), Errno::kROFS);
    EXPECT_EQ(client.error(Txattrcreate{.fid = 1, .name = "user.k", .attr_size = 0, .flags = 0}), Errno::kROFS);
    EXPECT_EQ(client.error(Tremove{1}), Errno::kROFS);
    EXPECT_TRUE(fs::exists(fixture.root() / "f"));
    ASSERT_EQ(client.walk(0, 1, "f"), Errno{});
    client.call(Tlopen{1, kOpenReadOnly}).value();
    EXPECT_EQ(client.error(Twrite{1, 0, Client::data("y")}), Errno::kBADF);
    EXPECT_EQ(client.read(1), "x");
}

TEST(GoferExports, AreApart) {
    ServerFixture fixture;
    std::ofstream(fixture.root() / "f") << "root";
    std::ofstream(fixture.outside() / "g") << "bind";
    fixture.add_export(3, fixture.outside(), true);
    fixture.add_export(4, fixture.outside() / "g", false);
    fixture.start();
    Client client(fixture.transport());
    client.attach(0, "");
    client.call(Tattach{.fid = 1, .uname = "", .aname = "3"}).value();
    client.call(Tattach{.fid = 2, .uname = "", .aname = "4"}).value();  // a single file
    EXPECT_EQ(client.error(Tattach{.fid = 9, .uname = "", .aname = "5"}), Errno::kNOENT);
    EXPECT_EQ(client.walk(1, 10, "g"), Errno{});
    EXPECT_EQ(client.walk(0, 11, "f"), Errno{});
    EXPECT_EQ(client.walk(2, 12, "x"), Errno::kNOTDIR);
    EXPECT_EQ(client.error(Tmkdir{.dfid = 1, .name = "n", .mode = 0755}), Errno::kROFS);
    // Neither a link nor a rename leads from one to another, though the host has both in one file system.
    EXPECT_EQ(client.error(Tlink{0, 10, "hard"}), Errno::kXDEV);
    EXPECT_EQ(client.error(Trename{2, 0, "stolen"}), Errno::kXDEV);
    client.call(Tlopen{2, kOpenReadWrite}).value();
    client.call(Twrite{2, 0, Client::data("BIND")}).value();
    EXPECT_EQ(client.read(2), "BIND");
}

}  // namespace
}  // namespace kvmsbx::gofer
