#include "vmm/sentry_elf.hpp"

#include <cxxabi.h>
#include <elf.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <optional>

#include "common/abi/layout.hpp"

namespace kvmsbx::vmm {
namespace {

constexpr uint64_t kMaxImage = 64 * 1024 * 1024;
constexpr unsigned kMaxHeaders = 64;

using Bytes = std::span<const std::byte>;

std::optional<Bytes> slice(Bytes file, uint64_t offset, uint64_t size) {
    if (offset > file.size() || size > file.size() - offset) return std::nullopt;
    return file.subspan(offset, size);
}

template <typename T>
std::optional<T> read(Bytes file, uint64_t offset) {
    auto bytes = slice(file, offset, sizeof(T));
    if (!bytes) return std::nullopt;
    T value;
    memcpy(&value, bytes->data(), sizeof value);
    return value;
}

uint64_t page_down(uint64_t address) { return address & ~(abi::kPageSize - 1); }
uint64_t page_up(uint64_t address) { return page_down(address + abi::kPageSize - 1); }

const char* check_header(const Elf64_Ehdr& header) {
    if (memcmp(header.e_ident, ELFMAG, SELFMAG) != 0) return "no ELF file";
    if (header.e_ident[EI_CLASS] != ELFCLASS64 || header.e_ident[EI_DATA] != ELFDATA2LSB ||
        header.e_machine != EM_X86_64)
        return "not for x86-64";
    if (header.e_type != ET_EXEC) return "not a fixed-address executable (ET_EXEC)";
    if (header.e_phentsize != sizeof(Elf64_Phdr) || header.e_phnum == 0 || header.e_phnum > kMaxHeaders)
        return "bad program headers";
    return nullptr;
}

const char* add_segment(Bytes file, uint64_t base, const Elf64_Phdr& header, SentryElf& elf) {
    if (header.p_type == PT_INTERP || header.p_type == PT_DYNAMIC) return "dynamically linked";
    if (header.p_type == PT_TLS) return "uses thread-local storage";
    if (header.p_type != PT_LOAD || header.p_memsz == 0) return nullptr;
    if (header.p_vaddr < base || header.p_vaddr - base >= kMaxImage || header.p_memsz > kMaxImage)
        return "segment outside the Sentry's addresses";
    if (header.p_filesz > header.p_memsz) return "segment larger in the file than in memory";
    if ((header.p_flags & PF_W) && (header.p_flags & PF_X)) return "segment both writable and executable";
    auto contents = slice(file, header.p_offset, header.p_filesz);
    if (!contents) return "segment reaches past the end of the file";
    if (!elf.segments.empty()) {
        const SentrySegment& last = elf.segments.back();
        if (page_down(header.p_vaddr) < page_up(last.address + last.memory_size))
            return "segments share a page or are out of order";
    }
    elf.segments.push_back(
        {header.p_vaddr, header.p_memsz, *contents, (header.p_flags & PF_W) != 0, (header.p_flags & PF_X) != 0});
    return nullptr;
}

// The string table's bytes if they end in NUL, so that every name in it does.
std::optional<Bytes> string_table(Bytes file, const Elf64_Ehdr& header, unsigned index) {
    if (index >= header.e_shnum) return std::nullopt;
    auto section = read<Elf64_Shdr>(file, header.e_shoff + uint64_t{index} * sizeof(Elf64_Shdr));
    if (!section || section->sh_type != SHT_STRTAB) return std::nullopt;
    auto bytes = slice(file, section->sh_offset, section->sh_size);
    if (!bytes || bytes->empty() || bytes->back() != std::byte{0}) return std::nullopt;
    return bytes;
}

// Symbols are a comfort: what is malformed there is left out.
void read_functions(Bytes file, const Elf64_Ehdr& header, SentryElf& elf) {
    if (header.e_shentsize != sizeof(Elf64_Shdr) || header.e_shoff > file.size()) return;
    for (unsigned i = 0; i < header.e_shnum; i++) {
        auto section = read<Elf64_Shdr>(file, header.e_shoff + uint64_t{i} * sizeof(Elf64_Shdr));
        if (!section || section->sh_type != SHT_SYMTAB) continue;
        auto names = string_table(file, header, section->sh_link);
        auto symbols = slice(file, section->sh_offset, section->sh_size);
        if (!names || !symbols) continue;
        for (uint64_t at = 0; at + sizeof(Elf64_Sym) <= symbols->size(); at += sizeof(Elf64_Sym)) {
            auto symbol = read<Elf64_Sym>(*symbols, at);
            if (ELF64_ST_TYPE(symbol->st_info) != STT_FUNC || symbol->st_name >= names->size()) continue;
            // SAFETY: the table ends in NUL, so this is a string inside it.
            elf.functions.push_back(
                {symbol->st_value, symbol->st_size, reinterpret_cast<const char*>(names->data()) + symbol->st_name});
        }
    }
    std::sort(elf.functions.begin(), elf.functions.end(),
              [](const auto& a, const auto& b) { return a.address < b.address; });
}

}  // namespace

Result<SentryElf> parse_sentry_elf(std::span<const std::byte> file, uint64_t base, const char** why) {
    SentryElf elf;
    auto header = read<Elf64_Ehdr>(file, 0);
    *why = header ? check_header(*header) : "no ELF file";
    if (*why != nullptr) return Errno::kNOEXEC;
    for (unsigned i = 0; i < header->e_phnum; i++) {
        uint64_t offset = header->e_phoff + uint64_t{i} * sizeof(Elf64_Phdr);
        auto program = offset < header->e_phoff ? std::nullopt : read<Elf64_Phdr>(file, offset);
        *why = program ? add_segment(file, base, *program, elf) : "program headers past the end of the file";
        if (*why != nullptr) return Errno::kNOEXEC;
    }
    elf.entry = header->e_entry;
    bool entry_ok = std::any_of(elf.segments.begin(), elf.segments.end(), [&](const SentrySegment& s) {
        return s.executable && elf.entry >= s.address && elf.entry - s.address < s.memory_size;
    });
    if (!entry_ok) {
        *why = "entry point outside every executable segment";
        return Errno::kNOEXEC;
    }
    read_functions(file, *header, elf);
    return elf;
}

std::string symbolise(const SentryElf& elf, uint64_t address) {
    auto after = std::upper_bound(elf.functions.begin(), elf.functions.end(), address,
                                  [](uint64_t a, const SentrySymbol& symbol) { return a < symbol.address; });
    if (after == elf.functions.begin()) return "?";
    const SentrySymbol& symbol = *--after;
    uint64_t offset = address - symbol.address;
    if (offset > std::max<uint64_t>(symbol.size, 1)) return "?";
    int status = 0;
    char* plain = ::abi::__cxa_demangle(symbol.name, nullptr, nullptr, &status);
    char suffix[32];
    snprintf(suffix, sizeof suffix, "+%#llx", static_cast<unsigned long long>(offset));
    std::string text = std::string(status == 0 ? plain : symbol.name) + suffix;
    free(plain);
    return text;
}

}  // namespace kvmsbx::vmm
