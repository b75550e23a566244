#include "guestkernel/fs/proc/process_directory.hpp"

#include "guestkernel/fs/proc/net_directory.hpp"
#include "guestkernel/fs/proc/process_files.hpp"
#include "guestkernel/fs/proc/super.hpp"
#include "guestkernel/task/registry.hpp"

namespace kvmsbx::fs {
namespace {

constexpr uint64_t kInoShift = 20;  // below it: numbers of a process's own files
constexpr uint64_t kTaskShift = 42;

Result<> put_wchan(const ProcSubject&, TextSink& sink) {
    sink.put("0");
    return {};
}

Result<> put_cgroup(const ProcSubject&, TextSink& sink) {
    sink.put("0::/\n");
    return {};
}

Result<> put_personality(const ProcSubject& subject, TextSink& sink) {
    format_to(sink, "{08x}\n", subject.process->personality);
    return {};
}

// The initial user namespace.
Result<> put_id_map(const ProcSubject&, TextSink& sink) {
    sink.put("         0          0 4294967295\n");
    return {};
}

Result<> put_setgroups(const ProcSubject&, TextSink& sink) {
    sink.put("allow\n");
    return {};
}

Result<> put_cpuset(const ProcSubject&, TextSink& sink) {
    sink.put("/\n");
    return {};
}

Result<> refuse_store(const ProcSubject&, std::string_view) { return Errno::kPERM; }

struct TextRow {
    std::string_view name;
    uint32_t permissions;
    Result<> (*generate)(const ProcSubject&, TextSink&);
    Result<> (*store)(const ProcSubject&, std::string_view);
};
constexpr TextRow kTexts[] = {
    {"auxv", 0400, put_auxv, nullptr},
    {"cgroup", 0444, put_cgroup, nullptr},
    {"cmdline", 0444, put_cmdline, nullptr},
    {"comm", 0644, put_comm, store_comm},
    {"coredump_filter", 0644, put_coredump_filter, store_coredump_filter},
    {"cpuset", 0444, put_cpuset, nullptr},
    {"environ", 0400, put_environ, nullptr},
    {"gid_map", 0644, put_id_map, refuse_store},
    {"io", 0400, put_io, nullptr},
    {"limits", 0444, put_limits, nullptr},
    {"loginuid", 0644, put_login_uid, store_login_uid},
    {"maps", 0444, put_maps, nullptr},
    {"mountinfo", 0444, put_mountinfo, nullptr},
    {"mounts", 0444, put_mounts, nullptr},
    {"oom_adj", 0644, put_oom_adj, store_oom_adj},
    {"oom_score", 0444, put_oom_score, nullptr},
    {"oom_score_adj", 0644, put_oom_score_adj, store_oom_score_adj},
    {"personality", 0400, put_personality, nullptr},
    {"sessionid", 0444, put_session_id, nullptr},
    {"setgroups", 0644, put_setgroups, refuse_store},
    {"smaps", 0444, put_smaps, nullptr},
    {"smaps_rollup", 0444, put_smaps_rollup, nullptr},
    {"stack", 0400, put_stack, nullptr},
    {"stat", 0444, put_stat, nullptr},
    {"statm", 0444, put_statm, nullptr},
    {"status", 0444, put_status, nullptr},
    {"syscall", 0400, put_syscall, nullptr},
    {"timens_offsets", 0644, put_time_offsets, store_time_offsets},
    {"timerslack_ns", 0666, put_timer_slack, store_timer_slack},
    {"uid_map", 0644, put_id_map, refuse_store},
    {"wchan", 0444, put_wchan, nullptr},
    {"children", 0444, put_children, nullptr},
};
// The last one is about threads alone; the two others are about processes, as is oom_adj's kin.
constexpr std::string_view kThreadsOnly[] = {"children"},
                           kProcessesOnly[] = {"coredump_filter", "timens_offsets", "timerslack_ns"};

bool is_shown(const TextRow& row, bool thread) {
    for (std::string_view name : kThreadsOnly)
        if (row.name == name) return thread;
    for (std::string_view name : kProcessesOnly)
        if (row.name == name) return !thread;
    return true;
}
constexpr size_t kTextCount = std::size(kTexts);

enum Special : size_t { kFd, kFdinfo, kExe, kCwd, kRoot, kMem, kPagemap, kNet, kNs, kTask, kSpecialCount };
struct SpecialRow {
    std::string_view name;
    uint8_t type;
};
constexpr SpecialRow kSpecials[kSpecialCount] = {
    {"fd", kDtDirectory}, {"fdinfo", kDtDirectory}, {"exe", kDtLink},        {"cwd", kDtLink},
    {"root", kDtLink},    {"mem", kDtRegular},      {"pagemap", kDtRegular}, {"net", kDtDirectory},
    {"ns", kDtDirectory}, {"task", kDtDirectory}};

class ProcessText final : public TextNode {
  public:
    ProcessText(RefPtr<vfs::FileSystem> fs, uint64_t ino, ProcSubject subject, const TextRow& row)
        : TextNode(std::move(fs), ino, row.permissions), subject_(std::move(subject)), row_(row) {}
    Result<> generate(TextSink& sink) override { return row_.generate(subject_, sink); }
    Result<> store(std::string_view text) override { return row_.store ? row_.store(subject_, text) : Errno::kINVAL; }

