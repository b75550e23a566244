// The Sentry's parser of programs that applications exec: any bytes give ENOEXEC or an image whose numbers keep their
// promises.
#include <cstdlib>
#include <cstring>
#include <vector>

#include "common/abi/layout.hpp"
#include "guestkernel/task/elf.hpp"

using namespace kvmsbx;
using namespace kvmsbx::task;

namespace {

void check(bool promise) {
    if (!promise) abort();
}

void check_image(const elf::Image& image) {
    check(image.low <= image.high && image.low % abi::kPageSize == 0 && image.high % abi::kPageSize == 0);
    check((image.alignment & (image.alignment - 1)) == 0 && image.alignment >= abi::kPageSize);
    check(image.interpreter_size <= 4096);
    for (const elf::ProgramHeader& segment : image.segments) {
        if (segment.type != elf::kLoad || segment.memory_size == 0) continue;
        check(segment.file_size <= segment.memory_size);
        check(segment.virtual_address >= image.low && segment.virtual_address + segment.memory_size <= image.high);
    }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
    const auto header = elf::parse_header(std::as_bytes(std::span(data, size)));
    if (header.is_error()) return 0;
    const uint64_t offset = header.value().program_offset;
    std::vector<elf::ProgramHeader> segments(header.value().program_count);
    if (offset > size || segments.size() * sizeof(elf::ProgramHeader) > size - offset) return 0;
    memcpy(segments.data(), data + offset, segments.size() * sizeof(elf::ProgramHeader));
    const auto image = elf::parse_image(header.value(), segments);
    if (image.is_ok()) check_image(image.value());
    return 0;
}
