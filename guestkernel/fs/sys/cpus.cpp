// /sys/devices/system: the vCPUs, one memory node.
#include <cpuid.h>

#include <algorithm>

#include "guestkernel/fs/sys/nodes.hpp"
#include "guestkernel/mm/frame.hpp"
#include "guestkernel/platform/host.hpp"

namespace kvmsbx::fs::sys {
namespace {

unsigned cpu_count() { return platform::boot_info().cpu_count; }
uint64_t all_cpus() { return cpu_count() >= 64 ? ~0ULL : (1ULL << cpu_count()) - 1; }

Result<> put_list(TextSink& sink, uint64_t mask) {
    put_cpu_list(sink, mask);
    sink.put("\n");
    return {};
}
Result<> put_mask(TextSink& sink, uint64_t mask) {
    put_cpu_mask(sink, mask, cpu_count());
    sink.put("\n");
    return {};
}
Result<> put_number(TextSink& sink, uint64_t value) {
    format_to(sink, "{}\n", value);
    return {};
}

Result<> put_all_list(TextSink& sink) { return put_list(sink, all_cpus()); }
Result<> put_all_mask(TextSink& sink) { return put_mask(sink, all_cpus()); }

// --- cpuN: one package, each vCPU a core of its own, as /proc/cpuinfo has it.

Result<> put_core(unsigned cpu, TextSink& sink) { return put_number(sink, cpu); }
Result<> put_zero(unsigned, TextSink& sink) { return put_number(sink, 0); }
Result<> put_own_list(unsigned cpu, TextSink& sink) { return put_list(sink, 1ULL << cpu); }
Result<> put_own_mask(unsigned cpu, TextSink& sink) { return put_mask(sink, 1ULL << cpu); }
Result<> put_package_list(unsigned, TextSink& sink) { return put_all_list(sink); }
Result<> put_package_mask(unsigned, TextSink& sink) { return put_all_mask(sink); }

constexpr StaticEntry kTopology[] = {
    instance_entry("core_cpus", put_own_mask),
    instance_entry("core_cpus_list", put_own_list),
    instance_entry("core_id", put_core),
    instance_entry("core_siblings", put_package_mask),
    instance_entry("core_siblings_list", put_package_list),
    instance_entry("die_cpus", put_package_mask),
    instance_entry("die_cpus_list", put_package_list),
    instance_entry("die_id", put_zero),
    instance_entry("package_cpus", put_package_mask),
    instance_entry("package_cpus_list", put_package_list),
    instance_entry("physical_package_id", put_zero),
    instance_entry("thread_siblings", put_own_mask),
    instance_entry("thread_siblings_list", put_own_list),
};

// Deterministic cache parameters, Intel's leaf 4 and AMD's 0x8000001d, which have one form.
struct Cache {
    unsigned type = 0, level = 0, line = 0, partitions = 0, ways = 0, sharing = 0;
    uint64_t sets = 0;
    uint64_t bytes() const { return uint64_t{line} * partitions * ways * sets; }
};
constexpr unsigned kMostCaches = 8;

Cache cache_at(unsigned index) {
    uint32_t a = 0, b = 0, c = 0, d = 0;
    constexpr uint32_t kIntel = 4, kAmd = 0x8000001d;
    for (uint32_t leaf : {kIntel, kAmd}) {
        if (!__get_cpuid_count(leaf, index, &a, &b, &c, &d) || (a & 31) == 0) continue;
        return {a & 31,        a >> 5 & 7,      (b & 0xfff) + 1, (b >> 12 & 0x3ff) + 1,
                (b >> 22) + 1, a >> 14 & 0xfff, uint64_t{c} + 1};
    }
    return {};
}

unsigned cache_count() {
    unsigned count = 0;
    while (count < kMostCaches && cache_at(count).type != 0) ++count;
    return count;
}

// A cache's instance number: its index, then the vCPU.
constexpr unsigned cache_instance(unsigned cpu, unsigned index) { return cpu * kMostCaches + index; }
Cache cache_of(unsigned instance) { return cache_at(instance % kMostCaches); }
uint64_t sharers(unsigned instance) {
    constexpr unsigned kFirstShared = 3;
    const Cache cache = cache_of(instance);
    return cache.level >= kFirstShared && cache.sharing > 0 ? all_cpus() : 1ULL << instance / kMostCaches;
}

Result<> put_cache_level(unsigned cache, TextSink& sink) { return put_number(sink, cache_of(cache).level); }
Result<> put_cache_line(unsigned cache, TextSink& sink) { return put_number(sink, cache_of(cache).line); }
Result<> put_cache_sets(unsigned cache, TextSink& sink) { return put_number(sink, cache_of(cache).sets); }
Result<> put_cache_ways(unsigned cache, TextSink& sink) { return put_number(sink, cache_of(cache).ways); }
Result<> put_cache_partitions(unsigned cache, TextSink& sink) { return put_number(sink, cache_of(cache).partitions); }
Result<> put_cache_size(unsigned cache, TextSink& sink) {
    format_to(sink, "{}K\n", cache_of(cache).bytes() / 1024);
    return {};
}
Result<> put_cache_type(unsigned cache, TextSink& sink) {
    constexpr std::string_view kTypes[] = {"", "Data\n", "Instruction\n", "Unified\n"};
    sink.put(kTypes[cache_of(cache).type & 3]);
    return {};
}
Result<> put_sharers_list(unsigned cache, TextSink& sink) { return put_list(sink, sharers(cache)); }
Result<> put_sharers_mask(unsigned cache, TextSink& sink) { return put_mask(sink, sharers(cache)); }

constexpr StaticEntry kCacheFiles[] = {
    instance_entry("coherency_line_size", put_cache_line),
    instance_entry("level", put_cache_level),
    instance_entry("number_of_sets", put_cache_sets),
    instance_entry("physical_line_partition", put_cache_partitions),
    instance_entry("shared_cpu_list", put_sharers_list),
    instance_entry("shared_cpu_map", put_sharers_mask),
    instance_entry("size", put_cache_size),
    instance_entry("type", put_cache_type),
    instance_entry("ways_of_associativity", put_cache_ways),
};
constexpr StaticEntry kCache = directory_entry("index", kCacheFiles);

class CacheDirectory final : public NumberedDirectory {
  public:
    CacheDirectory(RefPtr<vfs::FileSystem> fs, uint64_t ino, unsigned cpu)
        : NumberedDirectory(std::move(fs), ino, {}, "index"), cpu_(cpu) {}

