#pragma once
// Address spaces. Model:
// - An AddressSpace is a set of VMAs (address ranges with one kind of content and protection) and an x86-64 page table
//   of its own that is filled by faults. Content is anonymous memory (a frame per touched page, 2 MiB frames in large
//   areas) or a Mappable at an offset, private or shared.
// - A private page that is not ours alone (its frame has other users: the page cache, the parent after fork) is mapped
//   read-only; the write fault copies it, or just allows writing when it has become ours alone.
// - Faults map neighbours too: up to 512 pages that are in the page cache, a growing run of fresh pages in small
//   anonymous areas.
// - A 2 MiB page is private anonymous memory and ours alone, or 512 frames in a row of an object's page cache, each
//   with a reference for it: read-only, but for shared mappings of objects that ignore writes. Whatever concerns a part
//   of it splits it first.
// - Page-table changes that take rights away end with flush(): every vCPU that runs this space re-enters
//   (sched::shoot_down).
// - Where memory is short, make_room() and a fault that finds none evict pages of files, mapped ones as well (see
//   Mappable::evict). Both are called where nobody holds an entry or a frame without a reference; mm::reclaim, which
//   any allocation may call, leaves page tables alone.
// - Ranges are [start, end) in bytes, page aligned. Kernel lock held throughout; a fault on a file may block, and looks
//   everything up again.
#include <cstdint>

#include "guestkernel/lib/list.hpp"
#include "guestkernel/lib/ref.hpp"
#include "guestkernel/mm/page_cache.hpp"
#include "guestkernel/mm/page_table.hpp"
#include "guestkernel/mm/user_memory.hpp"
#include "guestkernel/platform/address_space.hpp"
#include "guestkernel/platform/host.hpp"

namespace kvmsbx::mm {

// PROT_* of mmap(2).
inline constexpr uint32_t kProtRead = 1, kProtWrite = 2, kProtExec = 4;
// MAP_* of mmap(2), x86-64.
inline constexpr uint32_t kMapShared = 0x01, kMapPrivate = 0x02, kMapSharedValidate = 0x03, kMapFixed = 0x10,
                          kMapAnonymous = 0x20, kMap32bit = 0x40, kMapGrowsdown = 0x100, kMapDenywrite = 0x800,
                          kMapLocked = 0x2000, kMapNoreserve = 0x4000, kMapPopulate = 0x8000, kMapStack = 0x20000,
                          kMapHugetlb = 0x40000, kMapFixedNoreplace = 0x100000;

// What madvise(2), mlock(2) and mseal(2) say of a range; mremap(2) and splits take it along.
struct VmaTraits {
    bool no_fork = false, wipe_on_fork = false, no_huge = false, huge = false, no_dump = false, mergeable = false;
    bool no_reserve = false;
    bool locked = false, lock_on_fault = false;
    bool sealed = false;  // can no longer be unmapped, moved or protected otherwise
    friend bool operator==(const VmaTraits&, const VmaTraits&) = default;
};

// A mapped range.
class Vma : public VmaTraits {
  public:
    UserAddress start = 0, end = 0;
    uint32_t protection = 0;
    // What mprotect may allow (files opened read-only, shared).
    uint32_t max_protection = kProtRead | kProtWrite | kProtExec;
    bool shared = false;
    bool grows_down = false;
    enum class Kind : uint8_t { kOther, kHeap, kStack, kVdso, kVvar } kind = Kind::kOther;
    RefPtr<Mappable> object;     // null: private anonymous
    uint64_t first_page = 0;     // index in object of the page at start
    RefPtr<RefCounted> file;     // the vfs::File behind it, for /proc/PID/maps; null for anonymous
    UserAddress last_fault = 0;  // for fault-around in anonymous areas
    uint32_t fault_window = 0;   // pages

    uint64_t pages() const { return (end - start) / kPageSize; }
    uint64_t page_index(UserAddress address) const { return first_page + (address - start) / kPageSize; }
    bool contains(UserAddress address) const { return address >= start && address < end; }

