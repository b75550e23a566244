#include "guestkernel/task/elf.hpp"

#include <bit>
#include <cstring>

#include "common/abi/layout.hpp"
#include "guestkernel/platform/host.hpp"

namespace kvmsbx::task::elf {
namespace {

constexpr uint64_t kPage = abi::kPageSize;
constexpr uint16_t kMachineX86_64 = 62;

Result<> check_load(const ProgramHeader& segment, bool first, uint64_t previous_end) {
    if (segment.memory_size < segment.file_size) return Errno::kNOEXEC;
    if (segment.virtual_address >= platform::user_end ||
        segment.memory_size > platform::user_end - segment.virtual_address)
        return Errno::kNOEXEC;
    if (segment.offset % kPage != segment.virtual_address % kPage) return Errno::kNOEXEC;
    if (segment.offset + segment.file_size < segment.offset) return Errno::kNOEXEC;
    if (!first && segment.virtual_address < previous_end) return Errno::kNOEXEC;
    return {};
}

}  // namespace

Result<Header> parse_header(std::span<const std::byte> bytes) {
    Header header;
    if (bytes.size() < sizeof header) return Errno::kNOEXEC;
    memcpy(&header, bytes.data(), sizeof header);
    if (memcmp(header.ident, "\177ELF\2\1\1", 7) != 0) return Errno::kNOEXEC;
    if (header.type != kTypeExec && header.type != kTypeDyn) return Errno::kNOEXEC;
    if (header.machine != kMachineX86_64 || header.program_entry_size != sizeof(ProgramHeader)) return Errno::kNOEXEC;
    if (header.program_count == 0 || header.program_count > kMaxProgramHeaders) return Errno::kNOEXEC;
    return header;
}

Result<Image> parse_image(const Header& header, std::span<const ProgramHeader> segments) {
    Image image{header, {}, 0, 0, kPage, 0, 0, 0};
    bool loads = false;
    uint64_t previous_end = 0;
    for (const ProgramHeader& segment : segments) {
        TRY(image.segments.push_back(segment));
        if (segment.type == kInterp) {
            if (segment.file_size < 2 || segment.file_size > 4096) return Errno::kNOEXEC;
            image.interpreter_offset = segment.offset;
            image.interpreter_size = segment.file_size;
        }
        if (segment.type != kLoad || segment.memory_size == 0) continue;
        TRY(check_load(segment, !loads, previous_end));
        if (!loads) image.low = segment.virtual_address & ~(kPage - 1);
        loads = true;
        previous_end = segment.virtual_address + segment.memory_size;
        image.high = (previous_end + kPage - 1) & ~(kPage - 1);
        if (std::has_single_bit(segment.alignment) && segment.alignment > image.alignment &&
            segment.alignment <= (1ULL << 30))
            image.alignment = segment.alignment;
        if (header.program_offset >= segment.offset && header.program_offset - segment.offset < segment.file_size)
            image.headers_address = header.program_offset - segment.offset + segment.virtual_address;
    }
    if (!loads) return Errno::kNOEXEC;
    return image;
}

}  // namespace kvmsbx::task::elf
