#pragma once
// File descriptor tables; shared by the tasks of a process (CLONE_FILES).
#include "guestkernel/lib/vector.hpp"
#include "guestkernel/vfs/file.hpp"

namespace kvmsbx::vfs {

class FdTable : public RefCounted {
  public:
    // EBADF if not open.
    Result<RefPtr<File>> get(int fd) const;
    // Lowest free descriptor >= minimum. EMFILE when it would reach limit (RLIMIT_NOFILE), ENOMEM.
    Result<int> install(RefPtr<File> file, bool close_on_exec, uint64_t limit, int minimum = 0);
    // Whether install() would find room: EMFILE before anything is created.
    Result<> check_room(uint64_t limit) const;
    // dup2/dup3: replaces what fd was. EBADF when fd >= limit.
    Result<> install_at(int fd, RefPtr<File> file, bool close_on_exec, uint64_t limit);
    // close(2): EBADF, or what flush() says.
    Result<> close(int fd);
    Result<bool> close_on_exec(int fd) const;
    Result<> set_close_on_exec(int fd, bool on);
    void close_all_on_exec();                             // execve(2)
    Result<> close_range(unsigned first, unsigned last);  // close_range(2) without flags
    Result<RefPtr<FdTable>> clone() const;                // fork(2)
    // Lowest open descriptor >= from, or -1.
    int next_open(int from) const;
    // Closes all; the errors are lost, as on exit(2). File::flush() may block.
    ~FdTable() override;

  private:
    static constexpr size_t kMaxDescriptor = (1 << 20) - 1;  // fs.nr_open
    Result<> finish_close(File& file);
    struct Slot {
        RefPtr<File> file;
        bool close_on_exec = false;
    };
    Vector<Slot> slots_;
    size_t lowest_free_ = 0;  // no descriptor below it is free
};

}  // namespace kvmsbx::vfs
