// /proc/PID/mounts and mountinfo (Linux: fs/proc_namespace.c).
#include "guestkernel/fs/proc/subject.hpp"
#include "guestkernel/vfs/dentry.hpp"
#include "guestkernel/vfs/device.hpp"
#include "guestkernel/vfs/propagation.hpp"

namespace kvmsbx::fs {
namespace {

// White space and backslashes as \040 and so on.
void put_escaped(TextSink& sink, std::string_view text) {
    for (char c : text) {
        if (c != ' ' && c != '\t' && c != '\n' && c != '\\') {
            sink.put({&c, 1});
            continue;
        }
        const auto value = static_cast<unsigned char>(c);
        const char escaped[] = {'\\', static_cast<char>('0' + (value >> 6)), static_cast<char>('0' + (value >> 3 & 7)),
                                static_cast<char>('0' + (value & 7))};
        sink.put({escaped, sizeof escaped});
    }
}

void put_mount_flags(TextSink& sink, uint64_t flags) {
    const struct {
        uint64_t flag;
        std::string_view text;
    } rows[] = {{vfs::kMsNosuid, ",nosuid"},          {vfs::kMsNodev, ",nodev"},
                {vfs::kMsNoexec, ",noexec"},          {vfs::kMsNoatime, ",noatime"},
                {vfs::kMsNodiratime, ",nodiratime"},  {vfs::kMsRelatime, ",relatime"},
                {vfs::kMsNosymfollow, ",nosymfollow"}};
    for (const auto& row : rows)
        if (flags & row.flag) sink.put(row.text);
}

Result<> put_file_system_options(TextSink& sink, vfs::Mount& mount) {
    const String options = TRY(mount.fs().options());
    if (options.empty()) return {};
    sink.put(",");
    sink.put(options.view());
    return {};
}

std::string_view source_of(const vfs::Mount& mount) {
    return mount.source.empty() ? std::string_view("none") : mount.source.view();
}

// The optional fields: nothing for a private mount.
void put_propagation(TextSink& sink, const vfs::Mount& mount, const vfs::Path& root) {
    if (mount.peer_group) format_to(sink, " shared:{}", mount.peer_group);
    if (mount.master_group) {
        format_to(sink, " master:{}", mount.master_group);
        const uint32_t from =
            vfs::dominating_group(mount, [&root](const vfs::Mount& other) { return vfs::is_visible(other, root); });
        if (from && from != mount.master_group) format_to(sink, " propagate_from:{}", from);
    }
    if (mount.unbindable) sink.put(" unbindable");
}

// Calls put(mount, place) for each mount that can be reached from the subject's root.
template <typename Put>
Result<> for_each_mount(const ProcSubject& subject, Put put) {
    if (!subject.alive()) return Errno::kSRCH;
    const task::Task* task = subject.task();
    if (!task || !task->fs_) return Errno::kINVAL;
    const vfs::Path root = task->fs().root;
    RefPtr<vfs::Mount> mount(vfs::first_mount());
    while (mount) {
        const String place = TRY(vfs::path_string(vfs::Path(mount, mount->root()), root));
        if (!place.view().starts_with("(unreachable)")) TRY(put(*mount, place.view()));
        mount = RefPtr<vfs::Mount>(vfs::next_mount(*mount));
    }
    return {};
}

}  // namespace

Result<> put_mounts(const ProcSubject& subject, TextSink& sink) {
    return for_each_mount(subject, [&](vfs::Mount& mount, std::string_view place) -> Result<> {
        put_escaped(sink, source_of(mount));
        sink.put(" ");
        put_escaped(sink, place);
        format_to(sink, " {} {}", mount.fs().type_name(), mount.readonly() ? "ro" : "rw");
        put_mount_flags(sink, mount.flags);
        TRY(put_file_system_options(sink, mount));
        sink.put(" 0 0\n");
        return {};
    });
}

Result<> put_mountinfo(const ProcSubject& subject, TextSink& sink) {
    const task::Task* task = subject.alive() ? subject.task() : nullptr;
    const vfs::Path root = task && task->fs_ ? task->fs().root : vfs::Path();
    return for_each_mount(subject, [&](vfs::Mount& mount, std::string_view place) -> Result<> {
        const int parent = mount.place.is_set() ? mount.place.mount().id : 0;
        const uint64_t device = mount.fs().device;
        format_to(sink, "{} {} {}:{} ", mount.id, parent, vfs::major_of(device), vfs::minor_of(device));
        put_escaped(sink, TRY(vfs::path_inside(*mount.root())).view());
        sink.put(" ");
        put_escaped(sink, place);
        sink.put(mount.flags & vfs::kMsRdonly ? " ro" : " rw");
        put_mount_flags(sink, mount.flags);
        put_propagation(sink, mount, root);
        format_to(sink, " - {} ", mount.fs().type_name());
        put_escaped(sink, source_of(mount));
        sink.put(mount.fs().readonly ? " ro" : " rw");
        TRY(put_file_system_options(sink, mount));
        sink.put("\n");
        return {};
    });
}

}  // namespace kvmsbx::fs