  private:
    const void* identity() const override { return subject_.process.get(); }
    void owner(uint32_t& uid, uint32_t& gid) override { uid = subject_.uid(), gid = subject_.gid(); }
    const ProcSubject subject_;
    const TextRow& row_;
};

class ProcessDirectory final : public SyntheticNode {
  public:
    ProcessDirectory(RefPtr<vfs::FileSystem> fs, ProcSubject subject)
        : SyntheticNode(std::move(fs), process_ino(subject), vfs::kModeDirectory | 0555),
          subject_(std::move(subject)) {}
    Result<RefPtr<vfs::Inode>> lookup(std::string_view name) override;
    Result<> read_directory(uint64_t cookie, vfs::DirectoryVisitor& visitor) override;
    // What permission checks ask: hidepid= closes the directory to others.
    Result<vfs::Ownership> ownership() override {
        // SAFETY: directories of processes are proc's.
        if (!static_cast<const ProcFileSystem&>(fs()).opens(subject_)) return Errno::kPERM;
        return SyntheticNode::ownership();
    }
    const void* class_tag() const override { return &kTag; }
    static const char kTag;
    const ProcSubject subject_;

  private:
    const void* identity() const override { return subject_.process.get(); }
    void owner(uint32_t& uid, uint32_t& gid) override { uid = subject_.uid(), gid = subject_.gid(); }
    size_t special_count() const { return subject_.thread ? static_cast<size_t>(kTask) : kSpecialCount; }
    Result<RefPtr<vfs::Inode>> make_special(size_t which);
};

const char ProcessDirectory::kTag = 0;

// /proc/PID/task.
class TaskDirectory final : public SyntheticNode {
  public:
    TaskDirectory(RefPtr<vfs::FileSystem> fs, uint64_t ino, ProcSubject subject)
        : SyntheticNode(std::move(fs), ino, vfs::kModeDirectory | 0555), subject_(std::move(subject)) {}
    Result<RefPtr<vfs::Inode>> lookup(std::string_view name) override;
    Result<> read_directory(uint64_t cookie, vfs::DirectoryVisitor& visitor) override;

