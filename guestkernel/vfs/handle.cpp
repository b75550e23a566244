#include "guestkernel/vfs/handle.hpp"

#include "guestkernel/vfs/walker.hpp"

namespace kvmsbx::vfs {

namespace {

constexpr uint8_t kDirectoryType = kModeDirectory >> 12;  // DT_DIR

// Notes the name that has the number, and the directories to look into next.
class NumberSeeker final : public DirectoryVisitor {
  public:
    explicit NumberSeeker(uint64_t number) : number_(number) {}
    bool visit(const DirectoryEntry& entry) override {
        if (entry.name == "." || entry.name == "..") return true;
        const bool is_it = entry.ino == number_;
        if (!is_it && entry.type != kDirectoryType) return true;
        Result<String> name = String::create(entry.name);
        if (name.is_error()) return false;
        if (!is_it) return directories.push_back(name.release_value()).is_ok();
        found = name.release_value();
        return false;
    }
    String found;
    Vector<String> directories;

  private:
    const uint64_t number_;
};

}  // namespace

Result<Path> find_by_number(Mount& mount, uint64_t number) {
    const RefPtr<Mount> keep(mount);
    if (TRY(mount.root()->inode()->attributes()).ino == number) return Path(keep, mount.root());
    Vector<RefPtr<Dentry>> pending;
    TRY(pending.push_back(mount.root()));
    while (!pending.empty()) {
        const RefPtr<Dentry> directory = pending.back();
        pending.pop_back();
        NumberSeeker seeker(number);
        TRY(directory->inode()->read_directory(0, seeker));
        if (!seeker.found.empty()) {
            RefPtr<Dentry> dentry = TRY(lookup_child(*directory, seeker.found, DirectoryLock::kTake));
            if (!dentry->is_negative()) return Path(keep, std::move(dentry));
        }
        for (const String& name : seeker.directories) {
            RefPtr<Dentry> dentry = TRY(lookup_child(*directory, name, DirectoryLock::kTake));
            if (!dentry->is_negative()) TRY(pending.push_back(std::move(dentry)));
        }
    }
    return Errno::kSTALE;
}

}  // namespace kvmsbx::vfs
