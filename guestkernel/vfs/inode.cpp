#include "guestkernel/vfs/inode.hpp"

#include "guestkernel/vfs/device.hpp"
#include "guestkernel/vfs/locks.hpp"
#include "guestkernel/vfs/path.hpp"

namespace kvmsbx::vfs {

namespace {
uint32_t last_device_minor;
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
Result<RefPtr<Inode>> Inode::make_directory(std::string_view, const NewNode&) { return Errno::kPERM; }
Result<RefPtr<Inode>> Inode::make_node(std::string_view, const NewNode&) { return Errno::kPERM; }
Result<RefPtr<Inode>> Inode::make_symlink(std::string_view, std::string_view, const NewNode&) { return Errno::kPERM; }
Result<> Inode::link(std::string_view, Inode&) { return Errno::kPERM; }
Result<> Inode::unlink(std::string_view, Inode&) { return Errno::kPERM; }
Result<> Inode::remove_directory(std::string_view, Inode&) { return Errno::kPERM; }
Result<> Inode::rename(std::string_view, Inode&, Inode&, std::string_view, Inode*, uint32_t) { return Errno::kPERM; }
Result<> Inode::read_directory(uint64_t, DirectoryVisitor&) { return Errno::kNOTDIR; }
Result<String> Inode::read_link() { return Errno::kINVAL; }
Result<Path> Inode::follow_magic_link() { return Errno::kINVAL; }

}  // namespace kvmsbx::vfs