  private:
    const void* identity() const override { return subject_.process.get(); }
    void owner(uint32_t& uid, uint32_t& gid) override { uid = subject_.uid(), gid = subject_.gid(); }
    // Browsers' sandboxes see by it whether they have one thread alone.
    uint32_t count_subdirectories() override {
        uint32_t count = 0;
        for ([[maybe_unused]] const task::Task& task : subject_.process->threads) ++count;
        return count;
    }
    const ProcSubject subject_;
};

Result<RefPtr<vfs::Inode>> ProcessDirectory::make_special(size_t which) {
    RefPtr<vfs::FileSystem> file_system(fs());
    const uint64_t number = ino + kTextCount + 1 + which;
    switch (which) {
        case kFd: return make_fd_directory(std::move(file_system), number, subject_, FdView::kLinks);
        case kFdinfo: return make_fd_directory(std::move(file_system), number, subject_, FdView::kInfo);
        case kExe: return make_place_link(std::move(file_system), number, subject_, Place::kExecutable);
        case kCwd: return make_place_link(std::move(file_system), number, subject_, Place::kWorkingDirectory);
        case kNet: return make_static_node(std::move(file_system), kNetDirectory, number);
        case kRoot: return make_place_link(std::move(file_system), number, subject_, Place::kRoot);
        case kMem: return make_memory_file(std::move(file_system), number, subject_);
        case kPagemap: return make_pagemap_file(std::move(file_system), number, subject_);
        case kNs: return make_namespace_directory(std::move(file_system), number, subject_);
        default: return RefPtr<vfs::Inode>(TRY(make_ref<TaskDirectory>(std::move(file_system), number, subject_)));
    }
}

Result<RefPtr<vfs::Inode>> ProcessDirectory::lookup(std::string_view name) {
    if (!subject_.alive()) return Errno::kNOENT;
    for (size_t i = 0; i < kTextCount; ++i)
        if (kTexts[i].name == name && is_shown(kTexts[i], subject_.thread))
            return RefPtr<vfs::Inode>(
                TRY(make_ref<ProcessText>(RefPtr<vfs::FileSystem>(fs()), ino + 1 + i, subject_, kTexts[i])));
    for (size_t i = 0; i < special_count(); ++i)
        if (kSpecials[i].name == name) return make_special(i);
    return Errno::kNOENT;
}

Result<> ProcessDirectory::read_directory(uint64_t cookie, vfs::DirectoryVisitor& visitor) {
    if (!subject_.alive()) return Errno::kNOENT;
    if (!visit_dots(cookie, ino, visitor)) return {};
    for (size_t i = cookie > 2 ? cookie - 2 : 0; i < kTextCount + special_count(); ++i) {
        const bool text = i < kTextCount;
        if (text && !is_shown(kTexts[i], subject_.thread)) continue;
        const std::string_view name = text ? kTexts[i].name : kSpecials[i - kTextCount].name;
        if (!visitor.visit({name, ino + 1 + i, text ? kDtRegular : kSpecials[i - kTextCount].type, i + 3})) return {};
    }
    return {};
}

Result<RefPtr<vfs::Inode>> TaskDirectory::lookup(std::string_view name) {
    const int32_t tid = parse_pid(name);
    const task::Task* task = tid > 0 ? task::find_task(tid) : nullptr;
    if (!task || &task->process() != subject_.process.get()) return Errno::kNOENT;
    return make_process_directory(RefPtr<vfs::FileSystem>(fs()), {subject_.process, tid, true});
}

// Cookies: 2 + tid. Threads are listed in order of their numbers.
Result<> TaskDirectory::read_directory(uint64_t cookie, vfs::DirectoryVisitor& visitor) {
    if (!visit_dots(cookie, ino, visitor)) return {};
    auto last = static_cast<int32_t>(cookie > 2 ? cookie - 2 : 0);
    for (;;) {
        int32_t next = 0;
        for (const task::Task& task : subject_.process->threads)
            if (task.tid > last && (next == 0 || task.tid < next)) next = task.tid;
        if (next == 0) return {};
        FixedText<16> name;
        format_to(name, "{}", next);
        const ProcSubject thread{subject_.process, next, true};
        if (!visitor.visit({name.view(), process_ino(thread), kDtDirectory, static_cast<uint64_t>(next) + 2}))
            return {};
        last = next;
    }
}

}  // namespace

int32_t parse_pid(std::string_view name) {
    if (name.empty() || name.size() > 9 || name.front() == '0') return -1;
    int32_t number = 0;
    for (char c : name) {
        if (c < '0' || c > '9') return -1;
        number = number * 10 + (c - '0');
    }
    return number;
}

RefPtr<task::Process> process_of_directory(const vfs::Inode& inode) {
    if (inode.class_tag() != &ProcessDirectory::kTag) return nullptr;
    // SAFETY: the tag is this class's own.
    const ProcSubject& subject = static_cast<const ProcessDirectory&>(inode).subject_;
    return subject.thread ? nullptr : subject.process;
}

uint64_t process_ino(const ProcSubject& subject) {
    const auto pid = static_cast<uint64_t>(subject.process->pid);
    return subject.thread ? 1ULL << kTaskShift | static_cast<uint64_t>(subject.tid) << kInoShift : pid << kInoShift;
}

Result<RefPtr<vfs::Inode>> make_process_directory(RefPtr<vfs::FileSystem> fs, ProcSubject subject) {
    return RefPtr<vfs::Inode>(TRY(make_ref<ProcessDirectory>(std::move(fs), std::move(subject))));
}

}  // namespace kvmsbx::fs