  private:
    unsigned count() const override { return cache_count(); }
    Result<RefPtr<vfs::Inode>> make(unsigned index, uint64_t number) override {
        return make_static_node(RefPtr<vfs::FileSystem>(fs()), kCache, number, cache_instance(cpu_, index));
    }
    const unsigned cpu_;
};

// cpuN: topology/ and cache/.
class OneCpu final : public SyntheticNode {
  public:
    OneCpu(RefPtr<vfs::FileSystem> fs, uint64_t ino, unsigned cpu)
        : SyntheticNode(std::move(fs), ino, vfs::kModeDirectory | 0755), cpu_(cpu) {}
    Result<RefPtr<vfs::Inode>> lookup(std::string_view name) override {
        RefPtr<vfs::FileSystem> file_system(fs());
        if (name == "topology")
            return make_static_node(std::move(file_system), kTopologyEntry, child_ino(ino, 0), cpu_);
        if (name != "cache") return Errno::kNOENT;
        return RefPtr<vfs::Inode>(TRY(make_ref<CacheDirectory>(std::move(file_system), child_ino(ino, 1), cpu_)));
    }
    Result<> read_directory(uint64_t cookie, vfs::DirectoryVisitor& visitor) override {
        if (!visit_dots(cookie, ino, visitor)) return {};
        if (cookie < 3 && !visitor.visit({"topology", child_ino(ino, 0), kDtDirectory, 3})) return {};
        if (cookie < 4) (void)visitor.visit({"cache", child_ino(ino, 1), kDtDirectory, 4});
        return {};
    }