    class AddressSpace* space = nullptr;
    TreeHook tree_hook;
    Vma* next_mapping = nullptr;  // Mappable's list
    Vma** previous_link = nullptr;
};

struct VmaStart {
    using type = UserAddress;
    type operator()(const Vma& vma) const { return vma.start; }
};

struct MapRequest {
    UserAddress address = 0;  // hint, or the place with kMapFixed
    uint64_t length = 0;      // bytes; rounded up
    uint32_t protection = 0, max_protection = kProtRead | kProtWrite | kProtExec;
    uint32_t flags = 0;       // MAP_*
    RefPtr<Mappable> object;  // null: anonymous
    uint64_t offset = 0;      // bytes, page aligned
    RefPtr<RefCounted> file;
    Vma::Kind kind = Vma::Kind::kOther;
    VmaTraits traits;
};
// Mappings of at most so many pages are filled, and told to the platform, as a whole.
inline constexpr uint64_t kSmallMapping = 16;
inline constexpr uint64_t kMaxMapCount = 65'530;  // vm.max_map_count
// What fork(2) leaves to MCL_FUTURE.
enum class LockFuture : uint8_t { kNo, kYes, kOnFault };

// Identity of a futex word: private by (space, address), shared by (object, offset).
struct FutexKey {
    const void* object;
    uint64_t offset;
    friend bool operator==(const FutexKey&, const FutexKey&) = default;
};

// What a mapping has in memory, in bytes: the lines of /proc/PID/smaps.
struct MappingUse {
    uint64_t resident = 0, proportional = 0, proportional_dirty = 0;
    uint64_t shared_clean = 0, shared_dirty = 0, private_clean = 0, private_dirty = 0;
    uint64_t referenced = 0, anonymous = 0, huge = 0;
};

// A frame for a private page of a mapping, in a row with those of the pages around it where that is possible. `entry`:
// the page's, inside its table. ENOMEM.
Result<Frame*> allocate_private_frame(const Vma& vma, UserAddress page, const Pte& entry, Zero zero);

// Called by a fault that finds no memory; true: try again. May block. Null: no help.
extern bool (*relieve_memory)();

class AddressSpace : public RefCounted {
  public:
    // layout: address spaces with the same number are likely to be filled alike (see PageTable); 0: a new one.
    static Result<RefPtr<AddressSpace>> create(uint64_t layout = 0);
    // fork(2): the same VMAs; private pages become copy-on-write on both sides.
    Result<RefPtr<AddressSpace>> fork();

    // mmap(2); EINVAL, ENOMEM, EEXIST (kMapFixedNoreplace).
    Result<UserAddress> map(const MapRequest& request);
    Result<> unmap(UserAddress start, uint64_t length);
    Result<> protect(UserAddress start, uint64_t length, uint32_t protection);
    // mremap(2).
    Result<UserAddress> remap(UserAddress old_address, uint64_t old_size, uint64_t new_size, uint32_t flags,
                              UserAddress new_address);
    Result<> advise(UserAddress start, uint64_t length, int advice);           // madvise(2)
    Result<> synchronize(UserAddress start, uint64_t length, uint32_t flags);  // msync(2)
    Result<> resident(UserAddress start, uint64_t length, UserAddress out);    // mincore(2)
    // Faults all pages in; errors as fault().
    Result<> populate(UserAddress start, UserAddress end, Access access);
    // mlock(2) and kin: marks only; who may lock how much is the caller's business. ENOMEM where nothing is mapped.
    Result<> lock(UserAddress start, UserAddress end, bool locked, bool on_fault);
    void lock_all(bool locked, bool on_fault);
    uint64_t locked_bytes(UserAddress start = 0, UserAddress end = platform::user_end);
    uint64_t data_bytes();                              // private writable memory, as RLIMIT_DATA counts
    Result<> seal(UserAddress start, UserAddress end);  // mseal(2)
    bool has_sealed(UserAddress start, UserAddress end);
    // brk(2): the new break, or the old one where it cannot be had.
    UserAddress set_break(UserAddress wanted, uint64_t data_limit);

