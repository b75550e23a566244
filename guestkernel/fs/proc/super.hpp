#pragma once
// A mount of proc: what its options hide (proc(5): hidepid, gid, subset). Each mount has options of its own.
#include "guestkernel/fs/proc/nodes.hpp"
#include "guestkernel/fs/proc/subject.hpp"

namespace kvmsbx::fs {

class ProcFileSystem final : public SyntheticFileSystem {
  public:
    ProcFileSystem();
    Result<String> options() override;
    Result<> reconfigure(std::string_view data) override;

    // Whether the current task finds /proc/PID.
    bool shows(const ProcSubject& subject) const;
    // Whether it may look into /proc/PID.
    bool opens(const ProcSubject& subject) const;
    // subset=pid: processes are all there is.
    bool processes_only() const { return processes_only_; }

  private:
    // Linux's numbers.
    enum class Hide : uint8_t { kNothing = 0, kContents = 1, kProcesses = 2, kUnlessTraceable = 4 };
    static Result<Hide> parse_hide(std::string_view text);
    bool permits(const ProcSubject& subject, Hide least) const;

    Hide hide_ = Hide::kNothing;
    uint32_t gid_ = 0;  // whose members see all
    bool processes_only_ = false;
};

}  // namespace kvmsbx::fs
