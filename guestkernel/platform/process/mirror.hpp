#pragma once
// The process platform's part of an address space: the stub that the application runs in and what it has mapped.
//
// What rights_gone() finds mapped is taken out of the map at once and ordered at the next flush() or mapped(); until then no frame that is
// released comes into use again (holds_frames).
//
// The host may refuse an order for lack of memory or of mappings (vm.max_map_count). Then all of the application's memory is unmapped, which
// needs neither, and comes back by faults. Where that does not help, the stub is ended.
#include "guestkernel/platform/address_space.hpp"
#include "guestkernel/platform/cpu.hpp"
#include "guestkernel/platform/process/host_map.hpp"
#include "guestkernel/platform/process/stub.hpp"

namespace kvmsbx::platform {

class Mirror {
  public:
    explicit Mirror(process::Stub& stub) : stub_(&stub) {}
    Mirror(const Mirror&) = delete;
    ~Mirror();

    void rights_gone(uint64_t start, uint64_t end, Left left);
    void flush();
    void mapped(const Run* runs, unsigned count, UserSpace::Expected expected);
    // As UserSpace has them.
    Result<> get_ready();
    uint64_t cpus() const { return stub_->cpus(); }
    Result<process::Runner*> runner(CpuArea& area);
    int32_t pid() const { return stub_->pid(); }

  private:
    struct Change {
        uint64_t start, end;
        bool unmaps;  // else: read-only
        bool executable;
    };
    static constexpr unsigned kMostChanges = 24;
    static bool is_replaced(const Change& change, const Run* runs, unsigned count);
    void note(uint64_t start, uint64_t end, bool unmaps, bool executable);
    void note_all();  // the caller clears the map
    // `runs` are mapped next: what they replace as a whole needs no order of its own.
    void order_changes(const Run* runs, unsigned count);
    bool order_runs(const Run* runs, unsigned count, UserSpace::Expected expected);
    void map_anew(const Run* runs, unsigned count, UserSpace::Expected expected);
    void done();

    process::Stub* stub_;
    process::HostMap map_;
    Change changes_[kMostChanges];
    unsigned change_count_ = 0;
    bool all_goes_ = false;  // instead of changes_
};

}  // namespace kvmsbx::platform
