// The root of proc: processes by number, self, and files about the whole system.
#include "guestkernel/fs/proc/cpuinfo.hpp"
#include "guestkernel/fs/proc/proc.hpp"
#include "guestkernel/fs/proc/process_directory.hpp"
#include "guestkernel/fs/proc/process_files.hpp"
#include "guestkernel/fs/proc/super.hpp"
#include "guestkernel/fs/proc/sysctl.hpp"
#include "guestkernel/fs/proc/system_text.hpp"
#include "guestkernel/fs/proc/sysvipc.hpp"
#include "guestkernel/task/registry.hpp"
#include "guestkernel/vfs/file_system.hpp"
#include "guestkernel/vfs/locks.hpp"

namespace kvmsbx::fs {
namespace {

constexpr uint64_t kRootIno = 1;

constexpr StaticEntry kEntries[] = {
    text_entry("cgroups", put_cgroups),
    constant_entry("cmdline", "\n"),
    text_entry("cpuinfo", put_cpuinfo),
    text_entry("devices", put_devices),
    constant_entry("diskstats", ""),
    constant_entry("execdomains", "0-0\tLinux           \t[kernel]\n"),
    text_entry("filesystems", put_filesystems),
    text_entry("interrupts", put_interrupts),
    text_entry("kmsg", refuse_reading, 0400),
    text_entry("loadavg", put_loadavg),
    text_entry("locks", vfs::put_locks),
    text_entry("meminfo", put_meminfo),
    constant_entry("misc", ""),
    link_entry("mounts", "self/mounts"),
    link_entry("net", "self/net"),
    constant_entry("partitions", "major minor  #blocks  name\n\n"),
    text_entry("softirqs", put_softirqs),
    text_entry("stat", put_system_stat),
    constant_entry("swaps", "Filename\t\t\t\tType\t\tSize\t\tUsed\t\tPriority\n"),
    text_entry("uptime", put_uptime),
    text_entry("version", put_version),
    text_entry("vmstat", put_vmstat),
};
constexpr size_t kEntryCount = std::size(kEntries);
enum Extra : size_t { kSys, kSysvipc, kSelf, kThreadSelf, kExtraCount };
constexpr uint64_t kFirstProcessCookie = 100;
static_assert(kEntryCount + kExtraCount + 3 < kFirstProcessCookie);

// /proc/self and /proc/thread-self: whoever reads them.
class SelfLink final : public SyntheticNode {
  public:
    SelfLink(RefPtr<vfs::FileSystem> fs, uint64_t ino, Extra which)
        : SyntheticNode(std::move(fs), ino, vfs::kModeLink | 0777), which_(which) {}
    Result<String> read_link() override {
        const task::Task& task = task::current();
        FixedText<48> target;
        if (which_ == kSelf)
            format_to(target, "{}", task.process().pid);
        else
            format_to(target, "{}/task/{}", task.process().pid, task.tid);
        return String::create(target.view());
    }

  private:
    const Extra which_;
};

class ProcRoot final : public SyntheticNode {
  public:
    explicit ProcRoot(RefPtr<ProcFileSystem> fs)
        : SyntheticNode(fs, kRootIno, vfs::kModeDirectory | 0555), super_(*fs) {}
    Result<RefPtr<vfs::Inode>> lookup(std::string_view name) override;
    Result<> read_directory(uint64_t cookie, vfs::DirectoryVisitor& visitor) override;

  private:
    static uint64_t extra_ino(size_t which) { return child_ino(kRootIno, kEntryCount + which); }
    Result<RefPtr<vfs::Inode>> lookup_process(int32_t number);
    Result<RefPtr<vfs::Inode>> lookup_system(std::string_view name);
    bool is_shown(size_t extra) const { return !super_.processes_only() || extra == kSelf || extra == kThreadSelf; }
    const ProcFileSystem& super_;  // of fs()
};

// A thread's number works as well, though it is not listed.
Result<RefPtr<vfs::Inode>> ProcRoot::lookup_process(int32_t number) {
    task::Process* process = task::find_process(number);
    if (!process)
        if (task::Task* task = task::find_task(number)) process = &task->process();
    if (!process) return Errno::kNOENT;
    ProcSubject subject{RefPtr<task::Process>(process), number, false};
    if (!super_.shows(subject)) return Errno::kNOENT;
    return make_process_directory(RefPtr<vfs::FileSystem>(fs()), std::move(subject));
}

Result<RefPtr<vfs::Inode>> ProcRoot::lookup(std::string_view name) {
    const int32_t number = parse_pid(name);
    if (number > 0) return lookup_process(number);
    const Extra which = name == "thread-self" ? kThreadSelf : kSelf;
    if (name == "self" || which == kThreadSelf)
        return RefPtr<vfs::Inode>(TRY(make_ref<SelfLink>(RefPtr<vfs::FileSystem>(fs()), extra_ino(which), which)));
    return super_.processes_only() ? Errno::kNOENT : lookup_system(name);
}

Result<RefPtr<vfs::Inode>> ProcRoot::lookup_system(std::string_view name) {
    RefPtr<vfs::FileSystem> file_system(fs());
    for (size_t i = 0; i < kEntryCount; ++i)
        if (kEntries[i].name == name)
            return make_static_node(std::move(file_system), kEntries[i], child_ino(kRootIno, i));
    if (name == "sys") return make_static_node(std::move(file_system), kSysctlDirectory, extra_ino(kSys));
    if (name == "sysvipc") return make_static_node(std::move(file_system), kSysvipcDirectory, extra_ino(kSysvipc));
    return Errno::kNOENT;
}

// Cookies: static entries from 3 on, process N has kFirstProcessCookie + N.
Result<> ProcRoot::read_directory(uint64_t cookie, vfs::DirectoryVisitor& visitor) {
    if (cookie < kFirstProcessCookie) {
        if (!visit_dots(cookie, kRootIno, visitor)) return {};
        if (!super_.processes_only() && !visit_entries(cookie, kRootIno, kEntries, visitor)) return {};
        constexpr std::string_view kNames[kExtraCount] = {"sys", "sysvipc", "self", "thread-self"};
        const uint64_t first = kEntryCount + 3;
        for (size_t i = cookie >= first ? cookie - first + 1 : 0; i < kExtraCount; ++i)
            if (is_shown(i) &&
                !visitor.visit({kNames[i], extra_ino(i), i <= kSysvipc ? kDtDirectory : kDtLink, first + i}))
                return {};
    }
    int32_t next = cookie >= kFirstProcessCookie ? static_cast<int32_t>(cookie - kFirstProcessCookie) + 1 : 1;
    while (task::Process* process = task::next_process(next)) {  // the visitor may block
        const ProcSubject subject{RefPtr<task::Process>(process), process->pid, false};
        next = subject.tid + 1;
        if (!super_.shows(subject)) continue;
        FixedText<16> name;
        format_to(name, "{}", subject.tid);
        if (!visitor.visit({name.view(), process_ino(subject), kDtDirectory,
                            kFirstProcessCookie + static_cast<uint64_t>(subject.tid)}))
            return {};
    }
    return {};
}

Result<RefPtr<vfs::Inode>> make_proc(const vfs::MountOptions& options) {
    auto file_system = TRY(make_ref<ProcFileSystem>());
    TRY(file_system->reconfigure(options.data));
    return RefPtr<vfs::Inode>(TRY(make_ref<ProcRoot>(std::move(file_system))));
}

}  // namespace

Result<> register_proc() { return vfs::register_file_system("proc", make_proc, "gid,hidepid,subset"); }

}  // namespace kvmsbx::fs
