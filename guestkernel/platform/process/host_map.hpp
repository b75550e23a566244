#pragma once
// What a stub has mapped of RAM: a software TLB. The page table is the truth; what stands here was given by it once and has not been taken
// back since.
#include <iterator>

#include "guestkernel/lib/list.hpp"
#include "guestkernel/lib/ref.hpp"
#include "guestkernel/platform/address_space.hpp"

namespace kvmsbx::platform::process {

class HostMap {
  public:
    ~HostMap() { clear(); }
    // Notes a run as mapped; it replaces what was there. Calls gone(start, end) for what leaves the map, which can reach beyond the run
    // (see remove). False: no memory to note it, and the range is out of the map.
    template <typename Gone>
    bool add(const Run& run, Gone gone) {
        remove(run.address, run.address + run.length, gone);
        return add_to_gap(run);
    }
    // Takes [start, end) out, or makes it read-only. Calls changed(start, end), or changed(run), for each part that was mapped (writable).
    // Where there is no memory to split an entry, all of that entry is treated so. `changed` must not change the map.
    template <typename Changed>
    void remove(uint64_t start, uint64_t end, Changed changed);
    template <typename Changed>
    void make_read_only(uint64_t start, uint64_t end, Changed changed);
    // Whether all of the run is mapped just so.
    bool has(const Run& run);
    void clear();
    bool empty() const { return entries_.empty(); }
    unsigned count() const { return count_; }

  private:
    struct Entry {
        Run run{};
        TreeHook hook;
        uint64_t start() const { return run.address; }
        uint64_t end() const { return run.address + run.length; }
    };
    struct Start {
        using type = uint64_t;
        type operator()(const Entry& entry) const { return entry.run.address; }
    };
    using Entries = Tree<Entry, &Entry::hook, boost::intrusive::key_of_value<Start>>;

    Entries::iterator first_behind(uint64_t address);
    // Cuts the entry in two at `at`, strictly inside it. Null: no memory.
    Entry* split(Entry& entry, uint64_t at);
    void erase(Entry& entry);
    bool insert(const Run& run);
    bool add_to_gap(const Run& run);
    static bool joins(const Run& run, const Run& next);

    Entries entries_;
    unsigned count_ = 0;
};

template <typename Changed>
void HostMap::remove(uint64_t start, uint64_t end, Changed changed) {
    for (auto it = first_behind(start); it != entries_.end() && it->start() < end;) {
        Entry& entry = *it++;
        const uint64_t from = entry.start() < start ? start : entry.start(), to = entry.end() > end ? end : entry.end();
        Entry* going = from > entry.start() ? split(entry, from) : &entry;
        const bool cut = going && (to == going->end() || split(*going, to));
        if (!cut) {
            // The whole of what could not be cut goes.
            if (going && going != &entry) {
                changed(going->start(), going->end());
                erase(*going);
            } else {
                changed(entry.start(), entry.end());
                erase(entry);
            }
            it = first_behind(to);
            continue;
        }
        changed(from, to);
        erase(*going);
        it = first_behind(to);
    }
}

template <typename Changed>
void HostMap::make_read_only(uint64_t start, uint64_t end, Changed changed) {
    for (auto it = first_behind(start); it != entries_.end() && it->start() < end;) {
        Entry& entry = *it++;
        if (!entry.run.writable) continue;
        // Rights that are missing cost a fault: what cannot be cut becomes read-only as a whole.
        Entry* narrowed = &entry;
        if (start > entry.start())
            if (Entry* upper = split(entry, start)) narrowed = upper;
        if (end < narrowed->end()) (void)split(*narrowed, end);
        narrowed->run.writable = false;
        const uint64_t behind = narrowed->end();
        changed(narrowed->run);
        it = first_behind(behind);
    }
}

}  // namespace kvmsbx::platform::process
