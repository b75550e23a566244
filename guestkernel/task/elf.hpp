#pragma once
// ELF64 executables (elf(5)). The parser takes bytes that an application chose: every field is checked.
#include <cstddef>
#include <cstdint>
#include <span>

#include "common/base/result.hpp"
#include "guestkernel/lib/vector.hpp"

namespace kvmsbx::task::elf {

struct Header {  // Elf64_Ehdr
    uint8_t ident[16];
    uint16_t type, machine;
    uint32_t version;
    uint64_t entry, program_offset, section_offset;
    uint32_t flags;
    uint16_t header_size, program_entry_size, program_count, section_entry_size, section_count, section_names;
};
static_assert(sizeof(Header) == 64);

struct ProgramHeader {  // Elf64_Phdr
    uint32_t type, flags;
    uint64_t offset, virtual_address, physical_address, file_size, memory_size, alignment;
};
static_assert(sizeof(ProgramHeader) == 56);

inline constexpr uint32_t kLoad = 1, kInterp = 3, kPhdr = 6, kGnuStack = 0x6474e551;
inline constexpr uint32_t kExecute = 1, kWrite = 2, kRead = 4;
inline constexpr uint16_t kTypeExec = 2, kTypeDyn = 3;
inline constexpr unsigned kMaxProgramHeaders = 4096 / sizeof(ProgramHeader);

struct Image {
    Header header;
    Vector<ProgramHeader> segments;
    uint64_t low, high;                                     // span of the PT_LOAD segments, page aligned
    uint64_t alignment;                                     // greatest p_align, a power of two, at least a page
    uint64_t interpreter_offset = 0, interpreter_size = 0;  // PT_INTERP; size 0: none
    uint64_t headers_address;  // of the program headers, relative to the load bias; 0 if no segment holds them
};

// ENOEXEC: not an x86-64 ELF program, or one that makes no sense.
Result<Header> parse_header(std::span<const std::byte> bytes);
Result<Image> parse_image(const Header& header, std::span<const ProgramHeader> segments);

}  // namespace kvmsbx::task::elf
