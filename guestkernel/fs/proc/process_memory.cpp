// /proc/PID/maps, cmdline, environ, auxv and sizes (Linux: fs/proc/task_mmu.c). An address space may change whenever
// something here blocks (names and inode numbers of files, user memory): walks go on by address, never by VMA.
#include "guestkernel/fs/proc/subject.hpp"
#include "guestkernel/vfs/device.hpp"
#include "guestkernel/vfs/inode.hpp"
#include "guestkernel/vfs/path.hpp"

namespace kvmsbx::fs {
namespace {

constexpr size_t kNameColumn = 72;
constexpr uint64_t kMaxStrings = 4 << 20;

Result<RefPtr<mm::AddressSpace>> space_of(const ProcSubject& subject) {
    if (!subject.alive()) return Errno::kSRCH;
    const task::Task* task = subject.task();
    return task ? task->space_ : RefPtr<mm::AddressSpace>();
}

// A copy of what a line needs of a VMA.
struct Line {
    mm::UserAddress start, end;
    uint32_t protection;
    bool shared, anonymous;
    uint64_t offset;
    mm::Vma::Kind kind;
    RefPtr<vfs::File> file;
    explicit Line(const mm::Vma& vma)
        : start(vma.start),
          end(vma.end),
          protection(vma.protection),
          shared(vma.shared),
          anonymous(!vma.object),
          offset(vma.object ? vma.first_page * mm::kPageSize : 0),
          kind(vma.kind),
          // SAFETY: Vma::file is a vfs::File by its contract (mm/address_space.hpp).
          file(static_cast<vfs::File*>(vma.file.get())) {}
};

std::string_view kind_name(mm::Vma::Kind kind) {
    switch (kind) {
        case mm::Vma::Kind::kHeap: return "[heap]";
        case mm::Vma::Kind::kStack: return "[stack]";
        case mm::Vma::Kind::kVdso: return "[vdso]";
        case mm::Vma::Kind::kVvar: return "[vvar]";
        default: return {};
    }
}

// A file's name in maps: line feeds would break the table.
Result<> put_name(TextSink& sink, std::string_view name) {
    for (char c : name) {
        if (c == '\n')
            sink.put("\\012");
        else
            sink.put({&c, 1});
    }
    return {};
}

Result<> put_line(const Line& line, TextSink& sink) {
    FixedText<128> head;
    uint64_t device = 0, ino = 0;
    if (line.file) {
        if (vfs::Inode* inode = line.file->inode()) {
            device = inode->fs().device;
            const auto attributes = inode->attributes();
            if (attributes.is_ok()) ino = attributes.value().ino;
        }
    }
    const bool file_offset = line.file || line.shared;
    format_to(head, "{08x}-{08x} {}{}{}{} {08x} {02x}:{02x} {} ", line.start, line.end,
              line.protection & mm::kProtRead ? 'r' : '-', line.protection & mm::kProtWrite ? 'w' : '-',
              line.protection & mm::kProtExec ? 'x' : '-', line.shared ? 's' : 'p', file_offset ? line.offset : 0,
              vfs::major_of(device), vfs::minor_of(device), ino);
    sink.put(head.view());
    const std::string_view fixed = kind_name(line.kind);
    String name;
    if (line.file && fixed.empty())
        name = TRY(line.file->describe());
    else if (fixed.empty() && line.shared)
        name = TRY(String::create("/dev/zero (deleted)"));
    if (!fixed.empty() || !name.empty()) {
        for (size_t i = head.view().size(); i < kNameColumn; ++i) sink.put(" ");
        sink.put(" ");
        TRY(put_name(sink, fixed.empty() ? name.view() : fixed));
    }
    sink.put("\n");
    return {};
}

// The bytes [start, end) of the subject's memory; what cannot be read ends them.
Result<> put_memory(mm::AddressSpace& space, mm::UserAddress start, mm::UserAddress end, TextSink& sink) {
    if (end - start > kMaxStrings || end < start) return {};
    char chunk[1024];
    while (start < end) {
        const size_t size = std::min<size_t>(sizeof chunk, end - start);
        if (mm::copy_from_user(space, chunk, start, size).is_error()) break;
        sink.put({chunk, size});
        start += size;
    }
    return {};
}

bool is_shared_memory(const mm::Vma& vma) {
    if (!vma.shared && !vma.file) return false;
    // SAFETY: Vma::file is a vfs::File by its contract (mm/address_space.hpp).
    const auto* file = static_cast<const vfs::File*>(vma.file.get());
    vfs::Inode* inode = file ? const_cast<vfs::File*>(file)->inode() : nullptr;
    return !inode || inode->fs().type_name() == "tmpfs";
}

// Which kind of page it is: MM_ANONPAGES, MM_FILEPAGES or MM_SHMEMPAGES.
void count_resident(mm::AddressSpace& space, const mm::Vma& vma, MemoryUse& use) {
    const mm::AddressSpace::Residency there = space.residency(vma.start, vma.end);
    const uint64_t own = !vma.object ? there.pages : vma.shared ? 0 : there.writable;
    use.resident_anonymous += own * mm::kPageSize;
    (is_shared_memory(vma) ? use.resident_shared_memory : use.resident_file) += (there.pages - own) * mm::kPageSize;
}

}  // namespace

MemoryUse memory_use(mm::AddressSpace& space) {
    MemoryUse use;
    use.size = space.mapped_bytes();
    for (mm::Vma* vma = space.find_from(0); vma; vma = space.next(*vma)) {
        const uint64_t size = vma->end - vma->start;
        const bool executable = vma->protection & mm::kProtExec, writable = vma->protection & mm::kProtWrite;
        if (vma->kind == mm::Vma::Kind::kStack)
            use.stack += size;
        else if (executable && !writable && vma->start < space.code_end && vma->end > space.code_start)
            use.code += size;
        else if (executable && !writable)
            use.library += size;
        else if (writable && !vma->shared)
            use.data += size;
        count_resident(space, *vma, use);
    }
    use.resident = use.resident_anonymous + use.resident_file + use.resident_shared_memory;
    return use;
}

Result<> put_maps(const ProcSubject& subject, TextSink& sink) {
    const RefPtr<mm::AddressSpace> space = TRY(space_of(subject));
    if (!space) return {};
    TRY(may_inspect(subject));
    mm::UserAddress at = 0;
    while (const mm::Vma* vma = space->find_from(at)) {
        const Line line(*vma);
        TRY(put_line(line, sink));
        at = line.end;
    }
    return {};
}

namespace {

// VmFlags of smaps.
void put_flags(const mm::Vma& vma, TextSink& sink) {
    sink.put("VmFlags:");
    const struct {
        bool set;
        std::string_view name;
    } flags[] = {{(vma.protection & mm::kProtRead) != 0, "rd"},
                 {(vma.protection & mm::kProtWrite) != 0, "wr"},
                 {(vma.protection & mm::kProtExec) != 0, "ex"},
                 {vma.shared, "sh"},
                 {(vma.max_protection & mm::kProtRead) != 0, "mr"},
                 {(vma.max_protection & mm::kProtWrite) != 0, "mw"},
                 {(vma.max_protection & mm::kProtExec) != 0, "me"},
                 {vma.shared && (vma.max_protection & mm::kProtWrite), "ms"},
                 {vma.grows_down, "gd"},
                 {vma.locked, "lo"},
                 {vma.lock_on_fault, "lf"},
                 {vma.no_fork, "dc"},
                 {!vma.no_reserve && !vma.shared && (vma.protection & mm::kProtWrite), "ac"},
                 {vma.no_reserve, "nr"},
                 {vma.wipe_on_fork, "wf"},
                 {vma.no_dump, "dd"},
                 {vma.huge, "hg"},
                 {vma.no_huge, "nh"},
                 {vma.mergeable, "mg"},
                 {vma.sealed, "sl"}};
    for (const auto& flag : flags)
        if (flag.set) format_to(sink, " {}", flag.name);
    sink.put(" \n");
}

void put_row(TextSink& sink, std::string_view name, uint64_t bytes) {
    FixedText<32> head;
    format_to(head, "{}:", name);
    sink.put(head.view());
    for (size_t i = head.view().size(); i < 16; ++i) sink.put(" ");
    format_to(sink, "{8} kB\n", bytes / 1024);
}

void put_use(const mm::MappingUse& use, uint64_t locked, TextSink& sink) {
    put_row(sink, "Rss", use.resident);
    put_row(sink, "Pss", use.proportional);
    put_row(sink, "Pss_Dirty", use.proportional_dirty);
    put_row(sink, "Shared_Clean", use.shared_clean);
    put_row(sink, "Shared_Dirty", use.shared_dirty);
    put_row(sink, "Private_Clean", use.private_clean);
    put_row(sink, "Private_Dirty", use.private_dirty);
    put_row(sink, "Referenced", use.referenced);
    put_row(sink, "Anonymous", use.anonymous);
    put_row(sink, "KSM", 0);
    put_row(sink, "LazyFree", 0);
    put_row(sink, "AnonHugePages", use.huge);
    for (std::string_view name :
         {"ShmemPmdMapped", "FilePmdMapped", "Shared_Hugetlb", "Private_Hugetlb", "Swap", "SwapPss"})
        put_row(sink, name, 0);
    put_row(sink, "Locked", locked);
}

void add(mm::MappingUse& sum, const mm::MappingUse& more) {
    sum.resident += more.resident, sum.proportional += more.proportional;
    sum.proportional_dirty += more.proportional_dirty;
    sum.shared_clean += more.shared_clean, sum.shared_dirty += more.shared_dirty;
    sum.private_clean += more.private_clean, sum.private_dirty += more.private_dirty;
    sum.referenced += more.referenced, sum.anonymous += more.anonymous, sum.huge += more.huge;
}

}  // namespace

Result<> put_smaps(const ProcSubject& subject, TextSink& sink) {
    const RefPtr<mm::AddressSpace> space = TRY(space_of(subject));
    if (!space) return {};
    TRY(may_inspect(subject));
    mm::UserAddress at = 0;
    while (const mm::Vma* first = space->find_from(at)) {
        const Line line(*first);
        at = line.end;
        TRY(put_line(line, sink));  // may block
        const mm::Vma* vma = space->find(line.start);
        if (!vma) continue;
        const mm::MappingUse use = space->use_of(*vma);
        put_row(sink, "Size", vma->end - vma->start);
        put_row(sink, "KernelPageSize", mm::kPageSize);
        put_row(sink, "MMUPageSize", mm::kPageSize);
        put_use(use, vma->locked ? use.proportional : 0, sink);
        sink.put("THPeligible:           ");
        sink.put(!vma->object && !vma->no_huge && vma->end - vma->start >= mm::kHugePageSize ? "1\n" : "0\n");
        put_flags(*vma, sink);
    }
    return {};
}

Result<> put_smaps_rollup(const ProcSubject& subject, TextSink& sink) {
    const RefPtr<mm::AddressSpace> space = TRY(space_of(subject));
    if (!space) return {};
    TRY(may_inspect(subject));
    mm::MappingUse sum;
    uint64_t locked = 0, start = 0, end = 0;
    for (mm::Vma* vma = space->find_from(0); vma; vma = space->next(*vma)) {
        if (!end) start = vma->start;
        end = vma->end;
        const mm::MappingUse use = space->use_of(*vma);
        if (vma->locked) locked += use.proportional;
        add(sum, use);
    }
    FixedText<128> head;
    format_to(head, "{08x}-{08x} ---p 00000000 00:00 0 ", start, end);
    sink.put(head.view());
    for (size_t i = head.view().size(); i < kNameColumn + 1; ++i) sink.put(" ");
    sink.put("[rollup]\n");
    put_use(sum, locked, sink);
    return {};
}

Result<> put_cmdline(const ProcSubject& subject, TextSink& sink) {
    const RefPtr<mm::AddressSpace> space = TRY(space_of(subject));
    if (!space) return {};
    return put_memory(*space, space->arguments_start, space->arguments_end, sink);
}

Result<> put_environ(const ProcSubject& subject, TextSink& sink) {
    const RefPtr<mm::AddressSpace> space = TRY(space_of(subject));
    if (!space) return {};
    TRY(may_inspect(subject));
    return put_memory(*space, space->environment_start, space->environment_end, sink);
}

Result<> put_auxv(const ProcSubject& subject, TextSink& sink) {
    const RefPtr<mm::AddressSpace> space = TRY(space_of(subject));
    if (!space) return {};
    TRY(may_inspect(subject));
    const auto words = space->auxiliary_vector.span();
    // SAFETY: numbers as their bytes.
    sink.put({reinterpret_cast<const char*>(words.data()), words.size_bytes()});
    return {};
}

}  // namespace kvmsbx::fs
