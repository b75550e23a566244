#pragma once
// The Sentry's ELF file: checked strictly, described as segments to copy. It is our own binary, but it is parsed like a
// stranger's.
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "common/base/result.hpp"

namespace kvmsbx::vmm {

struct SentrySegment {
    uint64_t address;                     // virtual; the first page starts at address & ~4095
    uint64_t memory_size;                 // bytes
    std::span<const std::byte> contents;  // at `address`; the rest is zero
    bool writable, executable;
};

struct SentrySymbol {
    uint64_t address, size;
    const char* name;  // inside the ELF's bytes, NUL-terminated
};

struct SentryElf {
    uint64_t entry = 0;
    std::vector<SentrySegment> segments;  // ascending, no two share a page
    std::vector<SentrySymbol> functions;  // ascending; empty if stripped
};

// Accepts: ELF64, little endian, x86-64, ET_EXEC, linked in [base, base + 64 MiB), no interpreter, no
// dynamic section, no TLS, no segment both writable and executable, entry in an executable one. Else ENOEXEC, and `why`
// (static text) says what is wrong. The result points into `file`.
// `base`: abi::kSentryBase, or abi::kProcessSentryBase.
Result<SentryElf> parse_sentry_elf(std::span<const std::byte> file, uint64_t base, const char** why);

// "function+0x12", demangled; "?" if no function holds `address`.
std::string symbolise(const SentryElf& elf, uint64_t address);

}  // namespace kvmsbx::vmm
