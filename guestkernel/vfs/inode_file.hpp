#pragma once
// Files that stand for an inode: position, seek and names, shared by all file systems.
#include "guestkernel/vfs/path.hpp"

namespace kvmsbx::vfs {

// Base for regular files and devices with a position. Derived classes have read_at and write_at.
class InodeFile : public File {
  public:
    InodeFile(const Path& path, uint32_t flags);
    ~InodeFile() override;
    Result<size_t> read(mm::IoBuffer& to) override;     // at the position
    Result<size_t> write(mm::IoBuffer& from) override;  // at the position; at the end with O_APPEND
    // SEEK_SET, CUR, END, DATA, HOLE (the whole file is data).
    Result<uint64_t> seek(int64_t offset, int whence) override;
    Inode* inode() override { return inode_.get(); }
    const Path* path() override { return &path_; }
    Result<String> describe() override;
    void deny_writers() override;

  protected:
    // O_APPEND writes go here: at the end of the file as it is then; gives the offset behind it in `end`. Default: size
    // of attributes(), write_at.
    virtual Result<size_t> append(mm::IoBuffer& from, uint64_t& end);
    Path path_;
    RefPtr<Inode> inode_;

  private:
    bool denies_writers_ = false;
};

// An open directory over Inode::read_directory.
class DirectoryFile final : public InodeFile {
  public:
    using InodeFile::InodeFile;
    Result<size_t> read(mm::IoBuffer&) override { return Errno::kISDIR; }
    Result<size_t> read_at(mm::IoBuffer&, uint64_t) override { return Errno::kISDIR; }
    Result<size_t> write(mm::IoBuffer&) override { return Errno::kBADF; }
    Result<size_t> write_at(mm::IoBuffer&, uint64_t) override { return Errno::kBADF; }
    Result<uint64_t> seek(int64_t offset, int whence) override;
    Result<> read_directory(DirectoryVisitor& visitor) override;
    Result<> fsync(bool) override { return {}; }
};
Result<RefPtr<File>> open_directory(const Path& path, uint32_t flags);

// open(2) with O_PATH: a name for *at() calls, nothing else.
class PathFile : public InodeFile {
  public:
    using InodeFile::InodeFile;
    Result<size_t> read(mm::IoBuffer&) override { return Errno::kBADF; }
    Result<size_t> write(mm::IoBuffer&) override { return Errno::kBADF; }
    Result<uint64_t> seek(int64_t, int) override { return Errno::kBADF; }
};

}  // namespace kvmsbx::vfs
