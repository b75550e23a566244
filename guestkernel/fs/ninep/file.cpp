// Open regular files.
#include "guestkernel/fs/ninep/nodes.hpp"

namespace kvmsbx::fs::ninep {

Result<size_t> RegularFile::read_at(mm::IoBuffer& to, uint64_t offset) {
    Regular& file = node();
    if (file.super().shared && offset >= file.size()) TRY(file.attributes());  // it may have grown
    return fs::read_pages(to, offset, file.size(), [&file](uint64_t index) { return file.page(index); });
}

Result<size_t> RegularFile::finish(Result<size_t> written) {
    if (written.is_ok() && (flags & vfs::kODsync)) TRY(node().synchronize(true));
    return written;
}

Result<size_t> RegularFile::write_at(mm::IoBuffer& from, uint64_t offset) {
    Result<size_t> written = size_t{0};
    {
        sched::MutexGuard guard(node().write_lock);
        written = node().write_locked(from, offset);
    }
    return finish(std::move(written));
}

Result<size_t> RegularFile::append(mm::IoBuffer& from, uint64_t& end) {
    Result<size_t> written = size_t{0};
    {
        sched::MutexGuard guard(node().write_lock);
        if (node().super().shared) TRY(node().attributes());
        const uint64_t start = node().size();
        written = node().write_locked(from, start);
        if (written.is_ok()) end = start + written.value();
    }
    return finish(std::move(written));
}

Result<RefPtr<mm::Mappable>> RegularFile::mappable() {
    TRY(node().contents());
    return RefPtr<mm::Mappable>(node().contents_);
}

Result<> RegularFile::allocate(uint32_t mode, uint64_t offset, uint64_t length) {
    constexpr uint32_t kKeepSize = 1, kPunchHole = 2, kZeroRange = 16;
    if (mode & ~(kKeepSize | kPunchHole | kZeroRange)) return Errno::kOPNOTSUPP;
    if ((mode & kPunchHole) && (!(mode & kKeepSize) || (mode & kZeroRange))) return Errno::kOPNOTSUPP;
    return node().allocate(mode, offset, length, mode & (kPunchHole | kZeroRange));
}

Result<> RegularFile::flush() {
    if (!writable() || !node().is_dirty()) return {};
    if (node().is_unlinked()) return {};  // nobody will find it again
    return node().flush();
}

}  // namespace kvmsbx::fs::ninep
