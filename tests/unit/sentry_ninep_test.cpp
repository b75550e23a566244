// The 9P client against the gofer's own server, over the ring, in one process: requests are served when the Sentry's
// threads are all blocked.
#include <sys/mman.h>

#include <filesystem>
#include <fstream>

#include "common/p9/ring.hpp"
#include "guestkernel/fs/ninep/channel.hpp"
#include "guestkernel/fs/ninep/ninep.hpp"
#include "guestkernel/sched/cpu.hpp"
#include "guestkernel/vfs/dentry.hpp"
#include "tests/unit/gofer_client.hpp"
#include "tests/unit/sentry_files.hpp"

namespace kvmsbx::fs::ninep {
namespace {

using vfs::Files;
using vfs::kNoError;

class NineP : public testing::Test {
  protected:
    void SetUp() override {
        void* memory = mmap(nullptr, abi::kChannelSize, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
        ASSERT_NE(memory, MAP_FAILED);
        region = {static_cast<uint8_t*>(memory), abi::kChannelSize};
        gofer.start();
        platform::test::Machine::on_idle = [this] { return serve(); };
        sched::hooks.channel_collect = handle_completion_interrupt;
        sched::hooks.channel_pending = requests_pending;
        sched::hooks.channel_arm = arm_completion_interrupt;
        start_blocking();
    }
    void TearDown() override { munmap(region.data(), region.size()); }

    bool serve() {
        if (!attached) attached = device.attach(region).is_ok();
        p9::Chain chain;
        bool any = false;
        while (device.pop(chain).value_or(false)) {
            ++requests;
            const uint32_t length = answer ? answer(chain) : gofer.server().handle(chain.request, chain.reply);
            device.push(chain, length);
            if (break_ring) p9::ChannelView(region).used().index += 40;
            any = true;
        }
        if (any && !silent) handle_completion_interrupt();
        return any;
    }
    // Names with a fid each, which nobody uses.
    void look_up(Files& files, int count) {
        for (int i = 0; i < count; ++i) EXPECT_EQ(files.walk_error("/n" + std::to_string(i)), kNoError);
    }
    // Runs the body with the gofer's root mounted.
    void with_root(std::function<void(Files&)> body, vfs::Access access = vfs::Access::kExclusive) {
        machine.run([&] {
            ASSERT_TRUE(initialize(region, [] {}).is_ok());
            Files files("9p", "", access);
            body(files);
            ignore(write_back_all(), "some bodies end the connection");
        });
    }
    std::string on_host(const char* name) {
        std::ifstream in(gofer.root() / name);
        return std::string(std::istreambuf_iterator<char>(in), {});
    }
    void make_on_host(const char* name, std::string_view text) { std::ofstream(gofer.root() / name) << text; }
    // How many requests the body makes.
    int counted(std::function<void()> body) {
        const int before = requests;
        body();
        return requests - before;
    }

    platform::test::Machine machine;
    gofer::ServerFixture gofer;
    std::span<uint8_t> region;
    p9::RingDevice device;
    bool attached = false;
    int requests = 0;
    bool break_ring = false, silent = false;  // silent: completions without an interrupt
    std::function<uint32_t(p9::Chain&)> answer;
};

TEST_F(NineP, ReadsAndWritesFiles) {
    make_on_host("given", "from the host");
    with_root([&](Files& files) {
        EXPECT_EQ(files.read_file("/given"), "from the host");
        EXPECT_EQ(files.walk_error("/missing"), Errno::kNOENT);
        files.write_file("/made", "from the sandbox");
        EXPECT_EQ(on_host("made"), "from the sandbox");
        files.write_file("/made", "!", vfs::kOWronly | vfs::kOAppend);
        EXPECT_EQ(on_host("made"), "from the sandbox!");
        EXPECT_EQ(files.stat("/made").size, 17u);
    });
}

TEST_F(NineP, WhatTheHostChangesIsSeenWhereAccessIsShared) {
    make_on_host("given", "first");
    with_root([&](Files& files) {
        const vfs::SpecMount bind{"9p", "", "/bind", "", 0, true};
        ASSERT_TRUE(vfs::mount_spec(*files.context, bind).is_ok());
        EXPECT_EQ(files.read_file("/given"), "first");
        EXPECT_EQ(files.read_file("/bind/given"), "first");
        EXPECT_EQ(files.walk_error("/late"), Errno::kNOENT);
        make_on_host("given", "the second");
        make_on_host("late", "x");
        EXPECT_EQ(files.read_file("/bind/given"), "the second");
        EXPECT_EQ(files.read_file("/bind/late"), "x");
        EXPECT_EQ(files.read_file("/given"), "first");
        EXPECT_EQ(files.walk_error("/late"), Errno::kNOENT);
    });
}

TEST_F(NineP, LargeFilesGoThroughInPieces) {
    std::string text;
    for (int i = 0; i < 200000; ++i) text += std::to_string(i);
    with_root([&](Files& files) {
        files.write_file("/big", text);
        EXPECT_TRUE(on_host("big") == text);
        drop_pages(~0ULL);
        auto file = files.open("/big", vfs::kORdonly).release_value();
        std::string got;
        for (std::string piece = Files::read(*file, 10000); !piece.empty(); piece = Files::read(*file, 10000))
            got += piece;
        EXPECT_TRUE(got == text);
    });
}

TEST_F(NineP, WhatIsCachedNeedsNoRequest) {
    make_on_host("f", "cached");
    with_root([&](Files& files) {
        EXPECT_EQ(files.read_file("/f"), "cached");
        EXPECT_EQ(counted([&] {
                      EXPECT_EQ(files.read_file("/f"), "cached");
                      EXPECT_EQ(files.stat("/f").size, 6u);
                  }),
                  0);
        EXPECT_EQ(files.walk_error("/none"), Errno::kNOENT);
        EXPECT_EQ(counted([&] { EXPECT_EQ(files.walk_error("/none"), Errno::kNOENT); }), 0);
        EXPECT_LE(counted([&] { files.write_file("/new", "x"); }), 3);
    });
}

TEST_F(NineP, SharedAccessSeesWhatTheHostChanges) {
    make_on_host("f", "before");
    with_root(
        [&](Files& files) {
            EXPECT_EQ(files.read_file("/f"), "before");
            make_on_host("f", "afterwards");
            EXPECT_EQ(files.stat("/f").size, 10u);
            EXPECT_EQ(files.read_file("/f"), "afterwards");
            std::filesystem::remove(gofer.root() / "f");
            EXPECT_EQ(files.walk_error("/f"), Errno::kNOENT);
        },
        vfs::Access::kShared);
}

TEST_F(NineP, NamesAndLinks) {
    with_root([&](Files& files) {
        ASSERT_EQ(files.mkdir("/d", 0750), kNoError);
        files.write_file("/d/f", "text");
        ASSERT_EQ(files.link("/d/f", "/second"), kNoError);
        EXPECT_EQ(files.stat("/second").nlink, 2u);
        EXPECT_EQ(&files.find("/second").inode(), &files.find("/d/f").inode());
        ASSERT_EQ(files.symlink("d/f", "/link"), kNoError);
        EXPECT_EQ(files.read_file("/link"), "text");
        EXPECT_EQ(files.rmdir("/d"), Errno::kNOTEMPTY);
        EXPECT_EQ(files.move("/d/f", "/moved"), kNoError);
        EXPECT_EQ(files.rmdir("/d"), kNoError);
        EXPECT_EQ(files.remove("/second"), kNoError);
        EXPECT_EQ(files.stat("/moved").nlink, 1u);
        EXPECT_EQ(files.list("/").size(), std::string("link moved ").size());
        ASSERT_TRUE(vfs::change_mode(files.caller(), files.find("/moved"), 0600).is_ok());
        EXPECT_EQ(files.stat("/moved").mode & 07777, 0600u);
        struct stat info;
        ASSERT_EQ(::stat((gofer.root() / "moved").c_str(), &info), 0);
        EXPECT_EQ(info.st_mode & 07777, 0600u);
    });
}

TEST_F(NineP, ExtendedAttributesGoThrough) {
    make_on_host("f", "text");
    const auto bytes = [](std::string_view text) {
        return std::span(reinterpret_cast<const uint8_t*>(text.data()), text.size());
    };
    const auto text = [](const Vector<uint8_t>& value) { return std::string(value.begin(), value.end()); };
    with_root([&](Files& files) {
        vfs::Inode& inode = files.find("/f").inode();
        const Errno set = Files::error(inode.set_xattr("user.color", bytes("blue"), 0));
        if (set == Errno::kOPNOTSUPP) return;  // the host's file system has none
        EXPECT_EQ(set, kNoError);
        EXPECT_EQ(text(inode.get_xattr("user.color").release_value()), "blue");
        EXPECT_EQ(Files::error(inode.set_xattr("user.color", bytes("red"), 1)), Errno::kEXIST);
        EXPECT_EQ(Files::error(inode.set_xattr("user.other", bytes("red"), 2)), Errno::kNODATA);
        const std::string large(4000, 'v');  // what a small file system's block takes may be less
        if (inode.set_xattr("user.large", bytes(large), 0).is_ok()) {
            EXPECT_EQ(text(inode.get_xattr("user.large").release_value()), large);
        }
        EXPECT_NE(text(inode.list_xattrs().release_value()).find(std::string("user.color\0", 11)), std::string::npos);
        EXPECT_EQ(Files::error(inode.remove_xattr("user.color")), kNoError);
        EXPECT_EQ(Files::error(inode.get_xattr("user.color")), Errno::kNODATA);
        EXPECT_EQ(Files::error(inode.remove_xattr("user.color")), Errno::kNODATA);
        EXPECT_EQ(Files::error(inode.set_xattr("trusted.x", bytes("y"), 0)), Errno::kOPNOTSUPP);
    });
}

TEST_F(NineP, AListingCostsNoRequestPerFile) {
    constexpr int kFiles = 200;
    for (int i = 0; i < kFiles; ++i) make_on_host(("file" + std::to_string(i)).c_str(), std::string(i, 'x'));
    with_root([&](Files& files) {
        const int listing = counted([&] {
            const std::string names = files.list("/");
            EXPECT_NE(names.find("file7 "), std::string::npos);
        });
        EXPECT_LE(listing, 4);  // open, and one per hundreds of entries
        EXPECT_EQ(counted([&] {
                      for (int i = 0; i < kFiles; ++i)
                          EXPECT_EQ(files.stat("/file" + std::to_string(i)).size, static_cast<uint64_t>(i));
                  }),
                  0);
        EXPECT_EQ(counted([&] { EXPECT_EQ(files.read_file("/file9"), std::string(9, 'x')); }), 1);
        EXPECT_EQ(counted([&] { EXPECT_EQ(files.read_file("/file9"), std::string(9, 'x')); }), 0);
        // What needs a fid of the inode's own still can have it.
        EXPECT_EQ(files.move("/file9", "/other"), kNoError);
        EXPECT_EQ(files.read_file("/other"), std::string(9, 'x'));
        files.write_file("/file8", "new");
        EXPECT_EQ(on_host("file8"), "new");
    });
}

TEST_F(NineP, WhatAListingToldIsNotBelievedAfterAChange) {
    make_on_host("a", "1");
    make_on_host("b", "22");
    make_on_host("c", "333");
    with_root([&](Files& files) {
        (void)files.list("/");
        files.write_file("/a", "longer");
        vfs::Dentry::shrink(~size_t{0});
        EXPECT_EQ(files.stat("/a").size, 6u);
        (void)files.list("/");
        EXPECT_EQ(files.move("/b", "/c"), kNoError);
        EXPECT_EQ(files.stat("/c").size, 2u);
        EXPECT_EQ(files.walk_error("/b"), Errno::kNOENT);
        (void)files.list("/");
        EXPECT_EQ(files.remove("/c"), kNoError);
        EXPECT_EQ(files.walk_error("/c"), Errno::kNOENT);
    });
}

TEST_F(NineP, AFileThatTheHostReplacedAfterTheListingIsStale) {
    make_on_host("a", "old");
    make_on_host("new", "new");
    with_root([&](Files& files) {
        (void)files.list("/");
        EXPECT_EQ(files.stat("/a").size, 3u);
        std::filesystem::rename(gofer.root() / "new", gofer.root() / "a");
        EXPECT_EQ(files.open_error("/a", vfs::kORdonly), Errno::kSTALE);
        EXPECT_EQ(files.open_error("/a", vfs::kORdwr), Errno::kSTALE);
    });
}

TEST_F(NineP, AllocatesAndPunches) {
    with_root([&](Files& files) {
        files.write_file("/f", std::string(10000, 'x'));
        auto file = files.open("/f", vfs::kORdwr).release_value();
        const Errno error = Files::error(file->allocate(0, 0, 20000));
        if (error == Errno::kOPNOTSUPP) return;  // the host's file system has none
        EXPECT_EQ(error, kNoError);
        EXPECT_EQ(files.stat("/f").size, 20000u);
        EXPECT_EQ(Files::error(file->allocate(3, 100, 5000)), kNoError);
        const std::string text = Files::read(*file, 10000);
        EXPECT_EQ(text, std::string(100, 'x') + std::string(5000, '\0') + std::string(4900, 'x'));
        EXPECT_EQ(on_host("f").substr(0, 10000), text);
        EXPECT_EQ(Files::error(file->allocate(8, 0, 4096)), Errno::kOPNOTSUPP);
    });
}

TEST_F(NineP, ExchangesNames) {
    make_on_host("a", "A");
    make_on_host("b", "BB");
    with_root([&](Files& files) {
        EXPECT_EQ(files.move("/a", "/b", 2), kNoError);
        EXPECT_EQ(on_host("a"), "BB");
        EXPECT_EQ(files.read_file("/a"), "BB");
        EXPECT_EQ(files.read_file("/b"), "A");
        EXPECT_EQ(files.stat("/b").nlink, 1u);
        EXPECT_EQ(files.move("/a", "/b", 4), Errno::kINVAL);
    });
}

TEST_F(NineP, UnlinkedOpenFilesStay) {
    with_root([&](Files& files) {
        auto file = files.open("/f", vfs::kORdwr | vfs::kOCreat).release_value();
        ASSERT_EQ(files.remove("/f"), kNoError);
        EXPECT_EQ(Files::write(*file, "still here"), 10u);
        EXPECT_TRUE(file->flush().is_ok());
        EXPECT_EQ(file->inode()->attributes().value().nlink, 0u);
        ASSERT_TRUE(file->seek(0, 0).is_ok());
        EXPECT_EQ(Files::read(*file, 100), "still here");
    });
}

TEST_F(NineP, TruncateCutsAndExtends) {
    with_root([&](Files& files) {
        files.write_file("/f", std::string(10000, 'x'));
        ASSERT_TRUE(vfs::truncate(files.caller(), files.find("/f"), 5).is_ok());
        ASSERT_TRUE(vfs::truncate(files.caller(), files.find("/f"), 8).is_ok());
        EXPECT_EQ(files.read_file("/f"), std::string("xxxxx\0\0\0", 8));
        EXPECT_EQ(on_host("f"), std::string("xxxxx\0\0\0", 8));
    });
}

TEST_F(NineP, SharedMappingsAreWrittenBack) {
    with_root([&](Files& files) {
        files.write_file("/f", std::string(5000, 'a'));
        auto file = files.open("/f", vfs::kORdwr).release_value();
        auto pages = file->mappable().release_value();
        mm::Frame* frame = pages->get_page(1, true).release_value();
        static_cast<char*>(frame->data())[0] = 'b';
        mm::release(frame);
        EXPECT_TRUE(pages->write_back(0, ~0ULL).is_ok());
        EXPECT_EQ(on_host("f"), std::string(4096, 'a') + "b" + std::string(903, 'a'));
        EXPECT_EQ(pages->get_page(2, false).error(), Errno::kNXIO);
    });
}

// More than all slots can carry at once: whoever comes next finds none free, but all that is in flight complete.
TEST_F(NineP, ManyNamesThatGoAtOnceDelayNobodyForever) {
    constexpr int kNames = (abi::kChannelSlots + 4) * 64;
    for (int i = 0; i < kNames; ++i) make_on_host(("n" + std::to_string(i)).c_str(), "");
    with_root([&](Files& files) {
        look_up(files, kNames);
        EXPECT_GE(vfs::Dentry::shrink(2 * kNames), size_t{kNames});
        silent = true;
        EXPECT_TRUE(serve());
        silent = false;
        EXPECT_EQ(files.walk_error("/none"), Errno::kNOENT);
        look_up(files, kNames);
    });
}

TEST_F(NineP, WhereDescriptorsRunOutUnusedNamesGiveTheirsBack) {
    constexpr int kNames = 300;
    constexpr size_t kFew = 100;
    for (int i = 0; i < kNames; ++i) make_on_host(("n" + std::to_string(i)).c_str(), "text");
    int refused = 0;
    answer = [&](p9::Chain& chain) -> uint32_t {
        const p9::Header header = p9::decode_header(chain.request).release_value();
        const bool wants_one = header.type == p9::Twalkattr::kType || header.type == p9::Topenfid::kType ||
                               header.type == p9::Tcreatefid::kType;
        if (!wants_one || gofer.server().fid_count() < kFew) return gofer.server().handle(chain.request, chain.reply);
        ++refused;
        return p9::encode(chain.reply, header.tag, p9::Rlerror{EMFILE}).release_value();
    };
    with_root([&](Files& files) {
        for (int round = 0; round < 3; ++round) look_up(files, kNames);
        for (int i = 0; i < kNames; ++i) EXPECT_EQ(files.read_file("/n" + std::to_string(i)), "text");
        files.write_file("/made", "x");
        EXPECT_TRUE(refused >= 1 && refused < 20) << refused;
        // Those that somebody uses stay: then there are none for others.
        std::vector<RefPtr<vfs::File>> open;
        Errno error = kNoError;
        for (int i = 0; i < kNames && error == kNoError; ++i) {
            auto file = files.open("/n" + std::to_string(i), vfs::kORdonly);
            if (file.is_ok())
                open.push_back(file.release_value());
            else
                error = file.error();
        }
        EXPECT_EQ(error, Errno::kMFILE);
        EXPECT_GT(open.size(), kFew / 4);
        open.clear();
        look_up(files, kNames);
    });
    vfs::Dentry::limit_unused(6000);
}

TEST_F(NineP, GarbledRepliesAreEio) {
    make_on_host("f", "x");
    with_root([&](Files& files) {
        for (uint32_t seed = 1; seed < 400; ++seed) {
            answer = [&, seed](p9::Chain& chain) {
                uint32_t length = gofer.server().handle(chain.request, chain.reply);
                uint32_t random = seed * 2654435761u;
                for (int i = 0; i < 3; ++i) {
                    random = random * 1664525 + 1013904223;
                    if (length > 0) chain.reply[random % length] = static_cast<uint8_t>(random >> 24);
                }
                return random % 5 == 0 ? random % (length + 1) : length;
            };
            (void)files.walk_error("/name" + std::to_string(seed));
            (void)files.read_file("/f");
        }
        answer = nullptr;
    });
}

TEST_F(NineP, ARingThatBreaksTheRulesEndsTheConnection) {
    make_on_host("f", "x");
    with_root([&](Files& files) {
        break_ring = true;
        EXPECT_EQ(files.walk_error("/g"), Errno::kIO);
        break_ring = false;
        EXPECT_EQ(files.walk_error("/h"), Errno::kIO);
    });
}

}  // namespace
}  // namespace kvmsbx::fs::ninep
