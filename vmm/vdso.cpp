// The ELF image around the vDSO's code: what ld.so, glibc, musl and Go look up in it: dynsym, dynstr, hash, versions
// (LINUX_2.6), dynamic, note.
#include "vmm/vdso.hpp"

#include <elf.h>

#include <cstring>
#include <string>

#define XBYAK_NO_OP_NAMES 1
#include <xbyak/xbyak.h>

#include "common/abi/layout.hpp"
#include "vmm/vdso_code.hpp"

namespace kvmsbx::vmm {
namespace {

constexpr const char* kSoname = "linux-vdso.so.1";
constexpr const char* kVersion = "LINUX_2.6";
constexpr uint16_t kVersionIndex = 2;
constexpr uint32_t kCodeOffset = abi::kPageSize;
constexpr unsigned kProgramHeaders = 3, kDynamicEntries = 10;

// System V ABI, "Hash Table".
uint32_t elf_hash(const char* name) {
    uint32_t h = 0;
    for (; *name; name++) {
        h = (h << 4) + static_cast<unsigned char>(*name);
        uint32_t high = h & 0xf0000000;
        h = (h ^ (high >> 24)) & ~high;
    }
    return h;
}

struct Strings {
    std::string bytes = std::string(1, '\0');
    uint32_t add(const std::string& text) {
        uint32_t at = bytes.size();
        bytes += text;
        bytes += '\0';
        return at;
    }
};

class ImageBuilder {
  public:
    explicit ImageBuilder(const VdsoCode& code) : code_(code), image_(kCodeOffset + abi::kPageSize) {}

    Result<std::vector<std::byte>> build() {
        soname_ = strings_.add(kSoname);
        version_ = strings_.add(kVersion);
        add_symbols();
        note_ = append_note();
        hash_ = append_hash();
        dynsym_ = append(symbols_.data(), symbols_.size() * sizeof(Elf64_Sym));
        versym_ = append(versions_.data(), versions_.size() * sizeof(uint16_t));
        verdef_ = append_version_definitions();
        dynstr_ = append(strings_.bytes.data(), strings_.bytes.size());
        append_dynamic();
        if (end_ > kCodeOffset || code_.bytes.size() > abi::kPageSize) return Errno::kNOSPC;
        memcpy(image_.data() + kCodeOffset, code_.bytes.data(), code_.bytes.size());
        write_headers();
        return std::move(image_);
    }

  private:
    uint32_t append(const void* from, size_t size) {
        uint32_t at = (end_ + 15) & ~15u;
        if (at + size <= image_.size()) memcpy(image_.data() + at, from, size);
        end_ = at + size;
        return at;
    }

    // Each function under its own name and, weak, without the prefix, as Linux has them.
    void add_symbols() {
        symbols_.push_back({});
        versions_.push_back(0);
        names_.push_back("");
        constexpr std::string_view kPrefix = "__vdso_";
        for (const VdsoFunction& function : code_.functions) {
            add_symbol(function.name, STB_GLOBAL, function);
            if (std::string_view(function.name).starts_with(kPrefix))
                add_symbol(function.name + kPrefix.size(), STB_WEAK, function);
        }
    }

    void add_symbol(const char* name, unsigned binding, const VdsoFunction& function) {
        Elf64_Sym symbol{};
        symbol.st_name = strings_.add(name);
        symbol.st_info = ELF64_ST_INFO(binding, STT_FUNC);
        symbol.st_shndx = 1;  // any defined section
        symbol.st_value = kCodeOffset + function.offset;
        symbol.st_size = function.size;
        symbols_.push_back(symbol);
        versions_.push_back(kVersionIndex);
        names_.push_back(name);
    }

    uint32_t append_note() {
        // Like Linux's: NT_VERSION 0 with LINUX_VERSION_CODE of the release that the Sentry claims to be close to.
        struct {
            Elf64_Nhdr header{6, 4, 0};
            char name[8] = "Linux";
            uint32_t version = 6 << 16 | 1 << 8;
        } note;
        return append(&note, note_size_ = sizeof note);
    }

