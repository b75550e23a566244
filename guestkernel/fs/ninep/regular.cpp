// Regular files: open fids, reading into the page cache, writing back from it.
#include "guestkernel/fs/ninep/ninep.hpp"
#include "guestkernel/fs/ninep/nodes.hpp"

namespace kvmsbx::fs::ninep {

using Change = vfs::AttributeChange;
using fs::pages_of;

namespace {

constexpr uint64_t kReadAheadPages = 32, kClusterPages = 16;
constexpr uint64_t kFlushAt = 256 * 1024;
constexpr size_t kMaxIdleFids = 128;

List<Regular, &Regular::dirty_hook> dirty_files;
List<Regular, &Regular::fids_hook> files_with_fids;
List<Regular, &Regular::cached_hook> cached_files;
size_t files_with_fids_count;

}  // namespace

void note_dirty(Regular& file) {
    if (!file.dirty_hook.is_linked()) dirty_files.push_back(file);
}

void note_cached(Regular& file) {
    file.cached_hook.unlink();
    cached_files.push_back(file);
}

Result<> write_back_all() {
    Result<> first;
    while (!dirty_files.empty()) {
        RefPtr<Regular> file(dirty_files.front());
        dirty_files.pop_front();
        Result<> written = file->flush();
        if (written.is_ok()) written = file->write_back_mapped(0, ~0ULL);
        if (written.is_error()) file->note_lost(written.error());
        if (first.is_ok() && written.is_error()) first = written.error();
    }
    return first;
}

uint64_t drop_pages(uint64_t wanted) {
    uint64_t gone = 0;
    for (auto it = cached_files.begin(); it != cached_files.end() && gone < wanted;) {
        Regular& file = *it++;
        gone += file.drop_clean_pages();
        if (file.contents_->cache.page_count() == 0) file.cached_hook.unlink();
    }
    return gone;
}

// A clock over all cached pages: the file in front is where its hand stands. What was used since the last round stays
// for one more, so that two rounds find whatever can go.
static uint64_t turn_clock(uint64_t wanted) {
    uint64_t gone = 0;
    size_t steps = 1;
    for ([[maybe_unused]] Regular& file : cached_files) steps += 2;
    for (; gone < wanted && steps > 0 && !cached_files.empty(); --steps) {
        Regular& file = cached_files.front();
        gone += file.evict(wanted - gone);
        if (gone < wanted) note_cached(file);
    }
    return gone;
}

uint64_t evict_pages(uint64_t wanted) {
    const uint64_t gone = turn_clock(wanted);
    if (gone >= wanted / 2) return gone;
    for (Regular& file : dirty_files)
        if (file.write_back_for_eviction()) return gone + turn_clock(wanted);  // it has blocked: the list is another
    return gone;
}

Regular::~Regular() {
    close_idle_fids();
    if (contents_) contents_->owner = nullptr;
}

Result<Contents*> Regular::contents() {
    if (!contents_) contents_ = TRY(make_ref<Contents>(this));
    return contents_.get();
}

uint64_t Regular::drop_clean_pages() {
    if (!contents_ || is_dirty() || write_lock.is_held() || io_lock_.is_held()) return 0;
    return contents_->drop_clean();
}

// A writer's pages that it holds, and those that are not sent yet, stay.
uint64_t Regular::evict(uint64_t wanted) {
    return contents_ && !io_lock_.is_held() ? contents_->evict_from_hand(wanted) : 0;
}

bool Regular::write_back_for_eviction() {
    if (!contents_ || !contents_->has_mapped_dirty() || io_lock_.is_held()) return false;
    RefPtr<Regular> keep(*this);
    if (const Result<> written = write_back_mapped(0, ~0ULL); written.is_error()) note_lost(written.error());
    return true;
}

// ---- open fids

void Regular::keep_fids() {
    if (fids_hook.is_linked())
        fids_hook.unlink();
    else
        ++files_with_fids_count;
    files_with_fids.push_back(*this);
    for (auto it = files_with_fids.begin(); files_with_fids_count > kMaxIdleFids && it != files_with_fids.end();) {
        Regular& oldest = *it++;
        if (&oldest != this && !oldest.io_lock_.is_held() && !oldest.is_dirty()) oldest.close_idle_fids();
    }
}

void Regular::close_idle_fids() {
    if (!fids_hook.is_linked()) return;
    fids_hook.unlink();
    --files_with_fids_count;
    const bool unlinked = attributes_.nlink == 0;
    client().transport().clunk(std::exchange(read_fid_, p9::kNoFid), unlinked);
    client().transport().clunk(std::exchange(write_fid_, p9::kNoFid), unlinked);
}

void Regular::adopt_write_fid(uint32_t fid) {
    client().transport().clunk(std::exchange(write_fid_, fid));
    keep_fids();
}

Result<uint32_t> Regular::fid_for_writing() {
    if (write_fid_ != p9::kNoFid) return write_fid_;
    const uint32_t own = TRY(fid());
    Call call(client().transport());
    const uint32_t opened = TRY(client().open(call, own, p9::kOpenReadWrite, 0)).fid;
    if (write_fid_ != p9::kNoFid)
        client().transport().clunk(opened);
    else
        adopt_write_fid(opened);
    return write_fid_;
}

Result<uint32_t> Regular::fid_for_reading() {
    if (write_fid_ != p9::kNoFid) return write_fid_;
    if (read_fid_ != p9::kNoFid) return read_fid_;
    Call call(client().transport());
    read_fid_ = TRY(open_for_reading(call, 0)).fid;  // io_lock is held: nobody else did
    keep_fids();
    return read_fid_;
}

// ---- reading

Result<> Regular::fill_from(uint64_t first, uint64_t count, std::span<const uint8_t> bytes) {
    if (first * kPageSize >= size()) return {};
    if (bytes.size() > size() - first * kPageSize) bytes = bytes.first(size() - first * kPageSize);
    sched::current().storage.read += bytes.size();
    for (uint64_t i = 0; i < count; ++i) {
        Result<Frame*> fresh = contents_->cache.allocate(first + i, mm::Zero::kNo, pages_of(size()));
        if (fresh.is_error() && i > 0) break;  // what there is counts
        Frame* frame = TRY(std::move(fresh));
        const size_t present = bytes.size() < kPageSize ? bytes.size() : kPageSize;
        if (present > 0) memcpy(frame->data(), bytes.data(), present);
        if (present < kPageSize) memset(static_cast<char*>(frame->data()) + present, 0, kPageSize - present);
        bytes = bytes.subspan(present);
        Result<> inserted = contents_->insert(first + i, frame);
        if (inserted.is_error() && inserted.error() != Errno::kEXIST) return inserted;
    }
    note_cached(*this);
    return {};
}

// io_lock is held.
Result<> Regular::fill(uint64_t index) {
    Contents& pages = *TRY(contents());
    const bool alone = mm::memory_statistics().free < 4 * kReadAheadPages * kPageSize;  // no room for more
    const bool sequential = index == 0 || index == next_read_;
    uint64_t first = sequential ? index : index & ~(kClusterPages - 1);
    uint64_t end = first + (sequential ? kReadAheadPages : kClusterPages);
    if (alone) first = index, end = index + 1;
    if (end > pages_of(size())) end = pages_of(size());
    for (uint64_t page = first; page < index; ++page)
        if (pages.cache.find(page)) first = page + 1;
    if (const uint64_t next = pages.cache.next(index); next < end) end = next;
    if (first >= end) return {};
    next_read_ = end;
    Call call(client().transport());
    const uint32_t wanted = static_cast<uint32_t>((end - first) * kPageSize);
    if (first == 0 && read_fid_ == p9::kNoFid && write_fid_ == p9::kNoFid) {
        const Client::Opened opened = TRY(open_for_reading(call, wanted));
        read_fid_ = opened.fid;
        keep_fids();
        if (opened.has_data) return fill_from(first, end - first, opened.data);
    }
    std::span<const uint8_t> bytes = TRY(client().read(call, TRY(fid_for_reading()), first * kPageSize, wanted));
    return fill_from(first, end - first, bytes);
}

Result<Frame*> Regular::page(uint64_t index) {
    Contents& pages = *TRY(contents());
    for (;;) {
        if (index >= pages_of(size())) return Errno::kNXIO;
        if (Frame* frame = pages.cache.find(index)) {
            frame->ref();
            return frame;
        }
        mm::make_room();
        TRY(mm::with_evictions([&]() -> Result<> {
            sched::MutexGuard guard(io_lock_);
            return pages.cache.find(index) || index >= pages_of(size()) ? Result<>() : fill(index);
        }));
    }
}

Result<> Regular::prefetch_at_open() {
    if (size() == 0 || read_fid_ != p9::kNoFid || write_fid_ != p9::kNoFid) return {};
    if (contents_ && contents_->cache.page_count() > 0) return {};
    mm::make_room();
    sched::MutexGuard guard(io_lock_);
    if (read_fid_ != p9::kNoFid || write_fid_ != p9::kNoFid) return {};
    return fill(0);
}

// ---- writing

Result<Frame*> Regular::page_to_write(uint64_t index, bool whole) {
    Contents& pages = *TRY(contents());
    fresh_ = ~0ULL;
    const bool beyond = index >= pages_of(size());
    if (!beyond && !whole) return page(index);
    if (Frame* frame = pages.cache.find(index)) {
        frame->ref();
        return frame;
    }
    Frame* frame = TRY(pages.cache.allocate(index, mm::Zero::kYes, pages_of(size())));
    TRY(pages.insert(index, frame));
    note_cached(*this);
    frame->ref();
    if (!beyond) fresh_ = index;
    return frame;
}

bool Regular::wrote(uint64_t offset, size_t count, size_t wanted) {
    if (count < wanted && fresh_ != ~0ULL) {  // what the page should hold besides is with the server
        contents_->drop(fresh_);
        return false;
    }
    if (count == 0) {
        if (offset / kPageSize >= pages_of(size())) contents_->drop(offset / kPageSize);
        return true;
    }
    const uint64_t end = offset + count;
    if (!is_dirty()) {
        dirty_start_ = offset, dirty_end_ = end;
    } else {
        if (offset < dirty_start_) dirty_start_ = offset;
        if (end > dirty_end_) dirty_end_ = end;
    }
    note_dirty(*this);
    ++changes_;
    if (end > attributes_.size) attributes_.size = end;  // blocks: as the server says after the flush
    if (dirty_end_ - dirty_start_ >= kFlushAt) {
        Result<> flushed = flush_locked();
        if (flushed.is_error()) flush_error_ = flushed.error();
        return flushed.is_ok();
    }
    return true;
}

void Regular::zero_gap(uint64_t offset) {
    const uint64_t end = attributes_.size;
    Frame* last = contents_ && offset > end && end % kPageSize ? contents_->cache.find(end / kPageSize) : nullptr;
    if (last) memset(static_cast<char*>(last->data()) + end % kPageSize, 0, kPageSize - end % kPageSize);
}

Result<size_t> Regular::write_locked(mm::IoBuffer& from, uint64_t offset) {
    if (from.empty()) return size_t{0};
    if (offset > INT64_MAX - from.remaining()) return Errno::kFBIG;
    if (is_dirty() && (offset > dirty_end_ || offset + from.remaining() < dirty_start_)) TRY(flush_locked());
    zero_gap(offset);
    flush_error_ = {};
    const size_t written = TRY(fs::write_pages(
        from, offset,
        [this](uint64_t index, bool whole) {
            mm::make_room();
            return mm::with_evictions([=, this] { return page_to_write(index, whole); });
        },
        [this](uint64_t at, size_t count, size_t wanted) { return wrote(at, count, wanted); }));
    attributes_.mtime = attributes_.ctime = vfs::current_time();
    if (flush_error_.is_error()) return flush_error_.error();
    if (super().shared) TRY(flush_locked());
    return written;
}

// The bytes [start, end) of the cached pages go to the server; io_lock is held.
Result<> Regular::send(uint64_t start, uint64_t end) {
    const uint32_t fid = TRY(fid_for_writing());
    while (start < end) {
        Call call(client().transport());
        TRY(call.take_slot());
        const std::span<uint8_t> payload = call.payload<p9::Twrite>();
        const uint64_t limit = payload.size() < Client::kMaxData ? payload.size() : Client::kMaxData;
        size_t filled = 0;
        while (filled < limit && start + filled < end) {
            Frame* frame = contents_->cache.find((start + filled) / kPageSize);
            if (!frame) break;  // cut off meanwhile
            const size_t at = (start + filled) % kPageSize;
            size_t count = kPageSize - at;
            if (count > limit - filled) count = limit - filled;
            if (count > end - start - filled) count = end - start - filled;
            memcpy(payload.data() + filled, static_cast<char*>(frame->data()) + at, count);
            filled += count;
        }
        if (filled == 0) return {};
        const size_t written = TRY(client().write(call, fid, start, payload.first(filled)));
        sched::current().storage.written += written;
        start += written;
    }
    return {};
}

Result<> Regular::flush_locked() {
    if (!is_dirty()) return {};
    sched::MutexGuard guard(io_lock_);
    const Result<> sent = send(dirty_start_, dirty_end_ < size() ? dirty_end_ : size());
    dirty_start_ = dirty_end_ = 0;  // after a failure the data is lost, as on Linux; the caller tells
    if (dirty_hook.is_linked() && !contents_->has_mapped_dirty()) dirty_hook.unlink();
    ++changes_;
    stale_ = true;
    if (sent.is_error()) return sent.error();
    return {};
}

Result<> Regular::flush() {
    if (!is_dirty()) return {};
    sched::MutexGuard guard(write_lock);
    return flush_locked();
}

Result<> Regular::write_back_mapped(uint64_t first, uint64_t last) {
    if (!contents_) return {};
    contents_->collect_dirty(first, last);
    if (!contents_->has_mapped_dirty()) return {};
    sched::MutexGuard guard(io_lock_);
    Contents& pages = *contents_;
    pages.take_mapped_dirty(first, last);
    Result<> all;
    for (uint64_t index = pages.cache.next(first); index <= last; index = pages.cache.next(index + 1)) {
        if (!pages.cache.is_dirty(index)) continue;
        const uint64_t start = index;
        while (index <= last && pages.cache.is_dirty(index)) pages.cache.set_dirty(index++, false);
        const uint64_t end = index * kPageSize < size() ? index * kPageSize : size();
        const Result<> sent = send(start * kPageSize, end);
        if (sent.is_error()) all = sent.error();  // that data is lost, as on Linux; what follows may go well
        stale_ = true;
        if (index > last) break;
    }
    return all;
}

Result<> Regular::take_lost() {
    const Result<> lost = lost_;
    lost_ = {};
    return lost;
}

Result<> Regular::synchronize(bool data_only) {
    TRY(flush());
    TRY(write_back_mapped(0, ~0ULL));
    TRY(take_lost());
    const uint32_t fid = write_fid_ != p9::kNoFid ? write_fid_ : read_fid_;
    if (fid == p9::kNoFid) return {};  // nothing was written since it was opened here
    return client().fsync(fid, data_only);
}

// ---- attributes

Result<Attributes> Regular::attributes() {
    if (super().shared && is_dirty()) return attributes_;
    return Node::attributes();
}

void Regular::refreshed(const Attributes& attributes) {
    Attributes now = attributes;
    const bool same = now.size == attributes_.size && now.mtime.seconds == attributes_.mtime.seconds &&
                      now.mtime.nanoseconds == attributes_.mtime.nanoseconds;
    if (is_dirty()) {
        now.size = attributes_.size, now.blocks = attributes_.blocks;
        now.mtime = attributes_.mtime, now.ctime = attributes_.ctime;
    } else if (super().shared && contents_ && !same) {
        contents_->cut(now.size < attributes_.size ? now.size : attributes_.size);
        if (!io_lock_.is_held()) (void)contents_->drop_clean();  // else what is being sent would go
    }
    Node::refreshed(now);
}

Result<> Regular::truncate(const Change& change) {
    sched::MutexGuard guard(write_lock);
    if (dirty_end_ > change.size) dirty_end_ = change.size;
    if (dirty_start_ >= dirty_end_) dirty_start_ = dirty_end_ = 0;
    sched::MutexGuard io_guard(io_lock_);
    if (contents_ && change.size > attributes_.size) zero_gap(change.size);
    TRY(Node::set_attributes(change));
    attributes_.size = change.size;
    if (contents_) contents_->cut(change.size);
    return {};
}

Result<> Regular::allocate(uint32_t mode, uint64_t offset, uint64_t length, bool zeroes) {
    sched::MutexGuard guard(write_lock);
    TRY(flush_locked());
    TRY(write_back_mapped(0, ~0ULL));
    sched::MutexGuard io_guard(io_lock_);
    const Attributes now = to_attributes(TRY(client().allocate(TRY(fid_for_writing()), mode, offset, length)));
    zero_gap(now.size);
    if (zeroes && contents_) contents_->zero(offset, offset + length);
    ++changes_;
    stale_ = false;
    Node::refreshed(now);
    return {};
}

Result<> Regular::set_attributes(const Change& change) {
    if (change.valid & Change::kSize) return truncate(change);
    TRY(flush());  // it would change the times after us
    return Node::set_attributes(change);
}

Result<RefPtr<vfs::File>> Regular::open(const vfs::Path& path, uint32_t flags) {
    if (super().shared) TRY(ask());
    if ((flags & vfs::kOAccMode) == vfs::kORdonly)
        TRY(prefetch_at_open());
    else
        TRY(fid_for_writing());
    return RefPtr<vfs::File>(TRY(make_ref<RegularFile>(path, flags)));
}

}  // namespace kvmsbx::fs::ninep
