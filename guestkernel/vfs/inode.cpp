#include "guestkernel/vfs/inode.hpp"

#include "guestkernel/vfs/device.hpp"
#include "guestkernel/vfs/locks.hpp"
#include "guestkernel/vfs/path.hpp"

namespace kvmsbx::vfs {

namespace {
uint32_t last_device_minor;
}

Timestamp current_time() {
    const uint64_t now = sched::realtime_now();
    return {static_cast<int64_t>(now / 1'000'000'000), static_cast<uint32_t>(now % 1'000'000'000)};
}

void apply_change(const AttributeChange& change, Attributes& attributes) {
    using Change = AttributeChange;
    const Timestamp now = current_time();
    if (change.valid & Change::kMode) attributes.mode = (attributes.mode & kModeTypeMask) | (change.mode & 07777);
    if (change.valid & Change::kUid) attributes.uid = change.uid;
    if (change.valid & Change::kGid) attributes.gid = change.gid;
    if (change.valid & Change::kSize) attributes.size = change.size;
    if (change.valid & Change::kAtime) attributes.atime = change.atime;
    if (change.valid & Change::kMtime) attributes.mtime = change.mtime;
    if (change.valid & Change::kAtimeNow) attributes.atime = now;
    if (change.valid & Change::kMtimeNow) attributes.mtime = now;
    attributes.ctime = now;
}

FileSystem::FileSystem() : device(make_device(0, ++last_device_minor)) {}

Inode::~Inode() {
    if (locks) forget_locks(*this);
}

Result<Ownership> Inode::ownership() {
    const Attributes now = TRY(attributes());
    return Ownership{now.mode, now.uid, now.gid};
}

Result<RefPtr<Inode>> Inode::lookup(std::string_view) { return Errno::kNOENT; }
Result<RefPtr<Inode>> Inode::create(std::string_view, const NewNode&) { return Errno::kPERM; }
Result<RefPtr<Inode>> Inode::create_unnamed(const NewNode&) { return Errno::kOPNOTSUPP; }
Result<RefPtr<Inode>> Inode::make_directory(std::string_view, const NewNode&) { return Errno::kPERM; }
Result<RefPtr<Inode>> Inode::make_node(std::string_view, const NewNode&) { return Errno::kPERM; }
Result<RefPtr<Inode>> Inode::make_symlink(std::string_view, std::string_view, const NewNode&) { return Errno::kPERM; }
Result<> Inode::link(std::string_view, Inode&) { return Errno::kPERM; }
Result<> Inode::unlink(std::string_view, Inode&) { return Errno::kPERM; }
Result<> Inode::remove_directory(std::string_view, Inode&) { return Errno::kPERM; }
Result<> Inode::rename(std::string_view, Inode&, Inode&, std::string_view, Inode*, uint32_t) { return Errno::kPERM; }
Result<> Inode::read_directory(uint64_t, DirectoryVisitor&) { return Errno::kNOTDIR; }
Result<String> Inode::read_link() { return Errno::kINVAL; }
Result<Vector<uint8_t>> Inode::get_xattr(std::string_view) { return Errno::kOPNOTSUPP; }
Result<> Inode::set_xattr(std::string_view, std::span<const uint8_t>, uint32_t) { return Errno::kOPNOTSUPP; }
Result<> Inode::remove_xattr(std::string_view) { return Errno::kOPNOTSUPP; }
Result<Vector<uint8_t>> Inode::list_xattrs() { return Vector<uint8_t>(); }
Result<Path> Inode::follow_magic_link() { return Errno::kINVAL; }

}  // namespace kvmsbx::vfs
