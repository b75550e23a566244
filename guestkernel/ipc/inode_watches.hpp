#pragma once
// Who watches an inode: inotify's watches and dnotify's notices. The inode points at its InodeWatches for as long as
// there is one of either; each of them unhooks itself and calls end_if_unused() when it ends. What happens comes in
// through vfs/watch.hpp; nothing here blocks.
#include "guestkernel/ipc/dnotify.hpp"
#include "guestkernel/ipc/inotify.hpp"

namespace kvmsbx::ipc {

class InodeWatches final : public vfs::Watches {
  public:
    explicit InodeWatches(vfs::Inode& inode) : inode_(inode) { inode.watches = this; }
    ~InodeWatches() { inode_.watches = nullptr; }
    // Null if nobody watches the inode.
    static InodeWatches* find(vfs::Inode& inode);
    // Made if there is none: the caller adds to a list, or calls end_if_unused(). ENOMEM.
    static Result<InodeWatches*> of(vfs::Inode& inode);

    void happened(uint32_t events, std::string_view name, uint32_t cookie, bool unlinked) override;
    void lost_last_name() override { nameless_ = true; }
    void check_end(uint32_t held) override;
    void closed(const vfs::FdTable& table, vfs::File& file) override;
    // The table's registration for this open directory, or null.
    DirectoryNotice* find_notice(const vfs::FdTable& table, const vfs::File& file);
    void end_if_unused() {
        if (!telling_ && watches.empty() && notices.empty()) delete this;
    }

    List<Inotify::Watch, &Inotify::Watch::inode_hook> watches;
    List<DirectoryNotice, &DirectoryNotice::inode_hook> notices;

  private:
    void stop_telling() {
        telling_ = false;
        end_if_unused();
    }
    vfs::Inode& inode_;
    bool nameless_ = false;
    bool telling_ = false;  // a list is gone through, and entries may end
};

}  // namespace kvmsbx::ipc
