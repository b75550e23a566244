// /sys: the CPUs and the memory node, as glibc, lscpu, the JVM and Go read them.
#include <dirent.h>
#include <fcntl.h>
#include <sched.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/sysinfo.h>

#include <string>

#include "tests/guest/guest_test.hpp"

using namespace guest;

namespace {

constexpr long kSysfsMagic = 0x62656572;

bool has(const std::string& path) { return access(path.c_str(), F_OK) == 0; }

std::string content(const std::string& path) {
    static char text[65536];
    if (read_file(path.c_str(), text, sizeof text) < 0)
        fail(__FILE__, __LINE__, "%s: %s", path.c_str(), strerror(errno));
    return text;
}

// How many CPUs "0-3,5\n" names.
int count_list(const std::string& list) {
    int count = 0;
    for (const char* at = list.c_str(); *at && *at != '\n';) {
        char* end;
        const long first = strtol(at, &end, 10), last = *end == '-' ? strtol(end + 1, &end, 10) : first;
        count += static_cast<int>(last - first + 1);
        at = *end == ',' ? end + 1 : end;
    }
    return count;
}

int count_mask(const std::string& mask) {
    int count = 0;
    for (char c : mask) {
        const char digit[2] = {c, 0};
        if (isxdigit(static_cast<unsigned char>(c))) count += __builtin_popcountl(strtoul(digit, nullptr, 16));
    }
    return count;
}

const std::string kCpus = "/sys/devices/system/cpu/", kNodes = "/sys/devices/system/node/";

void need_sys() {
    if (!has(kCpus + "online")) SKIP("no sysfs is mounted here");
}

}  // namespace

TEST("sys_is_sysfs") {
    need_sys();
    struct statfs fs;
    OK(statfs("/sys", &fs));
    CHECK_EQ(fs.f_type, kSysfsMagic);
    struct stat status;
    OK(stat("/sys", &status));
    CHECK_EQ(status.st_mode, S_IFDIR | 0555);
}

TEST("sys_has_linuxs_folders") {
    need_sys();
    for (const char* name : {"block", "bus", "class", "dev", "devices", "firmware", "fs", "kernel", "module"})
        CHECK(has(std::string("/sys/") + name));
}

TEST("online_cpus_are_those_of_the_library") {
    need_sys();
    CHECK_EQ(count_list(content(kCpus + "online")), get_nprocs_conf());
    CHECK_EQ(count_list(content(kCpus + "present")), get_nprocs_conf());
    CHECK_GE(count_list(content(kCpus + "possible")), get_nprocs_conf());
}

TEST("kernel_max_is_a_number") {
    need_sys();
    CHECK_GE(atoi(content(kCpus + "kernel_max").c_str()), get_nprocs_conf() - 1);
}

TEST("affinity_is_within_online_cpus") {
    need_sys();
    cpu_set_t set;
    OK(sched_getaffinity(0, sizeof set, &set));
    CHECK_LE(CPU_COUNT(&set), count_list(content(kCpus + "online")));
}

TEST("each_cpu_has_a_folder") {
    need_sys();
    int folders = 0;
    DIR* directory = opendir(kCpus.c_str());
    CHECK(directory != nullptr);
    while (const dirent* entry = readdir(directory))
        folders += !strncmp(entry->d_name, "cpu", 3) && isdigit(static_cast<unsigned char>(entry->d_name[3]));
    closedir(directory);
    CHECK_EQ(folders, get_nprocs_conf());
    CHECK(!has(kCpus + "cpu" + std::to_string(4000)));
}

TEST("topology_of_a_cpu") {
    need_sys();
    const std::string topology = kCpus + "cpu0/topology/";
    CHECK_GE(atoi(content(topology + "physical_package_id").c_str()), 0);
    CHECK_GE(atoi(content(topology + "core_id").c_str()), 0);
    CHECK_GE(count_list(content(topology + "thread_siblings_list")), 1);
    CHECK_GE(count_list(content(topology + "core_siblings_list")),
             count_list(content(topology + "thread_siblings_list")));
}

