#include "guestkernel/ipc/sysv_shm.hpp"

#include "guestkernel/lib/format.hpp"
#include "guestkernel/task/task.hpp"
#include "guestkernel/vfs/file.hpp"

namespace kvmsbx::ipc::sysv {

using auth::Capability;
using mm::kPageSize;
using mm::UserAddress;

Table<Segment> segments;

namespace {

constexpr uint32_t kHugetlb = 04000;  // SHM_HUGETLB
constexpr uint32_t kReadonly = 010000, kRound = 020000, kRemap = 040000, kExecute = 0100000;

uint64_t total_pages;

// What /proc/PID/maps shows for an attachment.
class SegmentFile final : public vfs::File {
  public:
    explicit SegmentFile(RefPtr<Segment> segment) : File(vfs::kORdwr), segment_(std::move(segment)) {}
    Result<String> describe() override {
        StringText text;
        format_to(text, "/SYSV{08x} (deleted)", static_cast<uint32_t>(segment_->key));
        return text.take();
    }
    const void* class_tag() const override { return &kTag; }
    // Null if the mapping is none of a segment.
    static SegmentFile* of(const mm::Vma& vma) {
        // SAFETY: Vma::file is a vfs::File by its contract (mm/address_space.hpp), and the tag is this class's own.
        auto* file = static_cast<vfs::File*>(vma.file.get());
        return file && file->class_tag() == &kTag ? static_cast<SegmentFile*>(file) : nullptr;
    }
    Segment& segment() const { return *segment_; }

