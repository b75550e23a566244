#include "guestkernel/platform/process/mirror.hpp"

#include <new>

#include "guestkernel/lib/assert.hpp"
#include "guestkernel/platform/host.hpp"

namespace kvmsbx::platform {

bool holds_frames;

namespace {

// Runs up to this size are filled in when they are mapped: each page saves the application a fault of the host's. Larger ones are not
// needed as a whole as often.
constexpr uint64_t kPopulated = 16 * kPageSize;

unsigned mirrors_with_changes;

unsigned protection(const Run& run) {
    return process::kProtRead | (run.writable ? process::kProtWrite : 0) | (run.executable ? process::kProtExec : 0);
}

}  // namespace

Mirror::~Mirror() {
    flush();
    process::Stub::give_back(stub_, map_.empty() ? process::Stub::Content::kNone : process::Stub::Content::kMapped);
}

void Mirror::note_all() {
    if (!change_count_ && !all_goes_) ++mirrors_with_changes;
    holds_frames = true;
    all_goes_ = true;
    change_count_ = 0;
}

void Mirror::note(uint64_t start, uint64_t end, bool unmaps, bool executable) {
    if (all_goes_) return;
    if (change_count_ == 0) {
        ++mirrors_with_changes;
        holds_frames = true;
    } else {
        Change& last = changes_[change_count_ - 1];
        if (last.unmaps == unmaps && last.executable == executable && (last.end == start || last.start == end)) {
            if (last.start == end)
                last.start = start;
            else
                last.end = end;
            return;
        }
        if (change_count_ == kMostChanges) return note_all();
    }
    changes_[change_count_++] = {start, end, unmaps, executable};
}

void Mirror::rights_gone(uint64_t start, uint64_t end, Left left) {
    if (map_.empty()) return;
    if (left == Left::kNothing && start == 0 && end == user_end)
        note_all();
    else if (left == Left::kNothing)
        map_.remove(start, end, [this](uint64_t from, uint64_t to) { note(from, to, true, false); });
    else
        map_.make_read_only(
            start, end, [this](const Run& run) { note(run.address, run.address + run.length, false, run.executable); });
    if (all_goes_) map_.clear();
}

// Whether the runs, in ascending order, map all of the change anew. What was only made read-only is still in the map, where a run that is
// read-only may be found: then it is not mapped again.
bool Mirror::is_replaced(const Change& change, const Run* runs, unsigned count) {
    uint64_t from = change.start;
    for (unsigned i = 0; i < count && from < change.end; ++i) {
        const uint64_t end = runs[i].address + runs[i].length;
        if (runs[i].address <= from && from < end && (change.unmaps || runs[i].writable)) from = end;
    }
    return from >= change.end;
}

void Mirror::order_changes(const Run* runs, unsigned count) {
    if (all_goes_) stub_->unmap(0, user_end);
    for (unsigned i = 0; i < change_count_; ++i) {
        const Change& change = changes_[i];
        if (is_replaced(change, runs, count)) continue;
        if (change.unmaps)
            stub_->unmap(change.start, change.end - change.start);
        else
            stub_->protect(change.start, change.end - change.start,
                           process::kProtRead | (change.executable ? process::kProtExec : 0));
    }
}

void Mirror::done() {
    change_count_ = 0;
    all_goes_ = false;
    if (--mirrors_with_changes == 0) holds_frames = false;
}

void Mirror::flush() {
    if (!change_count_ && !all_goes_) return;
    order_changes(nullptr, 0);
    if (stub_->carry_out().is_error()) map_anew(nullptr, 0, UserSpace::Expected::kSome);
    done();
}

// In place of orders that failed, of which some were carried out.
void Mirror::map_anew(const Run* runs, unsigned count, UserSpace::Expected expected) {
    map_.clear();
    if (stub_->empty().is_error() || !count) return;
    if (!order_runs(runs, count, expected) || stub_->carry_out().is_error()) stub_->end();
}

// False: a run could not be noted, and is not mapped.
bool Mirror::order_runs(const Run* runs, unsigned count, UserSpace::Expected expected) {
    bool all = true;
    for (unsigned i = 0; i < count; ++i) {
        const Run& run = runs[i];
        if (map_.has(run)) continue;
        const uint64_t end = run.address + run.length;
        const auto gone = [&](uint64_t from, uint64_t to) {
            if (from < run.address || to > end) stub_->unmap(from, to - from);
        };
        if (map_.add(run, gone)) {
            stub_->map(run.address, run.phys, run.length, protection(run),
                       expected == UserSpace::Expected::kAll && run.length <= kPopulated);
        } else {
            stub_->unmap(run.address, run.length);
            all = false;
        }
    }
    return all;
}

void Mirror::mapped(const Run* runs, unsigned count, UserSpace::Expected expected) {
    if (map_.count() + count > boot_info().stub_mappings) {
        note_all();
        map_.clear();
    }
    const bool changes = change_count_ || all_goes_, all_needed = expected == UserSpace::Expected::kAll;
    if (changes) order_changes(runs, count);
    const bool all = order_runs(runs, count, expected);
    // What is only expected goes along with the next orders.
    if (!changes && !all_needed) return;
    // An application that needs what is not mapped would come back for it for ever.
    if (stub_->carry_out().is_error() || (all_needed && !all)) map_anew(runs, all_needed ? count : 0, expected);
    if (changes) done();
}

Result<> Mirror::get_ready() {
    const bool changes = change_count_ || all_goes_;
    if (changes) order_changes(nullptr, 0);
    auto made = stub_->make_first_runner();
    if (made.is_error()) map_anew(nullptr, 0, UserSpace::Expected::kSome);
    if (changes) done();
    if (made.is_ok()) return {};
    return made.error() == Errno::kAGAIN ? Errno::kAGAIN : Errno::kNOMEM;
}

Result<process::Runner*> Mirror::runner(CpuArea& area) {
    flush();  // whatever was noted and not made true: the application does not go on before
    return stub_->runner(area);
}

UserSpace::~UserSpace() { drop(); }

Result<> UserSpace::create(Phys root) {
    process::Stub* stub = TRY(process::Stub::create());
    mirror_ = new (std::nothrow) Mirror(*stub);
    if (!mirror_) {
        process::Stub::give_back(stub, process::Stub::Content::kNone);
        return Errno::kNOMEM;
    }
    root_ = root;
    return {};
}

void UserSpace::drop() {
    delete mirror_;
    mirror_ = nullptr;
    root_ = 0;
}

void UserSpace::rights_gone(uint64_t start, uint64_t end, Left left) {
    if (mirror_) mirror_->rights_gone(start, end, left);
}

bool UserSpace::flush() {
    if (mirror_) mirror_->flush();
    return false;
}

Result<> UserSpace::get_ready() { return mirror_ ? mirror_->get_ready() : Result<>(Errno::kNOMEM); }
uint64_t UserSpace::usable_cpus() const { return mirror_ ? mirror_->cpus() : 0; }

bool UserSpace::flush_soon() { return false; }
bool UserSpace::caches_mappings() { return true; }

void UserSpace::mapped(const Run* runs, unsigned count, Expected expected) {
    if (mirror_) mirror_->mapped(runs, count, expected);
}

}  // namespace kvmsbx::platform
