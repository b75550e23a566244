#pragma once
// Open file descriptions. A File is what open(2) makes: an inode (or pipe end, socket, ...), a position, status flags.
// Descriptors are references to it (fd_table.hpp).
#include <cstdint>

#include "guestkernel/lib/list.hpp"
#include "guestkernel/lib/ref.hpp"
#include "guestkernel/mm/page_cache.hpp"
#include "guestkernel/mm/user_memory.hpp"
#include "guestkernel/sched/sched.hpp"

namespace kvmsbx::vfs {

class Inode;
class Path;
class DirectoryVisitor;

// poll(2) bits.
inline constexpr uint32_t kPollIn = 0x001, kPollPri = 0x002, kPollOut = 0x004, kPollErr = 0x008, kPollHup = 0x010,
                          kPollNval = 0x020, kPollRdNorm = 0x040, kPollRdBand = 0x080, kPollWrNorm = 0x100,
                          kPollRdHup = 0x2000;

// open(2) flags, x86-64 values.
inline constexpr uint32_t kOAccMode = 3, kORdonly = 0, kOWronly = 1, kORdwr = 2, kOCreat = 0100, kOExcl = 0200,
                          kONoctty = 0400, kOTrunc = 01000, kOAppend = 02000, kONonblock = 04000, kODsync = 010000,
                          kOAsync = 020000, kODirect = 040000, kOLargefile = 0100000, kODirectory = 0200000,
                          kONofollow = 0400000, kONoatime = 01000000, kOCloexec = 02000000, kOSync = 04010000,
                          kOPath = 010000000, kOTmpfile = 020200000;

struct PollState {
    uint32_t events;          // what is true now
    sched::WaitQueue* queue;  // woken when that may change; null: never changes
};

// Something that watches a File without a reference to it (an epoll interest): told when the last reference is gone,
// before any destructor runs. It must unlink itself then, and must not block.
class FileObserver {
  public:
    virtual void file_gone() = 0;
    ListHook observer_hook;  // File::observers

  protected:
    ~FileObserver() = default;
};

class File : public RefCounted {
  public:
    explicit File(uint32_t flags) : flags(flags) {}

    // Reads or writes at the description's own position and moves it (position_lock), or ignores it for streams.
    // Returns the bytes moved; 0 = end of file. Default: EINVAL as for objects without that operation; callers check
    // the access mode (EBADF) first.
    virtual Result<size_t> read(mm::IoBuffer& to);
    virtual Result<size_t> write(mm::IoBuffer& from);
    // pread/pwrite. ESPIPE for streams.
    virtual Result<size_t> read_at(mm::IoBuffer& to, uint64_t offset);
    virtual Result<size_t> write_at(mm::IoBuffer& from, uint64_t offset);
    virtual Result<uint64_t> seek(int64_t offset, int whence);
    virtual Result<int64_t> ioctl(mm::AddressSpace& space, uint32_t request, uint64_t argument);  // ENOTTY
    virtual PollState poll();  // default: always readable and writable
    virtual Result<> fsync(bool data_only);
    // getdents64(2): entries from the present position on, which moves behind the last one taken. ENOTDIR.
    virtual Result<> read_directory(DirectoryVisitor& visitor);
    // fallocate(2), mode and range as there. EOPNOTSUPP where the file system cannot.
    virtual Result<> allocate(uint32_t mode, uint64_t offset, uint64_t length);
    // What mmap maps. ENODEV where the object cannot be mapped. Null result value: map anonymous memory (/dev/zero).
    virtual Result<RefPtr<mm::Mappable>> mappable();
    // Called when a descriptor is closed (POSIX locks, flush): errors go to close(2).
    virtual Result<> flush() { return {}; }

    // The file is a running program as long as this description lives: its inode cannot be opened for writing
    // (ETXTBSY).
    virtual void deny_writers() {}

    virtual Inode* inode() { return nullptr; }  // null: anonymous objects without one
    virtual const Path* path() { return nullptr; }
    // What /proc/PID/fd/N points at and maps prints: a path, "pipe:[123]", "socket:[4]", "anon_inode:[eventpoll]".
    virtual Result<String> describe() = 0;

    bool readable() const { return !(flags & kOPath) && (flags & kOAccMode) != kOWronly; }
    bool writable() const { return !(flags & kOPath) && (flags & kOAccMode) != kORdonly; }
    bool nonblocking() const { return flags & kONonblock; }

    // Names the class to those who want to know it again (there is no RTTI): an address of its own. Null: nobody asks.
    virtual const void* class_tag() const { return nullptr; }

    // The last descriptor is gone when the last reference is; the destructor must not block.
    uint32_t flags;  // O_* as fcntl(F_GETFL) shows them
    uint64_t position = 0;
    sched::Mutex position_lock;
    // Who gets SIGIO (fcntl F_SETOWN), kept by another layer. It goes first when the description does.
    RefPtr<RefCounted> signal_owner;
    List<FileObserver, &FileObserver::observer_hook> observers;

  protected:
    void last_reference_gone() override {
        signal_owner = nullptr;
        while (!observers.empty()) {
            FileObserver* const first = &observers.front();
            first->file_gone();  // may end the observer
            VERIFY(observers.empty() || &observers.front() != first);
        }
        delete this;
    }
};

}  // namespace kvmsbx::vfs