  private:
    static const char kTag;
    RefPtr<Segment> segment_;
};
const char SegmentFile::kTag = 0;

}  // namespace

class Creations final : public RefCounted {
  public:
    // exit_shm.
    ~Creations() override {
        segments.for_each([this](Segment& segment) {
            if (segment.created_by == this) segment.created_by = nullptr;
        });
        destroy_orphans();
    }
};

namespace {

Result<> remember_creation(Segment& segment) {
    task::Task& creator = task::current();
    if (!creator.created_segments) creator.created_segments = TRY(make_ref<Creations>());
    // SAFETY: nobody else puts anything there.
    segment.created_by = static_cast<const Creations*>(creator.created_segments.get());
    return {};
}

}  // namespace

void destroy_orphans() {
    if (!limits.shm_destroys_orphans) return;
    for (int32_t index = segments.highest_index(); index >= 0; --index)
        if (RefPtr<Segment> segment = segments.at(index); segment && !segment->created_by && segment->attachments == 0)
            segments.remove(*segment);
}

Segment::Segment(const auth::Credentials& creator_of, int32_t object_key, uint32_t flags, uint64_t bytes)
    : SharedMemory((bytes + kPageSize - 1) / kPageSize),
      Identity(creator_of, object_key, flags),
      size(bytes),
      creator(current_process_id()) {
    total_pages += pages();
}

Segment::~Segment() { total_pages -= pages(); }

uint64_t total_segment_pages() { return total_pages; }

void Segment::mapping_added() {
    ++attachments;
    attached = seconds_now();
    last = current_process_id();
}

void Segment::mapping_removed() {
    --attachments;
    detached = seconds_now();
    last = current_process_id();
    const bool destroyed = (mode & kDestroy) || limits.shm_destroys_orphans;
    if (attachments == 0 && destroyed && !removed) segments.remove(*this);
}

Result<int32_t> get_segment(const auth::Credentials& who, int32_t key, uint64_t size, uint32_t flags) {
    const auto check = [size](const Segment& found) {
        return size > found.size ? Result<>(Errno::kINVAL) : Result<>();
    };
    return get(segments, who, key, flags, check, [&]() -> Result<int32_t> {
        if (size == 0 || size > limits.shm_max) return Errno::kINVAL;
        if (size > ~0ULL - kPageSize) return Errno::kNOSPC;
        const uint64_t pages = (size + kPageSize - 1) / kPageSize;
        if (total_pages + pages < total_pages || total_pages + pages > limits.shm_all) return Errno::kNOSPC;
        // There is no pool of huge pages.
        if (flags & kHugetlb) return who.has(Capability::kIpcLock) ? Errno::kNOMEM : Errno::kPERM;
        auto segment = TRY(make_ref<Segment>(who, key, flags, size));
        TRY(remember_creation(*segment));
        return segments.add(std::move(segment), limits.shm_segments);
    });
}

Result<UserAddress> attach(mm::AddressSpace& space, const auth::Credentials& who, int32_t id, UserAddress address,
                           uint32_t flags) {
    mm::MapRequest request;
    request.flags = mm::kMapShared;
    if (address) {
        if (address % kPageSize && !(flags & kRound)) return Errno::kINVAL;
        address -= address % kPageSize;
        if (!address && (flags & kRemap)) return Errno::kINVAL;
        request.flags |= mm::kMapFixed;
    } else if (flags & kRemap) {
        return Errno::kINVAL;
    }
    request.protection = mm::kProtRead;
    uint32_t access = kMayRead;
    if (flags & kReadonly)
        request.max_protection &= ~mm::kProtWrite;
    else
        request.protection |= mm::kProtWrite, access |= kMayWrite;
    if (flags & kExecute) request.protection |= mm::kProtExec, access |= kMayExecute;
    RefPtr<Segment> segment = TRY(segments.find(id));
    TRY(segment->check_access(who, access));
    request.address = address;
    request.length = segment->size;
    if (address && !(flags & kRemap)) {
        if (address + request.length < address) return Errno::kINVAL;
        const mm::Vma* next = space.find_from(address);
        if (next && next->start < address + request.length) return Errno::kINVAL;
    }
    request.object = segment;
    request.file = TRY(make_ref<SegmentFile>(segment));
    return space.map(request);
}

Result<> detach(mm::AddressSpace& space, UserAddress address) {
    if (address % kPageSize) return Errno::kINVAL;
    // The attachment's first piece that is left tells the segment; pieces of it may have been unmapped or protected.
    const mm::Vma* vma = space.find_from(address);
    while (vma &&
           !(vma->start >= address && SegmentFile::of(*vma) && vma->start - address == vma->first_page * kPageSize))
        vma = space.find_from(vma->end);
    if (!vma) return Errno::kINVAL;
    const RefPtr<mm::Mappable> object = vma->object;
    const UserAddress end = address + SegmentFile::of(*vma)->segment().pages() * kPageSize;
    while (vma && vma->end <= end) {
        const UserAddress start = vma->start, next = vma->end;
        if (vma->object == object && start - address == vma->first_page * kPageSize)
            TRY(space.unmap(start, next - start));
        vma = space.find_from(next);
    }
    return {};
}

SegmentStatus status_of(const Segment& segment) {
    SegmentStatus out{};
    out.permissions = segment.shown();
    out.size = segment.size;
    out.attached = segment.attached, out.detached = segment.detached, out.changed = segment.changed;
    out.creator = segment.creator, out.last = segment.last;
    out.attachments = segment.attachments;
    return out;
}

Result<> remove_segment(const auth::Credentials& who, int32_t id) {
    RefPtr<Segment> segment = TRY(segments.find(id));
    TRY(segment->check_owner(who));
    if (segment->attachments == 0) {
        segments.remove(*segment);
        return {};
    }
    segment->mode |= Segment::kDestroy;
    segment->key = 0;
    return {};
}

Result<> set_segment(const auth::Credentials& who, int32_t id, const UserPermissions& wanted) {
    RefPtr<Segment> segment = TRY(segments.find(id));
    TRY(segment->check_owner(who));
    return segment->set(wanted);
}

Result<> lock_segment(const auth::Credentials& who, int32_t id, bool lock, uint64_t memlock_limit) {
    RefPtr<Segment> segment = TRY(segments.find(id));
    if (!who.has(Capability::kIpcLock)) {
        if (who.euid != segment->uid && who.euid != segment->creator_uid) return Errno::kPERM;
        if (lock && memlock_limit == 0) return Errno::kPERM;
    }
    if (lock)
        segment->mode |= Segment::kLocked;
    else
        segment->mode &= ~Segment::kLocked;
    return {};
}

}  // namespace kvmsbx::ipc::sysv
