// Mount options of tmpfs (tmpfs(5)): reading, changing, showing.
#include "guestkernel/fs/tmpfs_nodes.hpp"
#include "guestkernel/lib/format.hpp"
#include "guestkernel/vfs/file_system.hpp"

namespace kvmsbx::fs::tmpfs {
namespace {

constexpr uint32_t kDefaultMode = 01777;
constexpr std::string_view kHugeNames[] = {"never", "always", "within_size", "advise"};

uint64_t default_limit() { return mm::memory_statistics().total / 2 / kPageSize; }  // of pages and of inodes

Result<uint64_t> parse_number(std::string_view text, unsigned base) {
    uint64_t value = 0;
    if (text.empty()) return Errno::kINVAL;
    for (char c : text) {
        if (c < '0' || c >= static_cast<char>('0' + base)) return Errno::kINVAL;
        if (__builtin_mul_overflow(value, static_cast<uint64_t>(base), &value)) return Errno::kINVAL;
        if (__builtin_add_overflow(value, static_cast<uint64_t>(c - '0'), &value)) return Errno::kINVAL;
    }
    return value;
}

// "64m", "50%" (of memory), "1024": memparse.
Result<uint64_t> parse_size(std::string_view text) {
    if (text.empty()) return Errno::kINVAL;
    constexpr std::string_view kSuffixes = "kmgtpe";
    const size_t suffix = kSuffixes.find(static_cast<char>(text.back() | 0x20));
    const unsigned shift = suffix == kSuffixes.npos ? 0 : 10 * static_cast<unsigned>(suffix + 1);
    if (text.back() == '%')
        return TRY(parse_number(text.substr(0, text.size() - 1), 10)) * (mm::memory_statistics().total / 100);
    if (shift) text.remove_suffix(1);
    const uint64_t value = TRY(parse_number(text, 10));
    if (value > ~0ULL >> shift) return Errno::kINVAL;
    return value << shift;
}

Result<uint32_t> parse_id(std::string_view text) {
    const uint64_t value = TRY(parse_number(text, 10));
    return value < ~0U ? Result<uint32_t>(static_cast<uint32_t>(value)) : Errno::kINVAL;
}

Result<uint8_t> parse_huge(std::string_view text) {
    for (size_t i = 0; i < std::size(kHugeNames); ++i)
        if (kHugeNames[i] == text) return static_cast<uint8_t>(i);
    return Errno::kINVAL;
}

// What mpol_parse_str makes of MODE[=FLAGS][:NODES] on a machine with one node, as it is shown later; "" for the
// default. All memory is on that node: the policy changes nothing.
Result<String> parse_policy(std::string_view text) {
    const size_t colon = text.find(':'), equals = text.substr(0, colon).find('=');
    const bool has_nodes = colon != text.npos, has_flags = equals != text.npos;
    const std::string_view nodes = has_nodes ? text.substr(colon + 1) : std::string_view();
    const std::string_view flags = has_flags ? text.substr(0, colon).substr(equals + 1) : std::string_view();
    const std::string_view mode = text.substr(0, std::min(colon, equals));
    if (has_nodes && nodes != "0" && nodes != "0-0") return Errno::kINVAL;
    if (has_flags && flags != "static" && flags != "relative") return Errno::kINVAL;
    if (mode == "default") return has_nodes ? Result<String>(Errno::kINVAL) : String();
    const bool local = mode == "local" || (mode == "prefer" && !has_nodes);
    if (local) return has_nodes || has_flags ? Result<String>(Errno::kINVAL) : String::create("local");
    if (mode != "prefer" && mode != "bind" && mode != "interleave") return Errno::kINVAL;
    if (mode == "bind" && !has_nodes) return Errno::kINVAL;
    FixedText<48> shown;
    format_to(shown, "{}{}{}:0", mode, has_flags ? std::string_view("=") : std::string_view(), flags);
    return String::create(shown.view());
}

void put_mode(TextSink& sink, uint32_t mode) {
    const char digits[] = {static_cast<char>('0' + (mode >> 9 & 7)), static_cast<char>('0' + (mode >> 6 & 7)),
                           static_cast<char>('0' + (mode >> 3 & 7)), static_cast<char>('0' + (mode & 7))};
    const std::string_view octal(digits, sizeof digits);
    format_to(sink, ",mode={}", digits[0] == '0' ? octal.substr(1) : octal);
}

}  // namespace

// What can change later.
Result<> Super::Limits::read(std::string_view data) {
    std::string_view value;
    if (vfs::mount_option(data, "size", value)) pages = pages_of(TRY(parse_size(value)));
    if (vfs::mount_option(data, "nr_blocks", value)) pages = TRY(parse_size(value));
    if (vfs::mount_option(data, "nr_inodes", value)) inodes = TRY(parse_size(value));
    if (vfs::mount_option(data, "huge", value)) huge = TRY(parse_huge(value));
    if (vfs::mount_option(data, "mpol", value)) policy = TRY(parse_policy(value));
    return {};
}

Result<> Super::configure(std::string_view data) {
    std::string_view value;
    limits.pages = limits.inodes = default_limit();
    TRY(limits.read(data));
    if (vfs::mount_option(data, "mode", value)) root_mode = static_cast<uint32_t>(TRY(parse_number(value, 8))) & 07777;
    if (vfs::mount_option(data, "uid", value)) root_uid = TRY(parse_id(value));
    if (vfs::mount_option(data, "gid", value)) root_gid = TRY(parse_id(value));
    no_swap_ = vfs::mount_option(data, "noswap", value);
    return {};
}

Result<> Super::reconfigure(std::string_view data) {
    std::string_view value;
    Limits wanted{limits.pages, limits.inodes, limits.huge, TRY(limits.policy.clone())};
    TRY(wanted.read(data));
    if ((wanted.pages && wanted.pages < used_pages) || (wanted.inodes && wanted.inodes < used_inodes))
        return Errno::kINVAL;
    // A limit can change but neither come nor go.
    if ((wanted.pages && !limits.pages) || (wanted.inodes && !limits.inodes)) return Errno::kINVAL;
    if (vfs::mount_option(data, "noswap", value) && !no_swap_) return Errno::kINVAL;
    limits = std::move(wanted);
    return {};
}

// shmem_show_options: what is not the default.
Result<String> Super::options() {
    StringText text;
    if (limits.pages != default_limit()) format_to(text, ",size={}k", limits.pages * (kPageSize / 1024));
    if (limits.inodes != default_limit()) format_to(text, ",nr_inodes={}", limits.inodes);
    if (root_mode != kDefaultMode) put_mode(text, root_mode);
    if (root_uid) format_to(text, ",uid={}", root_uid);
    if (root_gid) format_to(text, ",gid={}", root_gid);
    if (limits.huge) format_to(text, ",huge={}", kHugeNames[limits.huge]);
    if (!limits.policy.empty()) format_to(text, ",mpol={}", limits.policy.view());
    if (no_swap_) text.put(",noswap");
    const String all = TRY(text.take());
    return String::create(all.empty() ? all.view() : all.view().substr(1));
}

Result<RefPtr<Super>> make_super(std::string_view type, const vfs::MountOptions& options) {
    auto super = TRY(make_ref<Super>(type));
    TRY(super->configure(options.data));
    return super;
}

}  // namespace kvmsbx::fs::tmpfs
