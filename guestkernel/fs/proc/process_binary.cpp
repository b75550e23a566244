// /proc/PID/mem and pagemap (Linux: fs/proc/base.c, task_mmu.c): files whose offsets are addresses. The address space
// is taken at open(2); an exec later on shows in read as an end of file.
#include "guestkernel/fs/proc/nodes.hpp"
#include "guestkernel/fs/proc/subject.hpp"
#include "guestkernel/platform/host.hpp"
#include "guestkernel/task/remote_memory.hpp"

namespace kvmsbx::fs {
namespace {

constexpr size_t kChunk = 1024;

class AddressFile : public vfs::InodeFile {
  public:
    AddressFile(const vfs::Path& path, uint32_t flags, RefPtr<mm::AddressSpace> space)
        : InodeFile(path, flags), space_(std::move(space)) {}
    Result<uint64_t> seek(int64_t offset, int whence) override {
        if (whence > 1) return Errno::kINVAL;
        // Addresses of the upper half are offsets, too.
        sched::MutexGuard guard(position_lock);
        return position = static_cast<uint64_t>(whence == 0 ? offset : static_cast<int64_t>(position) + offset);
    }

  protected:
    const RefPtr<mm::AddressSpace> space_;
};

class MemoryFile final : public AddressFile {
  public:
    using AddressFile::AddressFile;
    Result<size_t> read_at(mm::IoBuffer& to, uint64_t offset) override {
        size_t done = 0;
        char chunk[kChunk];
        while (!to.empty()) {
            const size_t wanted = std::min(to.remaining(), sizeof chunk);
            const auto got = task::read_remote(*space_, offset + done, chunk, wanted);
            if (got.is_error() || got.value() == 0) return done ? Result<size_t>(done) : Errno::kIO;
            const size_t put = TRY(to.put(chunk, got.value()));
            done += put;
            if (put < wanted) break;
        }
        return done;
    }
    Result<size_t> write_at(mm::IoBuffer& from, uint64_t offset) override {
        size_t done = 0;
        char chunk[kChunk];
        while (!from.empty()) {
            const size_t wanted = TRY(from.take(chunk, std::min(from.remaining(), sizeof chunk)));
            const auto put = task::write_remote(*space_, offset + done, chunk, wanted);
            if (put.is_error() || put.value() == 0) return done ? Result<size_t>(done) : Errno::kIO;
            done += put.value();
            if (put.value() < wanted) break;
        }
        return done;
    }
};

class PagemapFile final : public AddressFile {
  public:
    using AddressFile::AddressFile;
    Result<size_t> read_at(mm::IoBuffer& to, uint64_t offset) override {
        if (offset % sizeof(uint64_t) || to.remaining() % sizeof(uint64_t)) return Errno::kINVAL;
        size_t done = 0;
        while (!to.empty()) {
            const uint64_t page = (offset + done) / sizeof(uint64_t);
            if (page >= platform::user_end / mm::kPageSize) break;
            const uint64_t state = space_->page_state(page * mm::kPageSize);
            done += TRY(to.put(&state, sizeof state));
        }
        return done;
    }
};

template <typename FileType, uint32_t kPermissions>
class AddressNode final : public SyntheticNode {
  public:
    AddressNode(RefPtr<vfs::FileSystem> fs, uint64_t ino, ProcSubject subject)
        : SyntheticNode(std::move(fs), ino, vfs::kModeRegular | kPermissions), subject_(std::move(subject)) {}
    Result<RefPtr<vfs::File>> open(const vfs::Path& path, uint32_t flags) override {
        TRY(may_inspect(subject_));
        const task::Task* task = subject_.task();
        if (!task || !task->space_) return Errno::kSRCH;
        return RefPtr<vfs::File>(TRY(make_ref<FileType>(path, flags, task->space_)));
    }

  private:
    const void* identity() const override { return subject_.process.get(); }
    void owner(uint32_t& uid, uint32_t& gid) override { uid = subject_.uid(), gid = subject_.gid(); }
    const ProcSubject subject_;
};

}  // namespace

Result<RefPtr<vfs::Inode>> make_memory_file(RefPtr<vfs::FileSystem> fs, uint64_t ino, ProcSubject subject) {
    return RefPtr<vfs::Inode>(TRY((make_ref<AddressNode<MemoryFile, 0600>>(std::move(fs), ino, std::move(subject)))));
}

Result<RefPtr<vfs::Inode>> make_pagemap_file(RefPtr<vfs::FileSystem> fs, uint64_t ino, ProcSubject subject) {
    return RefPtr<vfs::Inode>(TRY((make_ref<AddressNode<PagemapFile, 0400>>(std::move(fs), ino, std::move(subject)))));
}

}  // namespace kvmsbx::fs