TEST("masks_and_lists_name_the_same_cpus") {
    need_sys();
    const std::string topology = kCpus + "cpu0/topology/";
    CHECK_EQ(count_mask(content(topology + "thread_siblings")), count_list(content(topology + "thread_siblings_list")));
    CHECK_EQ(count_mask(content(topology + "core_siblings")), count_list(content(topology + "core_siblings_list")));
}

TEST("caches_of_a_cpu") {
    need_sys();
    if (!has(kCpus + "cpu0/cache/index0")) SKIP("the CPU tells nothing of its caches");
    for (int i = 0; has(kCpus + "cpu0/cache/index" + std::to_string(i)); ++i) {
        const std::string cache = kCpus + "cpu0/cache/index" + std::to_string(i) + "/";
        const long size = strtol(content(cache + "size").c_str(), nullptr, 10);
        const int level = atoi(content(cache + "level").c_str());
        CHECK_GT(size, 0);
        CHECK(level >= 1 && level <= 4);
        const std::string type = content(cache + "type");
        CHECK(type == "Data\n" || type == "Instruction\n" || type == "Unified\n");
        const long line = atol(content(cache + "coherency_line_size").c_str());
        const long ways = atol(content(cache + "ways_of_associativity").c_str());
        const long sets = atol(content(cache + "number_of_sets").c_str());
        const long partitions = atol(content(cache + "physical_line_partition").c_str());
        CHECK_EQ(line * ways * sets * partitions, size * 1024);
        CHECK_EQ(count_mask(content(cache + "shared_cpu_map")), count_list(content(cache + "shared_cpu_list")));
    }
}

TEST("the_memory_node_has_all_cpus") {
    need_sys();
    if (!has(kNodes + "node0")) SKIP("this kernel has no CONFIG_NUMA");
    CHECK_EQ(content(kNodes + "online").compare(0, 1, "0"), 0);
    CHECK_GE(count_list(content(kNodes + "node0/cpulist")), 1);
    CHECK_EQ(count_mask(content(kNodes + "node0/cpumap")), count_list(content(kNodes + "node0/cpulist")));
    CHECK_EQ(content(kNodes + "node0/meminfo").compare(0, 16, "Node 0 MemTotal:"), 0);
    CHECK_EQ(content(kNodes + "node0/distance").compare(0, 2, "10"), 0);
}

TEST("huge_page_settings") {
    need_sys();
    const std::string folder = "/sys/kernel/mm/transparent_hugepage/";
    if (!has(folder)) SKIP("this kernel has no transparent huge pages");
    const std::string enabled = content(folder + "enabled");
    CHECK(enabled.find('[') != std::string::npos && enabled.find(']') != std::string::npos);
    CHECK_STREQ(content(folder + "hpage_pmd_size").c_str(), "2097152\n");
}

TEST("sys_cannot_be_changed") {
    need_sys();
    CHECK(mkdir("/sys/kernel/x", 0755) < 0);
    CHECK(errno == EROFS || errno == EPERM || errno == EACCES);
    CHECK(open("/sys/kernel/x", O_CREAT | O_WRONLY, 0644) < 0);
    CHECK_ERRNO(open("/sys/nothing", O_RDONLY), ENOENT);
}

TEST("no_hypervisor_and_no_firmware_tables_in_the_sandbox") {
    need_sys();
    // What systemd-detect-virt and the JVM look for; natively a virtual machine may have them.
    if (has("/sys/class/dmi/id/product_name") || has("/sys/hypervisor/type"))
        SKIP("this machine is virtual and says so");
    CHECK_ERRNO(access("/sys/hypervisor/type", F_OK), ENOENT);
    CHECK_ERRNO(access("/sys/class/dmi/id/product_name", F_OK), ENOENT);
}
