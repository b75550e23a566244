#include "guestkernel/vfs/fd_table.hpp"

#include "guestkernel/vfs/inode.hpp"
#include "guestkernel/vfs/locks.hpp"
#include "guestkernel/vfs/watch.hpp"

namespace kvmsbx::vfs {

Result<RefPtr<File>> FdTable::get(int fd) const {
    if (fd < 0 || static_cast<size_t>(fd) >= slots_.size()) return Errno::kBADF;
    const RefPtr<File>& file = slots_[static_cast<size_t>(fd)].file;
    if (!file) return Errno::kBADF;
    return RefPtr<File>(file);
}

Result<int> FdTable::install(RefPtr<File> file, bool close_on_exec, uint64_t limit, int minimum) {
    size_t fd = static_cast<size_t>(minimum);
    if (fd < lowest_free_) fd = lowest_free_;
    while (fd < slots_.size() && slots_[fd].file) ++fd;
    if (fd >= limit || fd > kMaxDescriptor) return Errno::kMFILE;
    if (fd >= slots_.size()) TRY(slots_.resize(fd + 1));
    slots_[fd] = Slot{std::move(file), close_on_exec};
    if (static_cast<size_t>(minimum) <= lowest_free_) lowest_free_ = fd + 1;
    return static_cast<int>(fd);
}

Result<> FdTable::check_room(uint64_t limit) const {
    size_t fd = lowest_free_;
    while (fd < slots_.size() && slots_[fd].file) ++fd;
    return fd >= limit || fd > kMaxDescriptor ? Result<>(Errno::kMFILE) : Result<>();
}

Result<> FdTable::install_at(int fd, RefPtr<File> file, bool close_on_exec, uint64_t limit) {
    if (fd < 0 || static_cast<uint64_t>(fd) >= limit || static_cast<size_t>(fd) > kMaxDescriptor) return Errno::kBADF;
    const size_t index = static_cast<size_t>(fd);
    if (index >= slots_.size()) TRY(slots_.resize(index + 1));
    RefPtr<File> replaced = std::move(slots_[index].file);
    slots_[index] = Slot{std::move(file), close_on_exec};
    if (replaced) (void)finish_close(*replaced);  // dup2(2): errors of the silent close are lost
    return {};
}

Result<> FdTable::finish_close(File& file) {
    if (Inode* inode = file.inode()) {
        if (inode->watches) inode->watches->closed(*this, file);
        if (inode->locks) release_record_locks(*inode, this);
    }
    return file.flush();
}

Result<> FdTable::close(int fd) {
    RefPtr<File> file = TRY(get(fd));
    slots_[static_cast<size_t>(fd)] = Slot{};
    if (static_cast<size_t>(fd) < lowest_free_) lowest_free_ = static_cast<size_t>(fd);
    return finish_close(*file);
}

Result<bool> FdTable::close_on_exec(int fd) const {
    TRY(get(fd));
    return slots_[static_cast<size_t>(fd)].close_on_exec;
}

Result<> FdTable::set_close_on_exec(int fd, bool on) {
    TRY(get(fd));
    slots_[static_cast<size_t>(fd)].close_on_exec = on;
    return {};
}

void FdTable::close_all_on_exec() {
    for (int fd = next_open(0); fd >= 0; fd = next_open(fd + 1))
        if (slots_[static_cast<size_t>(fd)].close_on_exec) (void)close(fd);
}

Result<> FdTable::close_range(unsigned first, unsigned last) {
    if (first > last) return Errno::kINVAL;
    if (first >= slots_.size()) return {};
    for (int fd = next_open(static_cast<int>(first)); fd >= 0 && static_cast<unsigned>(fd) <= last;
         fd = next_open(fd + 1))
        (void)close(fd);
    return {};
}

Result<RefPtr<FdTable>> FdTable::clone() const {
    auto copy = TRY(make_ref<FdTable>());
    TRY(copy->slots_.resize(slots_.size()));
    for (size_t i = 0; i < slots_.size(); ++i) copy->slots_[i] = Slot{slots_[i].file, slots_[i].close_on_exec};
    copy->lowest_free_ = lowest_free_;
    return copy;
}

int FdTable::next_open(int from) const {
    for (size_t fd = from < 0 ? 0 : static_cast<size_t>(from); fd < slots_.size(); ++fd)
        if (slots_[fd].file) return static_cast<int>(fd);
    return -1;
}

FdTable::~FdTable() {
    for (int fd = next_open(0); fd >= 0; fd = next_open(fd + 1)) (void)close(fd);
}

}  // namespace kvmsbx::vfs
