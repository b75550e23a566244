#pragma once
// The system calls with which the server touches files. A file is named by a descriptor, or by a descriptor of its
// directory and one checked Name; nothing here takes a path, and nothing follows a symlink.
#include <sys/types.h>

#include <cstdint>
#include <string_view>

#include "common/host/fd.hpp"
#include "common/p9/types.hpp"

struct timespec;

namespace kvmsbx::gofer {

// One component of a path, checked and NUL-terminated.
class Name {
  public:
    // kNOENT for "", kNAMETOOLONG over NAME_MAX, kINVAL for ".", "..", and names with '/' or NUL.
    static Result<Name> create(std::string_view name);
    const char* c_str() const { return text_; }

  private:
    Name() = default;
    char text_[p9::kMaxName + 1];
};

// A symlink's target, NUL-terminated: 1 to PATH_MAX-1 bytes without NUL; never resolved here.
class Target {
  public:
    static Result<Target> create(std::string_view target);
    const char* c_str() const { return text_; }

  private:
    Target() = default;
    char text_[4096];
};

// statx of the file itself. `device` is st_dev.
struct FileStat {
    p9::Attr attr;  // without the qid
    uint64_t device = 0;
    uint64_t inode = 0;
};
Result<FileStat> stat_fd(int fd);
Result<FileStat> stat_name(int directory, const Name& name);

// An O_PATH descriptor of directory/name; of a symlink: of the symlink itself.
Result<host::Fd> open_component(int directory, const Name& name);
// A new regular file, open with `flags`, with exactly the permissions of `mode`. kEXIST whatever is there already.
Result<host::Fd> create_file(int directory, const Name& name, uint32_t flags, uint32_t mode);

// Opens O_PATH descriptors for input and output, through /proc/self/fd held open from before the root was left.
class Reopener {
  public:
    Reopener() = default;
    explicit Reopener(host::Fd proc_self_fd) : proc_self_fd_(std::move(proc_self_fd)) {}
    // flags: O_* for openat; the descriptor must be of a regular file.
    Result<host::Fd> open(int fd, uint32_t flags) const;
    // Another O_PATH descriptor, of any kind of file (of an open one, too).
    Result<host::Fd> open_path(int fd) const;
    Result<> change_mode(int fd, uint32_t mode) const;
    // A second name for the file. kXDEV across mounts.
    Result<> link(int fd, int directory, const Name& name) const;

  private:
    host::Fd proc_self_fd_;
};

}  // namespace kvmsbx::gofer
