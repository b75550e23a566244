#include "guestkernel/task/load.hpp"

#include <cstring>

#include "guestkernel/lib/random.hpp"
#include "guestkernel/platform/host.hpp"

namespace kvmsbx::task {
namespace {

using mm::kPageSize;
using mm::MapRequest;
using mm::UserAddress;

constexpr UserAddress kPieBase = 0x5555'5555'4000;  // ELF_ET_DYN_BASE
constexpr uint64_t kPieRandomPages = 1 << 20, kStackRandomPages = 1 << 14, kMmapRandomPages = 1 << 20,
                   kBreakRandomPages = 1 << 12;
constexpr uint64_t kMinStackGap = 128 << 20;  // mmap_base keeps this much for the stack

enum AuxiliaryType : uint64_t {
    kAtNull,
    kAtPhdr = 3,
    kAtPhent,
    kAtPhnum,
    kAtPagesz,
    kAtBase,
    kAtFlags,
    kAtEntry,
    kAtUid = 11,
    kAtEuid,
    kAtGid,
    kAtEgid,
    kAtPlatform,
    kAtHwcap,
    kAtClktck,
    kAtSecure = 23,
    kAtRandom = 25,
    kAtHwcap2,
    kAtExecfn = 31,
    kAtSysinfoEhdr = 33,
    kAtMinsigstksz = 51,
};

uint64_t random_pages(uint64_t limit) { return random::next64() % limit * kPageSize; }

Result<> read_exactly(vfs::File& file, std::span<std::byte> out, uint64_t offset) {
    mm::IoBuffer buffer = mm::IoBuffer::kernel(out);
    while (!buffer.empty()) {
        const size_t got = TRY(file.read_at(buffer, offset));
        if (got == 0) return Errno::kNOEXEC;
        offset += got;
    }
    return {};
}

Result<elf::Image> read_image(vfs::File& file) {
    std::byte bytes[sizeof(elf::Header)];
    TRY(read_exactly(file, bytes, 0));
    const elf::Header header = TRY(elf::parse_header(bytes));
    Vector<elf::ProgramHeader> segments;
    TRY(segments.resize(header.program_count));
    TRY(read_exactly(file, std::as_writable_bytes(segments.span()), header.program_offset));
    return elf::parse_image(header, segments.span());
}

uint32_t protection_of(uint32_t flags) {
    return (flags & elf::kRead ? mm::kProtRead : 0) | (flags & elf::kWrite ? mm::kProtWrite : 0) |
           (flags & elf::kExecute ? mm::kProtExec : 0);
}

// Maps one PT_LOAD at bias + p_vaddr: pages of the file, then zeroes.
Result<> map_segment(mm::AddressSpace& space, RefPtr<vfs::File>& file, const elf::ProgramHeader& segment,
                     uint64_t bias) {
    const UserAddress start = bias + segment.virtual_address;
    const UserAddress page = start & ~(kPageSize - 1);
    const UserAddress file_end = start + segment.file_size, end = start + segment.memory_size;
    const UserAddress file_pages_end = (file_end + kPageSize - 1) & ~(kPageSize - 1);
    MapRequest request;
    request.protection = protection_of(segment.flags);
    request.flags = mm::kMapPrivate | mm::kMapFixed;
    if (segment.file_size > 0) {
        request.address = page;
        request.length = file_end - page;
        request.object = TRY(file->mappable());
        request.offset = segment.offset - (start - page);
        request.file = file;
        TRY(space.map(request));
    }
    if (end <= file_end) return {};
    if (segment.file_size > 0 && file_end < file_pages_end && (segment.flags & elf::kWrite))
        TRY(mm::clear_user(space, file_end, file_pages_end - file_end));
    const UserAddress zero_start = segment.file_size > 0 ? file_pages_end : page;
    if (end <= zero_start) return {};
    MapRequest zeroes;
    zeroes.protection = request.protection;
    zeroes.flags = mm::kMapPrivate | mm::kMapFixed | mm::kMapAnonymous;
    zeroes.address = zero_start;
    zeroes.length = end - zero_start;
    TRY(space.map(zeroes));
    return {};
}

// The bias at which a position-independent image goes; 0 for one with fixed addresses.
Result<uint64_t> place(mm::AddressSpace& space, const elf::Image& image, UserAddress base) {
    if (image.header.type == elf::kTypeExec) return uint64_t{0};
    MapRequest request;  // a gap of the whole size; the segments then replace this reservation
    request.length = image.high - image.low + (image.alignment > kPageSize ? image.alignment : 0);
    request.flags = mm::kMapPrivate | mm::kMapAnonymous;
    request.address = base;
    const UserAddress found = TRY(space.map(request));
    TRY(space.unmap(found, request.length));
    return ((found + image.alignment - 1) & ~(image.alignment - 1)) - image.low;
}

Result<uint64_t> map_image(mm::AddressSpace& space, RefPtr<vfs::File> file, const elf::Image& image, UserAddress base) {
    const uint64_t bias = TRY(place(space, image, base));
    for (const elf::ProgramHeader& segment : image.segments)
        if (segment.type == elf::kLoad && segment.memory_size > 0) TRY(map_segment(space, file, segment, bias));
    return bias;
}

// Maps frames of guest RAM that the VMM or the Sentry own (vDSO) read-only.
class FixedFrames final : public mm::Mappable {
  public:
    // Keeps a reference to each frame, so that the last unmap does not free it.
    FixedFrames(platform::Phys start, uint64_t pages) : start_(start), pages_(pages) {
        for (uint64_t i = 0; i < pages; ++i) cached_page(i)->ref();
    }
    Result<mm::Frame*> get_page(uint64_t index, bool) override {
        mm::Frame* frame = cached_page(index);
        if (!frame) return Errno::kNXIO;
        frame->ref();
        return frame;
    }
    mm::Frame* cached_page(uint64_t index) override {
        return index < pages_ ? mm::frame_of(start_ + index * kPageSize) : nullptr;
    }

