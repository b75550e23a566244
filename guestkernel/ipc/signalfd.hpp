#pragma once
// signalfd(2): reads the signals of whoever reads, not of who made it.
#include "guestkernel/ipc/anonymous_file.hpp"
#include "guestkernel/task/signal.hpp"

namespace kvmsbx::ipc {

class SignalFd final : public AnonymousFile {
  public:
    SignalFd(task::SignalSet mask, uint32_t flags) : AnonymousFile("[signalfd]", flags) { set_mask(mask); }
    void set_mask(task::SignalSet mask);
    task::SignalSet mask() const { return mask_; }
    Result<size_t> read(mm::IoBuffer& to) override;
    vfs::PollState poll() override;
    const void* class_tag() const override { return &kTag; }
    // Null if the file is no signalfd.
    static SignalFd* from(vfs::File& file);

  private:
    static const char kTag;
    task::SignalSet mask_;
};

}  // namespace kvmsbx::ipc
