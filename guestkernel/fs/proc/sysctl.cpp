#include "guestkernel/fs/proc/sysctl.hpp"

#include "guestkernel/lib/random.hpp"
#include "guestkernel/task/task.hpp"
#include "guestkernel/task/uts.hpp"

namespace kvmsbx::fs {
namespace {

Result<> put_uts(TextSink& sink, const char (&field)[65]) {
    format_to(sink, "{}\n", std::string_view(field));
    return {};
}
Result<> put_ostype(TextSink& sink) { return put_uts(sink, task::uts().sysname); }
Result<> put_osrelease(TextSink& sink) { return put_uts(sink, task::uts().release); }
Result<> put_os_version(TextSink& sink) { return put_uts(sink, task::uts().version); }
Result<> put_hostname(TextSink& sink) { return put_uts(sink, task::uts().nodename); }
Result<> put_domainname(TextSink& sink) { return put_uts(sink, task::uts().domainname); }

Result<> check_administrator() {
    if (!task::current().credentials().has(auth::Capability::kSysAdmin)) return Errno::kPERM;
    return {};
}
Result<> store_hostname(std::string_view text) {
    TRY(check_administrator());
    return task::set_hostname(trimmed(text));
}
Result<> store_domainname(std::string_view text) {
    TRY(check_administrator());
    return task::set_domainname(trimmed(text));
}

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

constexpr StaticEntry kRandom[] = {text_entry("boot_id", put_boot_id), constant_entry("entropy_avail", "256\n"),
                                   constant_entry("poolsize", "256\n"), text_entry("uuid", put_uuid)};
constexpr StaticEntry kKernel[] = {
    constant_entry("cap_last_cap", "40\n"),
    constant_entry("core_pattern", "core\n"),
    text_entry("domainname", put_domainname, 0644, store_domainname),
    text_entry("hostname", put_hostname, 0644, store_hostname),
    constant_entry("ngroups_max", "65536\n"),
    text_entry("osrelease", put_osrelease),
    text_entry("ostype", put_ostype),
    constant_entry("overflowgid", "65534\n"),
    constant_entry("overflowuid", "65534\n"),
    constant_entry("pid_max", "32768\n"),
    directory_entry("random", kRandom),
    constant_entry("randomize_va_space", "2\n"),
    constant_entry("threads-max", "32768\n"),
    text_entry("version", put_os_version),
};
constexpr StaticEntry kVm[] = {constant_entry("max_map_count", "65530\n"), constant_entry("mmap_min_addr", "65536\n"),
                               constant_entry("overcommit_memory", "0\n"), constant_entry("overcommit_ratio", "50\n"),
                               constant_entry("swappiness", "0\n")};
constexpr StaticEntry kFs[] = {constant_entry("file-max", "9223372036854775807\n"),
                               constant_entry("nr_open", "1048576\n"), constant_entry("pipe-max-size", "1048576\n")};
constexpr StaticEntry kSysctl[] = {directory_entry("fs", kFs), directory_entry("kernel", kKernel),
                                   directory_entry("vm", kVm)};

}  // namespace

constinit const StaticEntry kSysctlDirectory = directory_entry("sys", kSysctl);

}  // namespace kvmsbx::fs
