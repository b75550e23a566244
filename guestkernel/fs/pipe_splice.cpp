// splice(2), tee(2) and vmsplice(2) on pipes.
#include "guestkernel/fs/pipe_file.hpp"

namespace kvmsbx::fs {

namespace {

constexpr size_t kPiece = 64 * 1024;

// Waits for data and room without a lock; whoever calls looks again under the locks.
Result<> wait_for_both(PipeFile& in, PipeFile& out, bool nonblocking) {
    if (out.pipe().readers == 0) return broken_pipe();
    if (in.pipe().used() == 0 && in.pipe().writers > 0) TRY(in.wait_for_data(nonblocking || in.nonblocking()));
    if (in.pipe().used() > 0 && out.pipe().room() == 0) TRY(out.wait_for_room(1, nonblocking || out.nonblocking()));
    return {};
}

Result<size_t> transfer_once(Pipe& in, Pipe& out, Vector<std::byte>& piece, size_t count, Transfer transfer) {
    Pipe& first = &in < &out ? in : out;
    sched::MutexGuard guard(first.lock), second_guard(&first == &in ? out.lock : in.lock);
    if (count > out.room()) count = out.room();
    if (count > piece.size()) count = piece.size();
    mm::IoBuffer to = mm::IoBuffer::kernel(piece.span().first(count));
    const size_t there = TRY(in.peek(to));
    mm::IoBuffer from = mm::IoBuffer::kernel_readonly(piece.span().first(there));
    const size_t moved = TRY(out.fill(from));
    if (transfer == Transfer::kMove) in.consume(moved);
    return moved;
}

}  // namespace

bool is_pipe(vfs::File& file) { return PipeFile::from(file) != nullptr; }

Result<size_t> pipe_to_pipe(vfs::File& in, vfs::File& out, size_t count, Transfer transfer, bool nonblocking) {
    PipeFile& source = *PipeFile::from(in);
    PipeFile& target = *PipeFile::from(out);
    if (&source.pipe() == &target.pipe()) return Errno::kINVAL;
    const Pipe::Turn reader(source.pipe(), Pipe::Side::kReader), writer(target.pipe(), Pipe::Side::kWriter);
    Vector<std::byte> piece;
    TRY(piece.resize(count < kPiece ? count : kPiece));
    for (;;) {
        TRY(wait_for_both(source, target, nonblocking));
        const size_t moved = TRY(transfer_once(source.pipe(), target.pipe(), piece, count, transfer));
        if (moved > 0) {
            target.pipe().wake_readers();
            if (transfer == Transfer::kMove) source.pipe().wake_writers();
            return moved;
        }
        if (source.pipe().used() == 0 && source.pipe().writers == 0) return size_t{0};
    }
}

Result<size_t> splice_into_pipe(vfs::File& pipe, size_t count, bool nonblocking, SpliceEnd& source) {
    PipeFile& end = *PipeFile::from(pipe);
    const Pipe::Turn turn(end.pipe(), Pipe::Side::kWriter);
    if (end.pipe().readers == 0) return broken_pipe();
    if (end.pipe().room() == 0) TRY(end.wait_for_room(1, nonblocking || end.nonblocking()));
    if (end.pipe().readers == 0) return broken_pipe();
    if (count > end.pipe().room()) count = end.pipe().room();
    Vector<std::byte> piece;
    TRY(piece.resize(count < kPiece ? count : kPiece));
    mm::IoBuffer to = mm::IoBuffer::kernel(piece.span());
    const size_t there = TRY(source.move(to));
    // The room may be another's by now: then this waits once more rather than to lose what the source gave.
    mm::IoBuffer from = mm::IoBuffer::kernel_readonly(piece.span().first(there));
    return end.write(from);
}

Result<size_t> splice_from_pipe(vfs::File& pipe, size_t count, bool nonblocking, SpliceEnd& sink) {
    PipeFile& end = *PipeFile::from(pipe);
    const Pipe::Turn turn(end.pipe(), Pipe::Side::kReader);
    Vector<std::byte> piece;
    TRY(piece.resize(count < kPiece ? count : kPiece));
    for (;;) {
        {
            sched::MutexGuard guard(end.pipe().lock);
            if (end.pipe().used() > 0) {
                mm::IoBuffer to = mm::IoBuffer::kernel(piece.span());
                const size_t there = TRY(end.pipe().peek(to));
                mm::IoBuffer from = mm::IoBuffer::kernel_readonly(piece.span().first(there));
                const size_t taken = TRY(sink.move(from));
                end.pipe().consume(taken);
                end.pipe().wake_writers();
                return taken;
            }
        }
        if (end.pipe().writers == 0) return size_t{0};
        TRY(end.wait_for_data(nonblocking || end.nonblocking()));
    }
}

Result<size_t> fill_pipe(vfs::File& pipe, mm::IoBuffer& from, bool nonblocking) {
    PipeFile& end = *PipeFile::from(pipe);
    const Pipe::Turn turn(end.pipe(), Pipe::Side::kWriter);
    for (;;) {
        if (end.pipe().readers == 0) return broken_pipe();
        {
            sched::MutexGuard guard(end.pipe().lock);
            if (end.pipe().room() > 0) {
                const size_t done = TRY(end.pipe().fill(from));
                end.pipe().wake_readers();
                return done;
            }
        }
        TRY(end.wait_for_room(1, nonblocking || end.nonblocking()));
    }
}

Result<size_t> drain_pipe(vfs::File& pipe, mm::IoBuffer& to, bool nonblocking) {
    PipeFile& end = *PipeFile::from(pipe);
    const Pipe::Turn turn(end.pipe(), Pipe::Side::kReader);
    if (end.pipe().used() == 0 && end.pipe().writers > 0) TRY(end.wait_for_data(nonblocking || end.nonblocking()));
    return end.read(to);
}

}  // namespace kvmsbx::fs
