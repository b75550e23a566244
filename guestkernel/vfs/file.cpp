#include "guestkernel/vfs/file.hpp"

namespace kvmsbx::vfs {

Result<size_t> File::read(mm::IoBuffer&) { return Errno::kINVAL; }
Result<size_t> File::write(mm::IoBuffer&) { return Errno::kINVAL; }
Result<size_t> File::read_at(mm::IoBuffer&, uint64_t) { return Errno::kSPIPE; }
Result<size_t> File::write_at(mm::IoBuffer&, uint64_t) { return Errno::kSPIPE; }
Result<uint64_t> File::seek(int64_t, int) { return Errno::kSPIPE; }
Result<int64_t> File::ioctl(mm::AddressSpace&, uint32_t, uint64_t) { return Errno::kNOTTY; }
PollState File::poll() { return {kPollIn | kPollOut | kPollRdNorm | kPollWrNorm, nullptr}; }
Result<> File::fsync(bool) { return Errno::kINVAL; }
Result<RefPtr<mm::Mappable>> File::mappable() { return Errno::kNODEV; }
Result<> File::read_directory(DirectoryVisitor&) { return Errno::kNOTDIR; }
Result<> File::allocate(uint32_t, uint64_t, uint64_t) { return Errno::kOPNOTSUPP; }

}  // namespace kvmsbx::vfs