    uint32_t append_hash() {
        uint32_t count = symbols_.size();
        std::vector<uint32_t> table(2 + 2 * count);  // nbucket, nchain, buckets, chains
        table[0] = table[1] = count;
        for (uint32_t i = 1; i < count; i++) {
            uint32_t& bucket = table[2 + elf_hash(names_[i]) % count];
            table[2 + count + i] = bucket;
            bucket = i;
        }
        return append(table.data(), table.size() * sizeof(uint32_t));
    }

    uint32_t append_version_definitions() {
        struct {
            Elf64_Verdef base;
            Elf64_Verdaux base_name;
            Elf64_Verdef version;
            Elf64_Verdaux version_name;
        } d{};
        constexpr uint32_t kEntry = sizeof(Elf64_Verdef) + sizeof(Elf64_Verdaux);
        d.base = {VER_DEF_CURRENT, VER_FLG_BASE, 1, 1, elf_hash(kSoname), sizeof(Elf64_Verdef), kEntry};
        d.base_name = {soname_, 0};
        d.version = {VER_DEF_CURRENT, 0, kVersionIndex, 1, elf_hash(kVersion), sizeof(Elf64_Verdef), 0};
        d.version_name = {version_, 0};
        return append(&d, sizeof d);
    }

    void append_dynamic() {
        const Elf64_Dyn entries[kDynamicEntries] = {{DT_SONAME, {soname_}}, {DT_HASH, {hash_}},
                                                    {DT_STRTAB, {dynstr_}}, {DT_STRSZ, {strings_.bytes.size()}},
                                                    {DT_SYMTAB, {dynsym_}}, {DT_SYMENT, {sizeof(Elf64_Sym)}},
                                                    {DT_VERSYM, {versym_}}, {DT_VERDEF, {verdef_}},
                                                    {DT_VERDEFNUM, {2}},    {DT_NULL, {0}}};
        dynamic_ = append(entries, sizeof entries);
    }

    void write_headers() {
        Elf64_Ehdr header{};
        memcpy(header.e_ident, ELFMAG, SELFMAG);
        header.e_ident[EI_CLASS] = ELFCLASS64;
        header.e_ident[EI_DATA] = ELFDATA2LSB;
        header.e_ident[EI_VERSION] = EV_CURRENT;
        header.e_type = ET_DYN;
        header.e_machine = EM_X86_64;
        header.e_version = EV_CURRENT;
        header.e_phoff = sizeof header;
        header.e_ehsize = sizeof header;
        header.e_phentsize = sizeof(Elf64_Phdr);
        header.e_phnum = kProgramHeaders;
        uint64_t dynamic_size = kDynamicEntries * sizeof(Elf64_Dyn);
        const Elf64_Phdr programs[kProgramHeaders] = {
            {PT_LOAD, PF_R | PF_X, 0, 0, 0, image_.size(), image_.size(), abi::kPageSize},
            {PT_DYNAMIC, PF_R, dynamic_, dynamic_, dynamic_, dynamic_size, dynamic_size, 8},
            {PT_NOTE, PF_R, note_, note_, note_, note_size_, note_size_, 4},
        };
        memcpy(image_.data(), &header, sizeof header);
        memcpy(image_.data() + sizeof header, programs, sizeof programs);
    }

    const VdsoCode& code_;
    std::vector<std::byte> image_;
    Strings strings_;
    std::vector<Elf64_Sym> symbols_;
    std::vector<uint16_t> versions_;
    std::vector<const char*> names_;
    uint32_t end_ = sizeof(Elf64_Ehdr) + kProgramHeaders * sizeof(Elf64_Phdr);
    uint32_t soname_ = 0, version_ = 0, note_ = 0, hash_ = 0, dynsym_ = 0, versym_ = 0, verdef_ = 0, dynstr_ = 0,
             dynamic_ = 0;
    size_t note_size_ = 0;
};

}  // namespace

Result<VdsoImage> build_vdso(CpuNumberSource cpu_number) {
    try {
        VdsoCode code = generate_vdso_code(cpu_number, kCodeOffset + abi::kPageSize);
        uint64_t sigreturn = 0;
        for (const VdsoFunction& function : code.functions)
            if (!strcmp(function.name, "__kernel_rt_sigreturn")) sigreturn = kCodeOffset + function.offset;
        return VdsoImage{TRY(ImageBuilder(code).build()), sigreturn};
    } catch (const Xbyak::Error&) { return Errno::kNOSPC; }
}

}  // namespace kvmsbx::vmm