  private:
    platform::Phys start_;
    uint64_t pages_;
};

// [vvar][vdso], the data page first, as the vDSO's code expects it.
Result<> map_vdso(mm::AddressSpace& space) {
    const abi::BootInfo& boot = platform::boot_info();
    if (boot.vdso_size == 0) return {};
    static RefPtr<mm::Mappable>* object;
    const uint64_t pages = (boot.vdso_size + kPageSize - 1) / kPageSize;
    if (!object) {
        RefPtr<mm::Mappable> made = TRY(make_ref<FixedFrames>(boot.vdso_gpa - kPageSize, pages + 1));
        object = new (std::nothrow) RefPtr<mm::Mappable>(made);
        if (!object) return Errno::kNOMEM;
    }
    MapRequest request;
    request.length = (pages + 1) * kPageSize;
    request.flags = mm::kMapPrivate;
    request.protection = request.max_protection = mm::kProtRead;
    request.object = *object;
    request.kind = mm::Vma::Kind::kVvar;
    const UserAddress at = TRY(space.map(request));
    request.address = at + kPageSize;
    request.length = pages * kPageSize;
    request.offset = kPageSize;
    request.flags |= mm::kMapFixed;
    request.protection = mm::kProtRead | mm::kProtExec;
    request.max_protection = mm::kProtRead | mm::kProtExec | mm::kProtWrite;
    request.kind = mm::Vma::Kind::kVdso;
    space.vdso = TRY(space.map(request));
    // A libc reads it at its start.
    return space.populate(space.vdso, space.vdso + kPageSize, mm::Access::kRead);
}

// The initial stack, written from the top down (System V ABI, x86-64, 3.4.1).
class StackWriter {
  public:
    StackWriter(mm::AddressSpace& space, UserAddress top) : space_(space), at_(top) {}
    UserAddress at() const { return at_; }
    Result<UserAddress> push(const void* bytes, size_t size) {
        at_ -= size;
        TRY(mm::copy_to_user(space_, at_, bytes, size));
        return at_;
    }
    Result<UserAddress> push_string(std::string_view text) {
        const char zero = 0;
        TRY(push(&zero, 1));
        return push(text.data(), text.size());
    }
    void align(uint64_t to) { at_ &= ~(to - 1); }

