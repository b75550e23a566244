#pragma once
// What files without a name have in common (eventfd, timerfd, signalfd, epoll): an anonymous inode.
#include "guestkernel/vfs/file.hpp"

namespace kvmsbx::ipc {

class AnonymousFile : public vfs::File {
  public:
    // name: "[eventfd]"; lives for ever.
    AnonymousFile(const char* name, uint32_t flags) : File(vfs::kORdwr | flags), name_(name) {}
    Result<String> describe() override {
        String text = TRY(String::create("anon_inode:"));
        TRY(text.append(std::string_view(name_)));
        return text;
    }
    Result<size_t> read_at(mm::IoBuffer&, uint64_t) override { return Errno::kSPIPE; }
    Result<size_t> write_at(mm::IoBuffer&, uint64_t) override { return Errno::kSPIPE; }
    Result<uint64_t> seek(int64_t, int) override { return Errno::kSPIPE; }
    Result<> fsync(bool) override { return Errno::kINVAL; }

  private:
    const char* name_;
};

}  // namespace kvmsbx::ipc