  private:
    static constexpr StaticEntry kTopologyEntry = directory_entry("topology", kTopology);
    const unsigned cpu_;
};

constexpr StaticEntry kCpuTexts[] = {
    constant_entry("isolated", "\n"),   constant_entry("kernel_max", "63\n"), constant_entry("offline", "\n"),
    text_entry("online", put_all_list), text_entry("possible", put_all_list), text_entry("present", put_all_list),
};

class CpuDirectory final : public NumberedDirectory {
  public:
    CpuDirectory(RefPtr<vfs::FileSystem> fs, uint64_t ino) : NumberedDirectory(std::move(fs), ino, kCpuTexts, "cpu") {}

  private:
    unsigned count() const override { return cpu_count(); }
    Result<RefPtr<vfs::Inode>> make(unsigned cpu, uint64_t number) override {
        return RefPtr<vfs::Inode>(TRY(make_ref<OneCpu>(RefPtr<vfs::FileSystem>(fs()), number, cpu)));
    }
};

Result<> put_node_memory(TextSink& sink) {
    const mm::MemoryStatistics memory = mm::memory_statistics();
    constexpr uint64_t kKilobyte = 1024;
    format_to(sink, "Node 0 MemTotal:       {8} kB\nNode 0 MemFree:        {8} kB\nNode 0 MemUsed:        {8} kB\n",
              memory.total / kKilobyte, memory.free / kKilobyte, (memory.total - memory.free) / kKilobyte);
    format_to(sink, "Node 0 FilePages:      {8} kB\nNode 0 HugePages_Total:     0\nNode 0 HugePages_Free:      0\n",
              memory.cached / kKilobyte);
    sink.put("Node 0 HugePages_Surp:      0\n");
    return {};
}

constexpr StaticEntry kNode0[] = {
    text_entry("cpulist", put_all_list),
    text_entry("cpumap", put_all_mask),
    constant_entry("distance", "10\n"),
    text_entry("meminfo", put_node_memory),
};
constexpr StaticEntry kNodes[] = {
    constant_entry("has_cpu", "0\n"), constant_entry("has_memory", "0\n"), constant_entry("has_normal_memory", "0\n"),
    directory_entry("node0", kNode0), constant_entry("online", "0\n"),     constant_entry("possible", "0\n"),
};

}  // namespace

constinit const StaticEntry kNodeDirectory = directory_entry("node", kNodes);

Result<RefPtr<vfs::Inode>> make_cpu_directory(RefPtr<vfs::FileSystem> fs, uint64_t ino) {
    return RefPtr<vfs::Inode>(TRY(make_ref<CpuDirectory>(std::move(fs), ino)));
}

Result<RefPtr<vfs::Inode>> NumberedDirectory::lookup(std::string_view name) {
    for (size_t i = 0; i < texts_.size(); ++i)
        if (texts_[i].name == name)
            return make_static_node(RefPtr<vfs::FileSystem>(fs()), texts_[i], child_ino(ino, i));
    for (unsigned i = 0; i < count(); ++i) {
        FixedText<16> wanted;
        format_to(wanted, "{}{}", prefix_, i);
        if (wanted.view() == name) return make(i, entry_ino(i));
    }
    return Errno::kNOENT;
}

Result<> NumberedDirectory::read_directory(uint64_t cookie, vfs::DirectoryVisitor& visitor) {
    if (!visit_dots(cookie, ino, visitor) || !visit_entries(cookie, ino, texts_, visitor)) return {};
    const uint64_t first = texts_.size() + 3;
    for (uint64_t i = cookie >= first ? cookie - first + 1 : 0; i < count(); ++i) {
        FixedText<16> name;
        format_to(name, "{}{}", prefix_, i);
        if (!visitor.visit({name.view(), entry_ino(static_cast<unsigned>(i)), kDtDirectory, first + i})) return {};
    }
    return {};
}

}  // namespace kvmsbx::fs::sys
