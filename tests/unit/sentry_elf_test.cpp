#include "guestkernel/task/elf.hpp"

#include <gtest/gtest.h>

#include <cstring>
#include <vector>

namespace kvmsbx::task::elf {
namespace {

Header good_header() {
    Header header{};
    memcpy(header.ident, "\177ELF\2\1\1", 7);
    header.type = kTypeDyn;
    header.machine = 62;
    header.program_offset = sizeof(Header);
    header.program_entry_size = sizeof(ProgramHeader);
    header.program_count = 2;
    return header;
}

std::vector<ProgramHeader> good_segments() {
    ProgramHeader text{kLoad, kRead | kExecute, 0, 0, 0, 0x1234, 0x1234, 0x1000};
    ProgramHeader data{kLoad, kRead | kWrite, 0x2000, 0x4000, 0, 0x100, 0x5000, 0x1000};
    return {text, data};
}

TEST(Elf, HeaderIsChecked) {
    Header header = good_header();
    EXPECT_TRUE(parse_header(std::as_bytes(std::span(&header, 1))).is_ok());
    EXPECT_EQ(parse_header(std::as_bytes(std::span(&header, 1)).first(63)).error(), Errno::kNOEXEC);
    header.machine = 3;
    EXPECT_EQ(parse_header(std::as_bytes(std::span(&header, 1))).error(), Errno::kNOEXEC);
    header = good_header();
    header.program_count = 2000;
    EXPECT_EQ(parse_header(std::as_bytes(std::span(&header, 1))).error(), Errno::kNOEXEC);
}

TEST(Elf, ImageSpansItsSegments) {
    const auto image = parse_image(good_header(), good_segments());
    ASSERT_TRUE(image.is_ok());
    EXPECT_EQ(image.value().low, 0U);
    EXPECT_EQ(image.value().high, 0x9000U);
    EXPECT_EQ(image.value().headers_address, 64U);
}

TEST(Elf, SegmentsThatMakeNoSenseAreRefused) {
    auto refused = [](auto change) {
        auto segments = good_segments();
        change(segments);
        return parse_image(good_header(), segments).is_error();
    };
    EXPECT_TRUE(refused([](auto& s) { s[0].memory_size = 0x10; }));                  // less memory than file
    EXPECT_TRUE(refused([](auto& s) { s[1].virtual_address = 0x10; }));              // overlaps, out of order
    EXPECT_TRUE(refused([](auto& s) { s[1].virtual_address = 0x7fff'ffff'f000; }));  // beyond the user half
    EXPECT_TRUE(refused([](auto& s) { s[1].memory_size = ~0ULL; }));
    EXPECT_TRUE(refused([](auto& s) { s[1].offset = 0x2001; }));  // not congruent to the address
    EXPECT_TRUE(refused([](auto& s) {
        s[1].offset = ~0xfffULL;
        s[1].file_size = 0x1000;
    }));
    EXPECT_TRUE(refused([](auto& s) { s.clear(); }));
}

}  // namespace
}  // namespace kvmsbx::task::elf
