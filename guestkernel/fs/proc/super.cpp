#include "guestkernel/fs/proc/super.hpp"

#include "guestkernel/task/registry.hpp"
#include "guestkernel/vfs/file_system.hpp"

namespace kvmsbx::fs {
namespace {

constexpr uint64_t kProcMagic = 0x9fa0;

struct HideRow {
    std::string_view name;
    uint8_t value;
};
constexpr HideRow kHideNames[] = {{"off", 0}, {"noaccess", 1}, {"invisible", 2}, {"ptraceable", 4}};

Result<uint32_t> parse_gid(std::string_view text) {
    uint64_t value = 0;
    if (text.empty() || text.size() > 10) return Errno::kINVAL;
    for (char c : text) {
        if (c < '0' || c > '9') return Errno::kINVAL;
        value = value * 10 + static_cast<unsigned>(c - '0');
    }
    return value < ~0U ? Result<uint32_t>(static_cast<uint32_t>(value)) : Errno::kINVAL;
}

// ptrace_may_access; of a zombie only the user is left.
bool may_trace(const ProcSubject& subject) {
    const bool own_zombie = !subject.task() && task::current().credentials().fsuid == subject.process->last_uid;
    return own_zombie || may_inspect(subject).is_ok();
}

}  // namespace

ProcFileSystem::ProcFileSystem() : SyntheticFileSystem("proc", kProcMagic) {}

Result<ProcFileSystem::Hide> ProcFileSystem::parse_hide(std::string_view text) {
    for (const HideRow& row : kHideNames) {
        const char digit = static_cast<char>('0' + row.value);
        if (text == row.name || text == std::string_view(&digit, 1)) return static_cast<Hide>(row.value);
    }
    return Errno::kINVAL;
}

Result<> ProcFileSystem::reconfigure(std::string_view data) {
    std::string_view value;
    const Hide hide = vfs::mount_option(data, "hidepid", value) ? TRY(parse_hide(value)) : hide_;
    const uint32_t gid = vfs::mount_option(data, "gid", value) ? TRY(parse_gid(value)) : gid_;
    const bool has_subset = vfs::mount_option(data, "subset", value);
    if (has_subset && value != "pid") return Errno::kINVAL;
    hide_ = hide;
    gid_ = gid;
    processes_only_ |= has_subset;
    return {};
}

Result<String> ProcFileSystem::options() {
    FixedText<64> text;
    if (gid_) format_to(text, ",gid={}", gid_);
    for (const HideRow& row : kHideNames)
        if (row.value && hide_ == static_cast<Hide>(row.value)) format_to(text, ",hidepid={}", row.name);
    if (processes_only_) text.put(",subset=pid");
    return String::create(text.view().empty() ? text.view() : text.view().substr(1));
}

bool ProcFileSystem::permits(const ProcSubject& subject, Hide least) const {
    if (hide_ == Hide::kUnlessTraceable) return may_trace(subject);
    return hide_ < least || task::current().credentials().in_group(gid_) || may_trace(subject);
}

bool ProcFileSystem::shows(const ProcSubject& subject) const { return permits(subject, Hide::kProcesses); }
bool ProcFileSystem::opens(const ProcSubject& subject) const { return permits(subject, Hide::kContents); }

}  // namespace kvmsbx::fs
