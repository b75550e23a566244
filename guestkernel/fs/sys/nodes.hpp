#pragma once
// Pieces of sysfs. Most of it is tables (fs/proc/nodes.hpp); what comes in numbers (cpu0, cpu1...) is a
// NumberedDirectory.
#include "guestkernel/fs/proc/nodes.hpp"

namespace kvmsbx::fs::sys {

// A directory of fixed texts and of PREFIX0, PREFIX1...
class NumberedDirectory : public SyntheticNode {
  public:
    NumberedDirectory(RefPtr<vfs::FileSystem> fs, uint64_t ino, std::span<const StaticEntry> texts,
                      std::string_view prefix)
        : SyntheticNode(std::move(fs), ino, vfs::kModeDirectory | 0755), texts_(texts), prefix_(prefix) {}
    Result<RefPtr<vfs::Inode>> lookup(std::string_view name) override;
    Result<> read_directory(uint64_t cookie, vfs::DirectoryVisitor& visitor) override;

  private:
    virtual unsigned count() const = 0;
    virtual Result<RefPtr<vfs::Inode>> make(unsigned index, uint64_t number) = 0;
    uint64_t entry_ino(unsigned index) const { return (ino << 8) + index; }
    const std::span<const StaticEntry> texts_;
    const std::string_view prefix_;
};

// /sys/devices/system/cpu and node.
Result<RefPtr<vfs::Inode>> make_cpu_directory(RefPtr<vfs::FileSystem> fs, uint64_t ino);
extern const StaticEntry kNodeDirectory;

}  // namespace kvmsbx::fs::sys
