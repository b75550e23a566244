// The ring of a pipe.
#include "guestkernel/fs/pipe_file.hpp"

namespace kvmsbx::fs {

namespace {
constexpr size_t kDefaultPages = 16, kLeastPages = 2;

struct UserPages {
    auth::Uid user;
    size_t pages;
};
Vector<UserPages> user_pages;  // of users who have pipes

// Adds to what the user has, and gives the sum. ENOMEM.
Result<size_t> charge(auth::Uid user, size_t pages) {
    for (UserPages& one : user_pages)
        if (one.user == user) return one.pages += pages;
    TRY(user_pages.push_back({user, pages}));
    return pages;
}

void discharge(auth::Uid user, size_t pages) {
    for (size_t i = 0; i < user_pages.size(); ++i)
        if (user_pages[i].user == user && (user_pages[i].pages -= pages) == 0) return user_pages.erase(i);
}

bool is_bounded(const auth::Credentials& who) {
    return !who.has(auth::Capability::kSysResource) && !who.has(auth::Capability::kSysAdmin);
}

}  // namespace

Result<RefPtr<Pipe>> Pipe::create(const auth::Credentials& creator) {
    auto pipe = TRY(make_ref<Pipe>());
    pipe->user_ = creator.ruid;
    const size_t all = TRY(charge(pipe->user_, kDefaultPages));
    pipe->charged_ = kDefaultPages;
    if (all > kUserPages && is_bounded(creator)) {
        pipe->charged_ = kLeastPages;
        discharge(pipe->user_, kDefaultPages - kLeastPages);
    }
    TRY(pipe->frames_.resize(pipe->charged_));
    return pipe;
}

Pipe::~Pipe() {
    drop_frames(0);
    if (charged_ > 0) discharge(user_, charged_);
}

Result<> Pipe::set_size(const auth::Credentials& who, size_t pages) {
    const size_t before = charged_, more = pages > before ? pages - before : 0;
    if (TRY(charge(user_, more)) > kUserPages && more > 0 && is_bounded(who)) {
        discharge(user_, more);
        return Errno::kPERM;
    }
    if (Result<> resized = resize(pages); resized.is_error()) {
        if (more > 0) discharge(user_, more);
        return resized;
    }
    charged_ = pages;
    if (pages < before) discharge(user_, before - pages);
    return {};
}

size_t Pipe::room() const {
    const size_t bytes = capacity() - used_;
    if (packets_.empty()) return bytes;
    const size_t taken = packets_.size() + pages_of(used_ - packet_bytes_);
    const size_t free = taken < frames_.size() ? (frames_.size() - taken) * kPageSize : 0;
    return bytes < free ? bytes : free;
}

void Pipe::discard() {
    drop_frames(0);
    start_ = used_ = packet_bytes_ = 0;
    packets_.clear();
}

void Pipe::wake_readers() {
    data_came.wake_one();
    changed.wake_all(vfs::kPollIn | vfs::kPollRdNorm);
}

void Pipe::wake_writers() {
    if (room() >= kPipeBuf) room_came.wake_one();
    changed.wake_all(vfs::kPollOut | vfs::kPollWrNorm);
}

Result<size_t> Pipe::fill(mm::IoBuffer& from) {
    size_t done = 0, left = room();
    while (!from.empty() && left > 0) {
        const size_t at = (start_ + used_) % capacity();
        Frame*& frame = frames_[at / kPageSize];
        if (!frame) {
            Result<Frame*> fresh = mm::allocate_frame(mm::Zero::kNo);
            if (fresh.is_error()) return done ? Result<size_t>(done) : Result<size_t>(fresh.error());
            frame = fresh.value();
        }
        size_t count = kPageSize - at % kPageSize;
        if (count > left) count = left;
        if (count > from.remaining()) count = from.remaining();
        Result<size_t> copied = from.take(static_cast<char*>(frame->data()) + at % kPageSize, count);
        if (copied.is_error()) return done ? Result<size_t>(done) : Result<size_t>(copied.error());
        used_ += copied.value(), left -= copied.value();
        done += copied.value();
        if (copied.value() < count) break;
    }
    return done;
}

Result<size_t> Pipe::fill_packet(mm::IoBuffer& from) {
    std::byte bytes[kPipeBuf];  // first as a whole: what faults leaves no piece of a packet behind
    const size_t size = TRY(from.take(bytes, from.remaining() < kPipeBuf ? from.remaining() : kPipeBuf));
    mm::IoBuffer whole = mm::IoBuffer::kernel_readonly({bytes, size});
    // As on Linux, a packet that fits into the stream's last page joins the stream.
    const bool stream_ends = used_ > 0 && (packets_.empty() || packets_[packets_.size() - 1].end < taken_ + used_);
    const size_t in_page = (start_ + used_) % kPageSize;
    if (stream_ends && in_page > 0 && size <= kPageSize - in_page) return fill(whole);
    TRY(packets_.reserve(packets_.size() + 1));
    const uint64_t start = taken_ + used_;
    const size_t done = TRY(fill(whole));
    TRY(packets_.push_back({start, start + done}));
    packet_bytes_ += done;
    return done;
}

size_t Pipe::next_piece() const {
    if (packets_.empty()) return used_;
    return in_packet() ? packets_[0].end - taken_ : packets_[0].start - taken_;
}

Result<size_t> Pipe::peek(mm::IoBuffer& to) const {
    size_t done = 0;
    const size_t available = next_piece();
    while (!to.empty() && done < available) {
        const size_t at = (start_ + done) % capacity();
        size_t count = kPageSize - at % kPageSize;
        if (count > available - done) count = available - done;
        if (count > to.remaining()) count = to.remaining();
        Result<size_t> copied = to.put(static_cast<char*>(frames_[at / kPageSize]->data()) + at % kPageSize, count);
        if (copied.is_error()) return done ? Result<size_t>(done) : Result<size_t>(copied.error());
        done += copied.value();
        if (copied.value() < count) break;
    }
    return done;
}

void Pipe::advance(size_t count) {
    start_ = (start_ + count) % capacity();
    used_ -= count;
    taken_ += count;
    if (used_ > 0) return;
    start_ = 0;
    if (count > kPageSize) drop_frames(1);
}

void Pipe::consume(size_t count) {
    if (count == 0) return;
    if (!in_packet()) return advance(count);
    const Packet packet = packets_[0];
    packet_bytes_ -= packet.end - packet.start;
    packets_.erase(0);
    advance(packet.end - taken_);
}

Result<size_t> Pipe::drain(mm::IoBuffer& to) {
    size_t done = 0;
    while (!to.empty() && used_ > 0) {
        const bool packet = in_packet();
        const size_t wanted = next_piece() < to.remaining() ? next_piece() : to.remaining();
        Result<size_t> copied = peek(to);
        if (copied.is_error()) return done ? Result<size_t>(done) : Result<size_t>(copied.error());
        consume(copied.value());
        done += copied.value();
        if (packet || copied.value() < wanted) break;
    }
    return done;
}

Result<> Pipe::resize(size_t pages) {
    if (pages * kPageSize < used_ || packets_.size() + pages_of(used_ - packet_bytes_) > pages) return Errno::kBUSY;
    Pipe other;
    TRY(other.frames_.resize(pages));
    while (other.used_ < used_) {
        const size_t at = (start_ + other.used_) % capacity();
        size_t count = kPageSize - at % kPageSize;
        if (count > used_ - other.used_) count = used_ - other.used_;
        mm::IoBuffer piece = mm::IoBuffer::kernel_readonly(
            {static_cast<const std::byte*>(frames_[at / kPageSize]->data()) + at % kPageSize, count});
        TRY(other.fill(piece));
        if (!piece.empty()) return Errno::kNOMEM;
    }
    frames_.swap(other.frames_);
    start_ = 0;
    return {};
}

}  // namespace kvmsbx::fs