    // Makes the page at `address` accessible as the CPU's fault wants it. EFAULT: nothing mapped (SEGV_MAPERR); EACCES:
    // protection (SEGV_ACCERR); ENXIO: beyond the object's end (SIGBUS); EIO: the same; ENOMEM: out of memory, and
    // nothing was to be done (relieve_memory). May block.
    // later: the caller calls tell_platform() next, which makes true what rights_gone() noted.
    enum class Flush : bool { kNow, kLater };
    Result<> fault(UserAddress address, Access access, Flush flushes = Flush::kNow);
    // The frame behind a user page, faulted in, with a reference. Errors as fault().
    Result<Frame*> pin(UserAddress address, Access access);
    // The same for a debugger: what protection forbids is read all the same, and written in a copy of its own where the
    // mapping is private (Linux's FOLL_FORCE). EFAULT.
    Result<Frame*> pin_forced(UserAddress address, Access access);
    Result<FutexKey> futex_key(UserAddress address, bool shared);

    // Fast lookup for user-memory access: the direct-map address of `address` if its page is present with the right,
    // else null.
    char* translate(UserAddress address, Access access) const;

    // The platform's part of it.
    platform::UserSpace& user_space() { return user_; }
    // After fault(): tells the platform of the page and its neighbours, where that saves faults.
    void tell_platform(UserAddress address);
    // Of what the page table has, from the top down, as much as is told at once: for a space that is about to run. writable_only: of
    // what lost its rights in the platform alone.
    enum class Tell : bool { kAll, kWritable };
    void tell_platform_of_all(Tell what);
    // Makes the other vCPUs that run this space's application enter the Sentry once.
    void interrupt_others();
    // A page of the platform's (CallPost::page_address) above user_end, which no VMA covers; null until it is made.
    void* platform_page() const { return platform_page_ ? platform_page_->data() : nullptr; }
    Result<> make_platform_page(UserAddress at);  // `at`: the same for all calls. ENOMEM
    Vma* find(UserAddress address);               // the VMA that contains it, or null
    Vma* find_from(UserAddress address);          // the first VMA with end > address, or null
    Vma* next(Vma& vma);
    // Counters for /proc: bytes.
    uint64_t mapped_bytes() const { return mapped_; }
    uint64_t map_count() const { return count_; }
    uint64_t table_bytes() const { return table_.tables() * kPageSize; }
    uint64_t resident_pages();
    // Of the pages in [start, end): how many are mapped, and how many of these are writable, thus nobody else's where
    // the range is private.
    struct Residency {
        uint64_t pages = 0, writable = 0;
    };
    Residency residency(UserAddress start, UserAddress end);
    // VmHWM: the largest resident size that was seen; it is looked at when much goes at once, and by readers.
    uint64_t peak_resident_pages();
    MappingUse use_of(const Vma& vma) const;
    // The bits of /proc/PID/pagemap for a page, without its frame's number.
    uint64_t page_state(UserAddress address);

    // Where things are, for brk and /proc.
    UserAddress break_start = 0, break_end = 0;
    UserAddress stack_top = 0, arguments_start = 0, arguments_end = 0, environment_start = 0, environment_end = 0;
    UserAddress code_start = 0, code_end = 0, data_start = 0, data_end = 0;
    UserAddress vdso = 0;
    UserAddress map_top = 0;  // mmap goes down from here
    uint64_t stack_limit = 8 << 20;
    uint64_t address_limit = ~0ULL;            // RLIMIT_AS
    uint64_t data_limit = ~0ULL;               // RLIMIT_DATA
    LockFuture lock_future = LockFuture::kNo;  // mlockall(MCL_FUTURE)
    uint64_t peak_mapped = 0;                  // VmPeak
    uint32_t barrier_registrations = 0;        // membarrier(2)
    RefPtr<RefCounted> executable;             // the vfs::File of /proc/PID/exe
    Vector<uint64_t> auxiliary_vector;
    RefPtr<RefCounted> aio_contexts;  // of io_setup(2); ipc/ keeps them here

