#include "guestkernel/fs/tmpfs_nodes.hpp"
#include "guestkernel/mm/address_space.hpp"

namespace kvmsbx::fs::tmpfs {

namespace {

constexpr uint32_t kKeepSize = 1, kPunchHole = 2;  // FALLOC_FL_*
constexpr uint64_t kMaxSize = 0x7fff'ffff'ffff'f000;

bool earlier(const vfs::Timestamp& a, const vfs::Timestamp& b) {
    return a.seconds != b.seconds ? a.seconds < b.seconds : a.nanoseconds < b.nanoseconds;
}

}  // namespace

Pages::~Pages() { super_->give_pages(cache_.page_count()); }

Result<Frame*> Pages::obtain(uint64_t index) {
    if (Frame* frame = cache_.find(index)) {
        frame->ref();
        return frame;
    }
    TRY(super_->take_pages(1));
    Result<Frame*> fresh = cache_.allocate(index, mm::Zero::kYes, pages_of(size));
    if (fresh.is_ok())
        if (Result<> inserted = cache_.insert(index, fresh.value()); inserted.is_error()) {
            mm::release(fresh.value());
            fresh = inserted.error();
        }
    if (fresh.is_error()) {
        super_->give_pages(1);
        return fresh;
    }
    fresh.value()->ref();
    return fresh;
}

Result<Frame*> Pages::get_page(uint64_t index, bool) {
    if (!cache_.find(index)) mm::make_room();
    if (index >= pages_of(size)) return Errno::kNXIO;
    return obtain(index);
}

void Pages::zero_part(uint64_t start, uint64_t end) {
    Frame* frame = cache_.find(start / kPageSize);
    if (frame && start < end) memset(static_cast<char*>(frame->data()) + start % kPageSize, 0, end - start);
}

void Pages::set_size(uint64_t bytes) {
    if (bytes < size) {
        const uint64_t first = pages_of(bytes), before = cache_.page_count();
        size = bytes;
        unmap_pages(first, ~0ULL, true);
        cache_.truncate(first);
        super_->give_pages(before - cache_.page_count());
        if (bytes % kPageSize) zero_part(bytes, first * kPageSize);
    }
    size = bytes;
}

void Pages::drop_beyond(uint64_t index) {
    if (index < pages_of(size) || !cache_.find(index)) return;
    unmap_pages(index, index, true);
    cache_.remove(index);
    super_->give_pages(1);
}

void Pages::punch(uint64_t start, uint64_t end) {
    if (end > size) end = pages_of(size) * kPageSize;
    if (start >= end) return;
    const uint64_t first = pages_of(start), last = end / kPageSize;  // whole pages: [first, last)
    if (first > last) return zero_part(start, end);
    zero_part(start, first * kPageSize);
    if (end % kPageSize) zero_part(last * kPageSize, end);
    if (first >= last) return;
    unmap_pages(first, last - 1, false);
    for (uint64_t index = cache_.next(first); index < last; index = cache_.next(index + 1)) {
        cache_.remove(index);
        super_->give_pages(1);
    }
}

Result<> Pages::punch_pages(uint64_t first, uint64_t last) {
    if (seals & (kSealWrite | kSealFutureWrite)) return Errno::kPERM;
    punch(first * kPageSize, (last + 1) * kPageSize);
    return {};
}

Result<> Pages::check_shared(uint32_t protection, uint32_t& max_protection) {
    if (!(seals & (kSealWrite | kSealFutureWrite))) return {};
    if (protection & mm::kProtWrite) return Errno::kPERM;
    max_protection &= ~mm::kProtWrite;
    return {};
}

Result<Attributes> Regular::attributes() {
    Attributes shown = attributes_;
    shown.size = pages_->size;
    shown.blocks = pages_->page_count() * (kPageSize / 512);
    return shown;
}

Result<> Regular::set_attributes(const vfs::AttributeChange& change) {
    if (change.valid & vfs::AttributeChange::kSize) {
        sched::MutexGuard guard(write_lock);
        if (change.size > kMaxSize) return Errno::kFBIG;
        if (change.size < pages_->size && (pages_->seals & kSealShrink)) return Errno::kPERM;
        if (change.size > pages_->size && (pages_->seals & kSealGrow)) return Errno::kPERM;
        pages_->set_size(change.size);
    }
    const bool changes_mode = change.valid & vfs::AttributeChange::kMode;
    if (changes_mode && (pages_->seals & kSealExec) && ((attributes_.mode ^ change.mode) & 0111)) return Errno::kPERM;
    return Node::set_attributes(change);
}

void Regular::accessed() {
    if (!earlier(attributes_.mtime, attributes_.atime)) attributes_.atime = vfs::current_time();
}

Result<RefPtr<vfs::File>> Regular::open(const vfs::Path& path, uint32_t flags) {
    return TRY(make_ref<RegularFile>(path, flags));
}

Result<size_t> RegularFile::read_at(mm::IoBuffer& to, uint64_t offset) {
    Pages& pages = node().pages();
    node().accessed();
    return read_pages(to, offset, pages.size, [&pages](uint64_t index) -> Result<Frame*> {
        Frame* frame = pages.cached_page(index);
        if (frame) frame->ref();
        return frame;
    });
}

Result<size_t> RegularFile::write_locked(mm::IoBuffer& from, uint64_t offset) {
    Pages& pages = node().pages();
    if (from.empty()) return size_t{0};
    if (pages.seals & (kSealWrite | kSealFutureWrite)) return Errno::kPERM;
    if (offset > kMaxSize - from.remaining()) return Errno::kFBIG;
    if ((pages.seals & kSealGrow) && offset + from.remaining() > pages.size) return Errno::kPERM;
    node().touch();
    return write_pages(
        from, offset,
        [&pages](uint64_t index, bool) {
            mm::make_room();
            return mm::with_evictions([&pages, index] { return pages.obtain(index); });
        },
        [&pages](uint64_t at, size_t count, size_t) {
            if (count > 0 && at + count > pages.size) pages.size = at + count;
            pages.drop_beyond(at / kPageSize);
            return true;
        });
}

Result<size_t> RegularFile::write_at(mm::IoBuffer& from, uint64_t offset) {
    sched::MutexGuard guard(node().write_lock);
    return write_locked(from, offset);
}

Result<size_t> RegularFile::append(mm::IoBuffer& from, uint64_t& end) {
    sched::MutexGuard guard(node().write_lock);
    const uint64_t start = node().pages().size;
    const size_t count = TRY(write_locked(from, start));
    end = start + count;
    return count;
}

Result<> RegularFile::allocate(uint32_t mode, uint64_t offset, uint64_t length) {
    Pages& pages = node().pages();
    sched::MutexGuard guard(node().write_lock);
    if (mode & ~(kKeepSize | kPunchHole)) return Errno::kOPNOTSUPP;
    if (mode & kPunchHole) {
        if (!(mode & kKeepSize)) return Errno::kOPNOTSUPP;
        if (pages.seals & (kSealWrite | kSealFutureWrite)) return Errno::kPERM;
        pages.punch(offset, offset + length);
        return {};
    }
    const uint64_t end = offset + length;
    if (end > kMaxSize) return Errno::kFBIG;
    if (end > pages.size && (pages.seals & kSealGrow)) return Errno::kPERM;
    const uint64_t more = pages_of(end) > pages.page_count() ? pages_of(length) : 0;
    TRY(node().super().take_pages(more));
    node().super().give_pages(more);
    if (!(mode & kKeepSize) && end > pages.size) pages.set_size(end);
    node().touch();
    return {};
}

Result<uint64_t> RegularFile::seek(int64_t offset, int whence) {
    constexpr int kData = 3, kHole = 4;
    if (whence != kData && whence != kHole) return InodeFile::seek(offset, whence);
    Pages& pages = node().pages();
    const uint64_t start = static_cast<uint64_t>(offset);
    if (offset < 0 || start >= pages.size) return Errno::kNXIO;
    uint64_t index = start / kPageSize;
    const auto is_data = [&pages](uint64_t page) { return pages.cached_page(page) != nullptr; };
    while (index < pages_of(pages.size) && is_data(index) != (whence == kData)) ++index;
    uint64_t found = index * kPageSize > start ? index * kPageSize : start;
    if (found >= pages.size) {
        if (whence == kData) return Errno::kNXIO;
        found = pages.size;
    }
    sched::MutexGuard guard(position_lock);
    return position = found;
}

}  // namespace kvmsbx::fs::tmpfs
