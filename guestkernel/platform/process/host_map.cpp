#include "guestkernel/platform/process/host_map.hpp"

#include <new>

namespace kvmsbx::platform::process {

bool HostMap::joins(const Run& run, const Run& next) {
    return run.address + run.length == next.address && run.phys + run.length == next.phys &&
           run.writable == next.writable && run.executable == next.executable;
}

HostMap::Entries::iterator HostMap::first_behind(uint64_t address) {
    auto it = entries_.upper_bound(address);
    if (it != entries_.begin() && std::prev(it)->end() > address) return std::prev(it);
    return it;
}

bool HostMap::insert(const Run& run) {
    auto* entry = new (std::nothrow) Entry;
    if (!entry) return false;
    entry->run = run;
    entries_.insert(*entry);
    ++count_;
    return true;
}

HostMap::Entry* HostMap::split(Entry& entry, uint64_t at) {
    Run upper = entry.run;
    const uint64_t below = at - entry.start();
    upper.address += below, upper.phys += below, upper.length -= below;
    if (!insert(upper)) return nullptr;
    entry.run.length = below;
    return &*entries_.find(at);
}

void HostMap::erase(Entry& entry) {
    entry.hook.unlink();
    --count_;
    delete &entry;
}

bool HostMap::has(const Run& run) {
    const auto it = first_behind(run.address);
    if (it == entries_.end() || it->start() > run.address || it->end() < run.address + run.length) return false;
    const Run& there = it->run;
    return there.phys + (run.address - there.address) == run.phys && there.writable == run.writable &&
           there.executable == run.executable;
}

bool HostMap::add_to_gap(const Run& run) {
    auto next = entries_.lower_bound(run.address);
    Entry* before = next == entries_.begin() ? nullptr : &*std::prev(next);
    if (before && joins(before->run, run)) {
        before->run.length += run.length;
    } else {
        if (!insert(run)) return false;
        before = &*entries_.find(run.address);
    }
    if (next != entries_.end() && joins(before->run, next->run)) {
        before->run.length += next->run.length;
        erase(*next);
    }
    return true;
}

void HostMap::clear() {
    while (!entries_.empty()) erase(*entries_.begin());
}

}  // namespace kvmsbx::platform::process