    // Mappable::unmap_pages for one VMA, without the flush.
    void unmap_object_pages(Vma& vma, UserAddress start, UserAddress end, bool also_private_copies);
    // Ends the use of the page tables by this space: called when the last task leaves; the destructor does it as well.
    void clear();
    ~AddressSpace() override;

  private:
    friend struct FaultHandler;
    friend class Mappable;
    using Tree_ = Tree<Vma, &Vma::tree_hook, boost::intrusive::key_of_value<VmaStart>>;
    Result<UserAddress> find_gap(uint64_t length, UserAddress hint, uint64_t alignment, uint64_t phase,
                                 UserAddress top);
    Result<Vma*> split(Vma& vma, UserAddress at);
    Result<> insert(OwnPtr<Vma> vma);
    void erase(Vma& vma);
    void try_merge(Vma& vma);
    Result<> advise_range(UserAddress start, UserAddress end, int advice);
    Result<> advise_one(Vma& vma, UserAddress start, UserAddress end, int advice);
    Result<> set_traits(Vma& vma, UserAddress start, UserAddress end, const VmaTraits& traits);
    Result<> check_growth(uint64_t length, uint32_t protection, uint32_t flags, bool anonymous);
    void zap(UserAddress start, UserAddress end, Vma& vma);
    void split_to_unmap(Pte& huge, UserAddress at, UserAddress end, const Vma& vma);
    Result<> split_boundaries(UserAddress start, UserAddress end);
    // VMAs that have left the tree; the destructor writes back what was shared, which may block, and deletes them.
    class Departed {
      public:
        Departed() = default;
        Departed(const Departed&) = delete;
        ~Departed();
        void add(Vma& vma) {
            vma.next_mapping = vmas_;
            vmas_ = &vma;
        }

      private:
        Vma* vmas_ = nullptr;  // through next_mapping
    };
    // What is done to page tables becomes true everywhere, on the way of errors, too.
    class FlushAtEnd {
      public:
        explicit FlushAtEnd(AddressSpace& space) : space_(space) {}
        FlushAtEnd(const FlushAtEnd&) = delete;
        ~FlushAtEnd() { space_.flush(); }

      private:
        AddressSpace& space_;
    };
    Result<> unmap_range(UserAddress start, UserAddress end);  // may block
    Result<> unmap_range(UserAddress start, UserAddress end, Departed& departed);
    void take_out(Vma& vma);
    // Mappable::collect_dirty and Mappable::evict for one VMA; a flush is due where it gives true.
    bool collect_dirty(Vma& vma, UserAddress from, UserAddress to);
    void note_use(const Vma& vma, UserAddress start, UserAddress end, BlockPages& used);
    Result<> move_entries(UserAddress from, UserAddress to, uint64_t length);
    Vma* grow_stack(UserAddress address);
    Vma* find_before(UserAddress address);  // the last VMA with start < address
    // What user_.rights_gone() was told becomes true everywhere. later: fault() flushes at its end.
    void flush();
    void flush_later();
    void tell_of_page(UserAddress address);

    PageTable table_;
    platform::UserSpace user_;
    uint64_t layout_ = 0;
    Tree_ vmas_;
    uint64_t mapped_ = 0;
    uint64_t count_ = 0;  // of vmas_
    bool any_sealed_ = false;
    uint64_t peak_resident_ = 0;  // pages
    Frame* platform_page_ = nullptr;
    UserAddress platform_page_at_ = 0;
};

}  // namespace kvmsbx::mm
