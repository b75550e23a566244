#include "guestkernel/fs/proc/sysctl.hpp"

#include <algorithm>

#include "guestkernel/fs/proc/net_directory.hpp"
#include "guestkernel/fs/proc/sysvipc.hpp"
#include "guestkernel/lib/random.hpp"
#include "guestkernel/mm/frame.hpp"
#include "guestkernel/platform/cpu.hpp"
#include "guestkernel/task/registry.hpp"
#include "guestkernel/task/uts.hpp"

namespace kvmsbx::fs {
namespace {

constexpr uint64_t kPidMax = 32'768;

Result<> put_uts(TextSink& sink, const char (&field)[65]) {
    format_to(sink, "{}\n", std::string_view(field));
    return {};
}
Result<> put_ostype(TextSink& sink) { return put_uts(sink, task::uts().sysname); }
Result<> put_osrelease(TextSink& sink) { return put_uts(sink, task::uts().release); }
Result<> put_os_version(TextSink& sink) { return put_uts(sink, task::uts().version); }
Result<> put_hostname(TextSink& sink) { return put_uts(sink, task::uts().nodename); }
Result<> put_domainname(TextSink& sink) { return put_uts(sink, task::uts().domainname); }

// The mode says who may write (proc_do_uts_string asks for no capability).
Result<> store_hostname(std::string_view text) { return task::set_hostname(trimmed(text)); }
Result<> store_domainname(std::string_view text) { return task::set_domainname(trimmed(text)); }

void put_uuid_of(TextSink& sink, const uint8_t (&bytes)[16]) {
    for (unsigned i = 0; i < 16; ++i) {
        if (i == 4 || i == 6 || i == 8 || i == 10) sink.put("-");
        format_to(sink, "{02x}", bytes[i]);
    }
    sink.put("\n");
}

// RFC 4122, version 4.
void make_uuid(uint8_t (&bytes)[16]) {
    random::fill(bytes, sizeof bytes);
    bytes[6] = static_cast<uint8_t>((bytes[6] & 0x0f) | 0x40);
    bytes[8] = static_cast<uint8_t>((bytes[8] & 0x3f) | 0x80);
}

Result<> put_uuid(TextSink& sink) {
    uint8_t bytes[16];
    make_uuid(bytes);
    put_uuid_of(sink, bytes);
    return {};
}

Result<> put_boot_id(TextSink& sink) {
    static uint8_t bytes[16];
    if (bytes[6] == 0) make_uuid(bytes);
    put_uuid_of(sink, bytes);
    return {};
}

Result<> put_threads_max(TextSink& sink) {
    // As fork_init: an eighth of memory for stacks.
    const uint64_t most = mm::memory_statistics().total / (8 * platform::kStackSize);
    format_to(sink, "{}\n", std::clamp<uint64_t>(most, 20, kPidMax));
    return {};
}

// Opened files here; how many are kept for later; the limit.
Result<> put_file_nr(TextSink& sink) {
    uint64_t open = 0;
    task::for_each_process([&](task::Process& process) {
        task::Task* leader = process.leader();
        if (!leader || !leader->files_) return;
        for (int fd = leader->files().next_open(0); fd >= 0; fd = leader->files().next_open(fd + 1)) ++open;
    });
    format_to(sink, "{}\t0\t9223372036854775807\n", open);
    return {};
}

constexpr StaticEntry kRandom[] = {text_entry("boot_id", put_boot_id), constant_entry("entropy_avail", "256\n"),
                                   constant_entry("poolsize", "256\n"), text_entry("uuid", put_uuid)};
constexpr StaticEntry kYama[] = {constant_entry("ptrace_scope", "0\n")};
constexpr StaticEntry kKernel[] = {
    constant_entry("cap_last_cap", "40\n"),
    constant_entry("core_pattern", "core\n"),
    constant_entry("core_uses_pid", "0\n"),
    constant_entry("dmesg_restrict", "1\n"),
    text_entry("domainname", put_domainname, 0644, store_domainname),
    text_entry("hostname", put_hostname, 0644, store_hostname),
    constant_entry("kptr_restrict", "1\n"),
    text_entry("msgmax", put_msgmax, 0644, store_msgmax),
    text_entry("msgmnb", put_msgmnb, 0644, store_msgmnb),
    text_entry("msgmni", put_msgmni, 0644, store_msgmni),
    constant_entry("ngroups_max", "65536\n"),
    text_entry("osrelease", put_osrelease),
    text_entry("ostype", put_ostype),
    constant_entry("overflowgid", "65534\n"),
    constant_entry("overflowuid", "65534\n"),
    constant_entry("perf_event_paranoid", "4\n"),
    constant_entry("pid_max", "4194304\n"),
    constant_entry("printk", "4\t4\t1\t7\n"),
    directory_entry("random", kRandom),
    constant_entry("randomize_va_space", "2\n"),
    text_entry("sem", put_sem, 0644, store_sem),
    text_entry("shm_rmid_forced", put_shm_rmid_forced, 0644, store_shm_rmid_forced),
    text_entry("shmall", put_shmall, 0644, store_shmall),
    text_entry("shmmax", put_shmmax, 0644, store_shmmax),
    text_entry("shmmni", put_shmmni, 0644, store_shmmni),
    constant_entry("tainted", "0\n"),
    text_entry("threads-max", put_threads_max),
    text_entry("version", put_os_version),
    directory_entry("yama", kYama),
};
constexpr StaticEntry kVm[] = {
    constant_entry("drop_caches", "0\n"),       constant_entry("max_map_count", "65530\n"),
    constant_entry("min_free_kbytes", "0\n"),   constant_entry("mmap_min_addr", "65536\n"),
    constant_entry("nr_hugepages", "0\n"),      constant_entry("nr_overcommit_hugepages", "0\n"),
    constant_entry("overcommit_kbytes", "0\n"), constant_entry("overcommit_memory", "0\n"),
    constant_entry("overcommit_ratio", "50\n"), constant_entry("panic_on_oom", "0\n"),
    constant_entry("swappiness", "0\n"),
};
constexpr StaticEntry kInotify[] = {
    text_entry("max_queued_events", put_inotify_events, 0644, store_inotify_events),
    text_entry("max_user_instances", put_inotify_instances, 0644, store_inotify_instances),
    text_entry("max_user_watches", put_inotify_watches, 0644, store_inotify_watches)};
constexpr StaticEntry kMqueue[] = {text_entry("msg_default", put_mq_default_messages, 0644, store_mq_default_messages),
                                   text_entry("msg_max", put_mq_messages, 0644, store_mq_messages),
                                   text_entry("msgsize_default", put_mq_default_size, 0644, store_mq_default_size),
                                   text_entry("msgsize_max", put_mq_size, 0644, store_mq_size),
                                   text_entry("queues_max", put_mq_queues, 0644, store_mq_queues)};
constexpr StaticEntry kFs[] = {
    text_entry("aio-max-nr", put_aio_maximum, 0644, store_aio_maximum),
    text_entry("aio-nr", put_aio_requests),
    text_entry("dir-notify-enable", put_directory_notification, 0644, store_directory_notification),
    constant_entry("file-max", "9223372036854775807\n"),
    text_entry("file-nr", put_file_nr),
    directory_entry("inotify", kInotify),
    directory_entry("mqueue", kMqueue),
    constant_entry("nr_open", "1048576\n"),
    constant_entry("overflowgid", "65534\n"),
    constant_entry("overflowuid", "65534\n"),
    constant_entry("pipe-max-size", "1048576\n"),
    constant_entry("pipe-user-pages-hard", "0\n"),
    constant_entry("pipe-user-pages-soft", "16384\n"),
    constant_entry("protected_fifos", "0\n"),
    constant_entry("protected_hardlinks", "0\n"),
    constant_entry("protected_regular", "0\n"),
    constant_entry("protected_symlinks", "0\n"),
    constant_entry("suid_dumpable", "0\n"),
};
constexpr StaticEntry kSysctl[] = {directory_entry("fs", kFs), directory_entry("kernel", kKernel), kNetSysctlDirectory,
                                   directory_entry("vm", kVm)};

}  // namespace

constinit const StaticEntry kSysctlDirectory = directory_entry("sys", kSysctl);

namespace {

const StaticEntry* find_child(const StaticEntry& directory, std::string_view name) {
    const std::span children(directory.children, directory.child_count);
    const auto found = std::ranges::find(children, name, &StaticEntry::name);
    return found == children.end() ? nullptr : &*found;
}

// The file that the name stands for, or null. As with sysctl(8), the first separator is the one that counts.
const StaticEntry* find_sysctl(std::string_view name) {
    const size_t first = name.find_first_of("./");
    if (first == name.npos) return nullptr;
    const char separator = name[first];
    const StaticEntry* entry = &kSysctlDirectory;
    for (;;) {
        const size_t end = name.find(separator);
        entry = find_child(*entry, name.substr(0, end));
        if (!entry) return nullptr;
        if (end == name.npos) return entry->is_directory ? nullptr : entry;
        name.remove_prefix(end + 1);
    }
}

std::string_view take_word(std::string_view& text) {
    text = trimmed(text);
    const std::string_view word = text.substr(0, text.find_first_of(" \t\n"));
    text.remove_prefix(word.size());
    return word;
}

bool same_words(std::string_view one, std::string_view other) {
    for (;;) {
        const std::string_view word = take_word(one);
        if (word != take_word(other)) return false;
        if (word.empty()) return true;
    }
}

}  // namespace

Result<> set_sysctl(std::string_view name, std::string_view value) {
    const StaticEntry* entry = find_sysctl(name);
    if (!entry) return Errno::kNOENT;
    if (entry->store) return entry->store(value);
    StringText text;
    if (entry->generate)
        TRY(entry->generate(text));
    else
        text.put(entry->text);
    const String fixed = TRY(text.take());
    return same_words(fixed.view(), value) ? Result<>() : Result<>(Errno::kACCES);
}

}  // namespace kvmsbx::fs
