// The Sentry's ELF loader: what it takes, and each way in which a file is refused.
#include "vmm/sentry_elf.hpp"

#include <elf.h>
#include <gtest/gtest.h>

#include <cstring>
#include <functional>
#include <string>

#include "common/abi/layout.hpp"

namespace kvmsbx::vmm {
namespace {

struct Image {
    Elf64_Ehdr header{};
    Elf64_Phdr programs[2]{};
    char text[4096]{};
};

Image good_image() {
    Image image;
    memcpy(image.header.e_ident, ELFMAG, SELFMAG);
    image.header.e_ident[EI_CLASS] = ELFCLASS64;
    image.header.e_ident[EI_DATA] = ELFDATA2LSB;
    image.header.e_type = ET_EXEC;
    image.header.e_machine = EM_X86_64;
    image.header.e_phoff = offsetof(Image, programs);
    image.header.e_phentsize = sizeof(Elf64_Phdr);
    image.header.e_phnum = 2;
    image.header.e_entry = abi::kSentryBase + 16;
    image.programs[0] = {PT_LOAD, PF_R | PF_X, offsetof(Image, text), abi::kSentryBase, 0, 100, 100, 4096};
    image.programs[1] = {PT_LOAD, PF_R | PF_W, offsetof(Image, text), abi::kSentryBase + 4096 + 8, 0, 50, 9000, 4096};
    return image;
}

Result<SentryElf> parse(const Image& image, const char** why) {
    return parse_sentry_elf(std::as_bytes(std::span(&image, 1)), abi::kSentryBase, why);
}

TEST(SentryElf, DescribesSegments) {
    Image image = good_image();
    const char* why = nullptr;
    auto elf = parse(image, &why);
    ASSERT_TRUE(elf.is_ok()) << why;
    EXPECT_EQ(elf->entry, abi::kSentryBase + 16);
    ASSERT_EQ(elf->segments.size(), 2u);
    EXPECT_TRUE(elf->segments[0].executable && !elf->segments[0].writable);
    EXPECT_TRUE(!elf->segments[1].executable && elf->segments[1].writable);
    EXPECT_EQ(elf->segments[1].memory_size, 9000u);
    EXPECT_EQ(elf->segments[1].contents.size(), 50u);
    EXPECT_EQ(symbolise(*elf, abi::kSentryBase), "?");
}

TEST(SentryElf, RefusesEachDefect) {
    const std::pair<const char*, std::function<void(Image&)>> defects[] = {
        {"magic", [](Image& i) { i.header.e_ident[0] = 0; }},
        {"class", [](Image& i) { i.header.e_ident[EI_CLASS] = ELFCLASS32; }},
        {"endianness", [](Image& i) { i.header.e_ident[EI_DATA] = ELFDATA2MSB; }},
        {"machine", [](Image& i) { i.header.e_machine = EM_AARCH64; }},
        {"type", [](Image& i) { i.header.e_type = ET_DYN; }},
        {"header size", [](Image& i) { i.header.e_phentsize = 32; }},
        {"no headers", [](Image& i) { i.header.e_phnum = 0; }},
        {"too many headers", [](Image& i) { i.header.e_phnum = 65535; }},
        {"headers past the end", [](Image& i) { i.header.e_phoff = sizeof(Image) - 8; }},
        {"headers wrap around", [](Image& i) { i.header.e_phoff = ~uint64_t{0} - 55; }},
        {"interpreter", [](Image& i) { i.programs[1].p_type = PT_INTERP; }},
        {"dynamic", [](Image& i) { i.programs[1].p_type = PT_DYNAMIC; }},
        {"thread-local", [](Image& i) { i.programs[1].p_type = PT_TLS; }},
        {"low address", [](Image& i) { i.programs[1].p_vaddr = 0x400000; }},
        {"high address", [](Image& i) { i.programs[1].p_vaddr = abi::kSentryBase + (1ULL << 30); }},
        {"huge", [](Image& i) { i.programs[1].p_memsz = ~uint64_t{0}; }},
        {"file larger than memory", [](Image& i) { i.programs[0].p_filesz = 101; }},
        {"contents past the end", [](Image& i) { i.programs[0].p_offset = sizeof(Image) - 50; }},
        {"contents wrap around", [](Image& i) { i.programs[0].p_offset = ~uint64_t{0}; }},
        {"writable and executable", [](Image& i) { i.programs[0].p_flags |= PF_W; }},
        {"shared page", [](Image& i) { i.programs[1].p_vaddr = abi::kSentryBase + 200; }},
        {"out of order", [](Image& i) { std::swap(i.programs[0], i.programs[1]); }},
        {"entry outside", [](Image& i) { i.header.e_entry = abi::kSentryBase + 100; }},
        {"entry in data", [](Image& i) { i.header.e_entry = abi::kSentryBase + 5000; }},
    };
    for (const auto& [name, spoil] : defects) {
        Image image = good_image();
        spoil(image);
        const char* why = nullptr;
        EXPECT_EQ(parse(image, &why).error(), Errno::kNOEXEC) << name;
        EXPECT_NE(why, nullptr) << name;
    }
}

TEST(SentryElf, RefusesEveryTruncation) {
    Image image = good_image();
    auto bytes = std::as_bytes(std::span(&image, 1));
    const char* why = nullptr;
    for (size_t size = 0; size < offsetof(Image, text) + 100; size++)
        EXPECT_TRUE(parse_sentry_elf(bytes.first(size), abi::kSentryBase, &why).is_error()) << size;
}

TEST(SentryElf, SymbolisesAndDemangles) {
    SentryElf elf;
    elf.functions = {{0x1000, 0x20, "_ZN6kvmsbx4mainEi"}, {0x2000, 0x10, "plain"}};
    EXPECT_EQ(symbolise(elf, 0x1004), "kvmsbx::main(int)+0x4");
    EXPECT_EQ(symbolise(elf, 0x2000), "plain+0");
    EXPECT_EQ(symbolise(elf, 0x1fff), "?");
    EXPECT_EQ(symbolise(elf, 0xfff), "?");
}

}  // namespace
}  // namespace kvmsbx::vmm
