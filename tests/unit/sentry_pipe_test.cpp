#include "guestkernel/fs/pipe.hpp"

#include "tests/unit/sentry_files.hpp"

namespace kvmsbx::fs {
namespace {

using vfs::Files;

PipeEnds make(uint32_t flags = vfs::kONonblock) {
    auth::Credentials owner;
    return make_pipe(flags, owner).release_value();
}

SENTRY_TEST(Pipe, CarriesBytesInOrder) {
    PipeEnds ends = make();
    std::string sent, got;
    for (int i = 0; i < 300; ++i) {
        const std::string piece = std::to_string(i) + std::string(i * 7 % 3000, 'x');
        EXPECT_EQ(Files::write(*ends.writer, piece), piece.size());
        sent += piece;
        if (i % 3 == 0) got += Files::read(*ends.reader, 5000 + i);
        if (i % 10 == 9) got += Files::read(*ends.reader, 100000);
    }
    for (std::string piece = Files::read(*ends.reader, 100000); !piece.empty();
         piece = Files::read(*ends.reader, 100000))
        got += piece;
    EXPECT_TRUE(got == sent);
}

SENTRY_TEST(Pipe, SmallWritesAreWholeOrNotAtAll) {
    PipeEnds ends = make();
    EXPECT_EQ(Files::write(*ends.writer, std::string(65536 - 100, 'x')), 65536u - 100);
    EXPECT_EQ(Files::write(*ends.writer, std::string(101, 'y')), ~size_t{0});  // EAGAIN
    EXPECT_EQ(Files::write(*ends.writer, std::string(5000, 'y')), 100u);       // larger than PIPE_BUF: what fits
    EXPECT_FALSE(ends.writer->poll().events & vfs::kPollOut);
    Files::read(*ends.reader, 4096);
    EXPECT_TRUE(ends.writer->poll().events & vfs::kPollOut);
}

SENTRY_TEST(Pipe, ChangesItsSizeAndKeepsItsBytes) {
    PipeEnds ends = make();
    EXPECT_EQ(pipe_size(*ends.reader).value(), 65536u);
    Files::write(*ends.writer, std::string(60000, 'a'));
    Files::read(*ends.reader, 50000);
    Files::write(*ends.writer, std::string(20000, 'b'));  // wraps
    EXPECT_EQ(set_pipe_size(*ends.writer, 16384, {}).error(), Errno::kBUSY);
    EXPECT_EQ(set_pipe_size(*ends.writer, 100000, {}).value(), 131072u);
    EXPECT_EQ(set_pipe_size(*ends.writer, 2 << 20, {}).error(), Errno::kPERM);
    EXPECT_TRUE(Files::read(*ends.reader, 100000) == std::string(10000, 'a') + std::string(20000, 'b'));
    EXPECT_EQ(set_pipe_size(*ends.writer, 1, {}).value(), 4096u);
}

SENTRY_TEST(Pipe, EndOfFileAndHangUp) {
    PipeEnds ends = make();
    Files::write(*ends.writer, "last");
    ends.writer = nullptr;
    EXPECT_EQ(ends.reader->poll().events, vfs::kPollIn | vfs::kPollRdNorm | vfs::kPollHup);
    EXPECT_EQ(Files::read(*ends.reader, 10), "last");
    char byte;
    auto to = mm::IoBuffer::kernel(std::as_writable_bytes(std::span(&byte, 1)));
    EXPECT_EQ(ends.reader->read(to).value(), 0u);
}

class Writer final : public sched::Thread {
  public:
    Writer(RefPtr<vfs::File> file, std::string text) : file_(std::move(file)), text_(std::move(text)) {}
    void run() override {
        Files::write(*file_, text_);
        file_ = nullptr;
        text_ = {};
        sched::exit_thread();
    }

  private:
    RefPtr<vfs::File> file_;
    std::string text_;
};

SENTRY_TEST(Pipe, BlockedWriterAndReaderHandOver) {
    PipeEnds ends = make(0);
    auto writer = make_ref<Writer>(std::move(ends.writer), std::string(300000, 'z')).release_value();
    ASSERT_TRUE(writer->create_stack().is_ok());
    sched::start(*writer);
    size_t got = 0;
    for (std::string piece = Files::read(*ends.reader, 10000); !piece.empty(); piece = Files::read(*ends.reader, 10000))
        got += piece.size();
    EXPECT_EQ(got, 300000u);
}

}  // namespace
}  // namespace kvmsbx::fs
