// Listings of directories. Where the server has the extension, entries come with the attributes of what they name, so
// that looking at all files of a directory costs no request for each.
#include "guestkernel/fs/ninep/nodes.hpp"

namespace kvmsbx::fs::ninep {

namespace {

constexpr uint32_t kPlainSize = 32 * 1024, kAttributesSize = 128 * 1024;
// Whole listings are kept up to this size each, and together: the oldest go.
constexpr size_t kMostWhole = 64 * 1024, kMostOfAll = 1024 * 1024;
size_t whole_bytes;
// Of the larger kind of entry.
constexpr uint32_t kLargestEntry = 8 + 13 + 3 * 4 + 15 * 8 + 8 + 1 + 2 + p9::kMaxName;

uint64_t number_of(const p9::DirEntry& entry) { return entry.qid.path; }
uint64_t number_of(const p9::DirEntryAttr& entry) { return entry.attr.qid.path; }

}  // namespace

void Listing::start(uint32_t epoch) {
    clear();
    added_ = taken_ = 0;
    epoch_ = epoch;
}

void Listing::add(std::string_view name, const p9::Attr& attr) {
    if (count_ >= kMaxEntries || entries_.find(name) != entries_.end()) return;
    auto entry = make_own<Entry>();
    auto kept = String::create(name);
    if (entry.is_error() || kept.is_error()) return;
    entry.value()->name = kept.release_value();
    entry.value()->attr = attr;
    entries_.insert(*entry.value().leak());
    ++count_;
    ++added_;
}

void Listing::remove(Entry& entry) {
    delete &entry;
    --count_;
}

bool Listing::take(std::string_view name, uint32_t epoch, p9::Attr& attr) {
    if (epoch != epoch_) clear();
    const auto it = entries_.find(name);
    if (it == entries_.end()) return false;
    attr = it->attr;
    ++taken_;
    remove(*it);
    return true;
}

void Listing::forget(std::string_view name) {
    if (const auto it = entries_.find(name); it != entries_.end()) remove(*it);
}

void Listing::clear() {
    while (!entries_.empty()) remove(*entries_.begin());
}

void Directory::keep(const p9::DirEntryAttr& entry) {
    if (entry.attr.valid != 0 && entry.name != "." && entry.name != "..") listing_.add(entry.name, entry.attr);
}

Result<uint32_t> Directory::fid_for_listing() {
    if (open_fid_ != p9::kNoFid) return open_fid_;
    Call call(client().transport());
    const uint32_t own = TRY(fid());
    const Client::Opened opened = TRY(client().open(call, own, p9::kOpenReadOnly | p9::kOpenDirectory, 0));
    if (open_fid_ == p9::kNoFid)
        open_fid_ = opened.fid;
    else
        client().transport().clunk(opened.fid);
    return open_fid_;
}

template <typename Entry>
Result<> Directory::keep_all(std::span<const uint8_t> bytes) {
    Entry entry;
    while (TRY(p9::next_entry(bytes, entry))) {
        if (entry.name.size() > p9::kMaxName) return Errno::kIO;
        keep(entry);
    }
    return {};
}

Result<Directory::Batch> Directory::ask_for_batch(uint64_t cookie) {
    const uint32_t opened = TRY(fid_for_listing());
    if (cookie == 0) {
        attributes_wanted_ = !super().shared && client().has_entry_attributes() && !listing_.was_useless();
        listing_.start(super().forgotten_changes);
    }
    const uint32_t most = attributes_wanted_ ? kAttributesSize : kPlainSize;
    const uint32_t wanted = most < client().read_limit() ? most : client().read_limit();
    Batch batch;
    batch.first_cookie = batch.cookie = cookie, batch.changes = changes_, batch.with_attributes = attributes_wanted_;
    batch.bytes = TRY(client().read_directory(
        opened, cookie, wanted, batch.with_attributes ? Client::Entries::kWithAttributes : Client::Entries::kPlain));
    batch.at_end = batch.bytes.size() + kLargestEntry < wanted;
    const std::span<const uint8_t> bytes = batch.bytes.span();
    const Result<> kept = batch.with_attributes ? keep_all<p9::DirEntryAttr>(bytes) : keep_all<p9::DirEntry>(bytes);
    if (kept.is_error() || changes_ != batch.changes) listing_.clear();
    if (kept.is_error()) return Errno::kIO;
    return batch;
}

// The directories with whole_, in order of use.
auto& Directory::with_whole() {
    static List<Directory, &Directory::whole_hook_> directories;
    return directories;
}

void Directory::keep_whole(Batch batch) {
    const bool again = std::exchange(was_listed_, true);
    if (!again || super().shared || batch.bytes.size() > kMostWhole || batch.bytes.size() == 0) return;
    (void)take_whole();
    while (whole_bytes + batch.bytes.size() > kMostOfAll) (void)with_whole().front().take_whole();
    batch.position = batch.cookie = 0;
    whole_bytes += batch.bytes.size();
    whole_ = std::move(batch);
    with_whole().push_back(*this);
}

Directory::Batch Directory::take_whole() {
    if (!whole_hook_.is_linked()) return {};
    whole_hook_.unlink();
    whole_bytes -= whole_.bytes.size();
    return std::exchange(whole_, {});
}

// True: all of the batch was taken.
template <typename Entry>
Result<bool> Directory::visit(Batch& batch, vfs::DirectoryVisitor& visitor) {
    Entry entry;
    std::span<const uint8_t> rest = batch.bytes.span().subspan(batch.position);
    while (TRY(p9::next_entry(rest, entry))) {
        if (!visitor.visit({entry.name, number_of(entry), entry.type, entry.offset})) return false;
        batch.cookie = entry.offset;
        batch.position = batch.bytes.size() - rest.size();
    }
    return true;
}

Result<> Directory::read_directory(uint64_t cookie, vfs::DirectoryVisitor& visitor) {
    if (cookie != 0 && cookie == end_cookie_ && !super().shared) return {};
    Batch batch;
    // Showing entries may block, and others may read meanwhile: what was left of the last batch is taken out.
    if (cookie != 0 && cookie == unread_.cookie && changes_ == unread_.changes)
        std::swap(batch, unread_);
    else if (cookie == 0)
        batch = take_whole();
    if (batch.bytes.size() == 0 || batch.changes != changes_) batch = TRY(ask_for_batch(cookie));
    const bool all =
        TRY(batch.with_attributes ? visit<p9::DirEntryAttr>(batch, visitor) : visit<p9::DirEntry>(batch, visitor));
    if (!all && !super().shared)
        std::swap(batch, unread_);
    else if (all && batch.at_end && changes_ == batch.changes) {
        end_cookie_ = batch.cookie;
        if (is_whole(batch)) keep_whole(std::move(batch));
    }
    return {};
}

}  // namespace kvmsbx::fs::ninep
