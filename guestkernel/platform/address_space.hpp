#pragma once
// What a platform knows of an application's address space besides the page table, which is the truth. On KVM that is a CPU's TLB and
// loaded CR3; on the process platform a stub process, whose mappings are a cache of the page table, too. mm/ calls this; kernel lock held.
#include <cstdint>

#include "common/base/result.hpp"
#include "guestkernel/platform/cpu.hpp"
#include "guestkernel/platform/host.hpp"

namespace kvmsbx::platform {

// What entries of a range still give after a change.
enum class Left : uint8_t { kNothing, kReadOnly };

// A run of pages that follow each other in the address space and in RAM, all with these rights.
struct Run {
    uint64_t address;  // page aligned
    uint64_t length;   // bytes
    Phys phys;
    bool writable, executable;  // readable it is always
};

class UserSpace {
  public:
    UserSpace() = default;
    UserSpace(const UserSpace&) = delete;
    ~UserSpace();

    // Once, with the root of the page table. ENOMEM, EAGAIN (the host has no more processes for it).
    Result<> create(Phys root);
    // Ends the use: no vCPU has it any more. The page table's memory may be freed then.
    void drop();

    // Entries of [start, end) were changed, or will be before flush(), so that they give less, or another page. Frames that are released
    // until then stay out of use.
    void rights_gone(uint64_t start, uint64_t end, Left left);
    // Makes that true everywhere but on other vCPUs that run the application just now. True: those must enter the Sentry, which is the
    // caller's to bring about. May wait, without giving up the kernel lock.
    bool flush();
    // The same for a caller that will call flush() or mapped() soon: this is the time where a platform cannot put it off.
    bool flush_soon();

    // Whether mapped() does anything.
    static bool caches_mappings();
    // A fault at `address` was served; the runs around it are what the page table says. What rights_gone() noted becomes true as well.
    enum class Expected : bool { kSome, kAll };  // how many of the pages will be used soon
    void mapped(const Run* runs, unsigned count, Expected expected);
    static constexpr unsigned kMostRuns = 48;

    // Makes sure, before the application starts, that a vCPU can run it, and maps what mapped() was told as expected. EAGAIN: the
    // host has no more threads for it. ENOMEM.
    Result<> get_ready();
    // Gets the calling vCPU ready to run the application (resume_user). EAGAIN: this vCPU cannot, for now, but usable_cpus() can. Other
    // errors: it cannot run any more.
    Result<> load(CpuArea& area);
    uint64_t usable_cpus() const;  // bit n: vCPU n
    bool is_loaded(const CpuArea& area) const { return area.loaded_cr3 == root_; }
    // The vCPU runs this application, or did when it last ran one.
    bool runs_on(const CpuArea& area) const { return area.user_cr3 == root_; }
    void select(CpuArea& area) const { area.user_cr3 = root_; }

  private:
    Phys root_ = 0;
    class Mirror* mirror_ = nullptr;  // the platform's own
};

// The vCPU's next resume_user() loads its address space again, without what it remembers of it.
inline void forget_space(Cpu& cpu) { cpu.loaded_cr3 = 0; }
// Makes sure that this vCPU no longer uses an application's page table (which can then be freed).
void drop_user_space();

// A frame that is released now may be in use by an application until the next flush(): it must not be used again before.
extern bool holds_frames;

}  // namespace kvmsbx::platform