  private:
    mm::AddressSpace& space_;
    UserAddress at_;
};

struct Placement {
    uint64_t bias, interpreter_base, entry;
};

Result<> push_word(Vector<uint64_t>& words, uint64_t value) { return words.push_back(value); }

Result<Vector<uint64_t>> auxiliary_vector(const mm::AddressSpace& space, const elf::Image& image,
                                          const Placement& placement, const ProgramIdentity& identity,
                                          UserAddress platform, UserAddress random, UserAddress name) {
    const abi::BootInfo& boot = platform::boot_info();
    const uint64_t headers = image.headers_address ? image.headers_address + placement.bias : 0;
    const uint64_t pairs[][2] = {
        {kAtSysinfoEhdr, space.vdso},
        {kAtMinsigstksz, boot.fpu_area_size + 1024},
        {kAtHwcap, boot.hwcap},
        {kAtPagesz, kPageSize},
        {kAtClktck, 100},
        {kAtPhdr, headers},
        {kAtPhent, sizeof(elf::ProgramHeader)},
        {kAtPhnum, image.header.program_count},
        {kAtBase, placement.interpreter_base},
        {kAtFlags, 0},
        {kAtEntry, image.header.entry + placement.bias},
        {kAtUid, identity.uid},
        {kAtEuid, identity.euid},
        {kAtGid, identity.gid},
        {kAtEgid, identity.egid},
        {kAtSecure, identity.secure},
        {kAtRandom, random},
        {kAtHwcap2, boot.hwcap2},
        {kAtExecfn, name},
        {kAtPlatform, platform},
        {kAtNull, 0},
    };
    Vector<uint64_t> words;
    for (const auto& pair : pairs) {
        if (pair[0] == kAtSysinfoEhdr && !space.vdso) continue;
        TRY(push_word(words, pair[0]));
        TRY(push_word(words, pair[1]));
    }
    return words;
}

Result<UserAddress> write_stack(mm::AddressSpace& space, UserAddress top, const elf::Image& image,
                                const Placement& placement, std::string_view name, const Vector<String>& arguments,
                                const Vector<String>& environment, const ProgramIdentity& identity) {
    StackWriter stack(space, top - 8);
    const UserAddress name_at = TRY(stack.push_string(name));
    Vector<uint64_t> words, environment_at;
    space.environment_end = name_at;
    TRY(environment_at.resize(environment.size()));
    for (size_t i = environment.size(); i-- > 0;) environment_at[i] = TRY(stack.push_string(environment[i]));
    space.environment_start = space.arguments_end = stack.at();
    Vector<uint64_t> arguments_at;
    TRY(arguments_at.resize(arguments.size()));
    for (size_t i = arguments.size(); i-- > 0;) arguments_at[i] = TRY(stack.push_string(arguments[i]));
    space.arguments_start = stack.at();
    std::byte seed[16];
    random::fill(seed, sizeof seed);
    const UserAddress platform_at = TRY(stack.push_string("x86_64"));
    const UserAddress random_at = TRY(stack.push(seed, sizeof seed));
    space.auxiliary_vector = TRY(auxiliary_vector(space, image, placement, identity, platform_at, random_at, name_at));
    TRY(push_word(words, arguments.size()));
    for (uint64_t at : arguments_at) TRY(push_word(words, at));
    TRY(push_word(words, 0));
    for (uint64_t at : environment_at) TRY(push_word(words, at));
    TRY(push_word(words, 0));
    for (uint64_t word : space.auxiliary_vector) TRY(push_word(words, word));
    stack.align(16);
    if (words.size() % 2) {
        const uint64_t zero = 0;
        TRY(stack.push(&zero, 8));
    }
    return stack.push(words.data(), words.size() * 8);
}

Result<> map_stack(mm::AddressSpace& space, uint64_t limit, bool executable) {
    space.stack_top = platform::user_end - random_pages(kStackRandomPages);
    space.stack_limit = limit;
    uint64_t gap = limit < kMinStackGap ? kMinStackGap : limit;
    if (gap > platform::user_end / 6 * 5) gap = platform::user_end / 6 * 5;
    space.map_top = space.stack_top - gap - random_pages(kMmapRandomPages);
    MapRequest request;
    request.length = 33 * kPageSize;  // as Linux's setup_arg_pages leaves it; it grows
    request.address = space.stack_top - request.length;
    request.protection = mm::kProtRead | mm::kProtWrite | (executable ? mm::kProtExec : 0);
    request.flags = mm::kMapPrivate | mm::kMapAnonymous | mm::kMapFixed | mm::kMapGrowsdown;
    request.kind = mm::Vma::Kind::kStack;
    TRY(space.map(request));
    return {};
}

Result<RefPtr<vfs::File>> open_interpreter(Task& task, vfs::File& program, const elf::Image& image) {
    Vector<char> path;
    TRY(path.resize(image.interpreter_size));
    TRY(read_exactly(program, std::as_writable_bytes(path.span()), image.interpreter_offset));
    if (path.back() != '\0') return Errno::kNOEXEC;
    return vfs::open_executable(task.caller(), task.fs().root, std::string_view(path.data()), vfs::Follow::kYes);
}

// The first pages that the program will touch, mapped now: each saves a trap. Failures show when the program touches
// them itself.
void touch_first_pages(mm::AddressSpace& space, const elf::Image& image, uint64_t bias) {
    constexpr uint64_t kMostPages = 16;
    ignore(space.fault(bias + image.header.entry, mm::Access::kExecute),
           "the program gets the fault when it touches the page itself");
    for (const elf::ProgramHeader& segment : image.segments) {
        if (segment.type != elf::kLoad || segment.memory_size == 0) continue;
        const bool writes = segment.flags & elf::kWrite;
        const UserAddress start = (bias + segment.virtual_address) & ~(kPageSize - 1);
        const UserAddress end = bias + segment.virtual_address + segment.memory_size;
        for (UserAddress at = start; at < end && at < start + (writes ? kMostPages : 1) * kPageSize; at += kPageSize) {
            const mm::Access access = writes ? mm::Access::kWrite : mm::Access::kRead;
            if (!space.translate(at, access))
                ignore(space.fault(at, access), "the program gets the fault when it touches the page itself");
        }
    }
}

bool stack_executable(const elf::Image& image) {
    for (const elf::ProgramHeader& segment : image.segments)
        if (segment.type == elf::kGnuStack) return segment.flags & elf::kExecute;
    return false;
}

void note_layout(mm::AddressSpace& space, const elf::Image& image, uint64_t bias) {
    for (const elf::ProgramHeader& segment : image.segments) {
        if (segment.type != elf::kLoad) continue;
        const uint64_t start = bias + segment.virtual_address, end = start + segment.file_size;
        if ((segment.flags & elf::kExecute) && !space.code_start) space.code_start = start, space.code_end = end;
        if (segment.flags & elf::kWrite) space.data_start = start, space.data_end = end;
    }
    space.break_start = space.break_end = bias + image.high + random_pages(kBreakRandomPages);
}

}  // namespace

Result<LoadedProgram> load_program(Task& task, RefPtr<vfs::File> program, std::string_view name,
                                   const Vector<String>& arguments, const Vector<String>& environment,
                                   const ProgramIdentity& identity) {
    const elf::Image image = TRY(read_image(*program));
    RefPtr<vfs::File> interpreter;
    if (image.interpreter_size) interpreter = TRY(open_interpreter(task, *program, image));
    LoadedProgram loaded;
    loaded.space = TRY(mm::AddressSpace::create());
    mm::AddressSpace& space = *loaded.space;
    space.address_limit = task.limit(kRlimitAs);
    space.data_limit = task.limit(kRlimitData);
    TRY(map_stack(space, task.limit(kRlimitStack), stack_executable(image)));
    // A program without an interpreter that is position independent (ld.so run directly, static-PIE) goes where mmap
    // puts it or to the PIE base alike.
    Placement placement{};
    placement.bias = TRY(map_image(space, program, image, kPieBase + random_pages(kPieRandomPages)));
    note_layout(space, image, placement.bias);
    touch_first_pages(space, image, placement.bias);
    placement.entry = image.header.entry + placement.bias;
    if (interpreter) {
        const elf::Image linker = TRY(read_image(*interpreter));
        placement.interpreter_base = TRY(map_image(space, interpreter, linker, 0));
        placement.entry = linker.header.entry + placement.interpreter_base;
        touch_first_pages(space, linker, placement.interpreter_base);
    }
    TRY(map_vdso(space));
    loaded.stack = TRY(write_stack(space, space.stack_top, image, placement, name, arguments, environment, identity));
    loaded.entry = placement.entry;
    space.tell_platform_of_all(mm::AddressSpace::Tell::kAll);
    TRY(space.user_space().get_ready());
    program->deny_writers();
    space.executable = program;
    return loaded;
}

}  // namespace kvmsbx::task
