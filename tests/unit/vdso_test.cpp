// The vDSO's image, mapped into this very process behind a data page: looked up by its own dynamic section and called.
#include "vmm/vdso.hpp"

#include <dlfcn.h>
#include <elf.h>
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>
#include <x86intrin.h>

#include <cstring>
#include <fstream>
#include <map>
#include <string>

#include "common/abi/boot_info.hpp"

namespace kvmsbx::vmm {
namespace {

class MappedVdso {
  public:
    explicit MappedVdso(CpuNumberSource source) : image_(build_vdso(source).release_value()) {
        size_ = 4096 + image_.bytes.size();
        base_ =
            static_cast<std::byte*>(mmap(nullptr, size_, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
        memcpy(elf(), image_.bytes.data(), image_.bytes.size());
        mprotect(elf(), image_.bytes.size(), PROT_READ | PROT_EXEC);
        read_symbols();
    }
    ~MappedVdso() { munmap(base_, size_); }

    std::byte* elf() { return base_ + 4096; }
    abi::VdsoData& data() { return *reinterpret_cast<abi::VdsoData*>(base_); }
    const VdsoImage& image() const { return image_; }
    template <typename F>
    F* function(const std::string& name) {
        auto found = symbols_.find(name);
        return found == symbols_.end() ? nullptr : reinterpret_cast<F*>(elf() + found->second);
    }

  private:
    void read_symbols() {
        auto* header = reinterpret_cast<Elf64_Ehdr*>(elf());
        auto* programs = reinterpret_cast<Elf64_Phdr*>(elf() + header->e_phoff);
        std::map<int64_t, uint64_t> dynamic;
        for (int i = 0; i < header->e_phnum; i++)
            if (programs[i].p_type == PT_DYNAMIC)
                for (auto* d = reinterpret_cast<Elf64_Dyn*>(elf() + programs[i].p_vaddr); d->d_tag != DT_NULL; d++)
                    dynamic[d->d_tag] = d->d_un.d_val;
        auto* hash = reinterpret_cast<uint32_t*>(elf() + dynamic[DT_HASH]);
        auto* symbols = reinterpret_cast<Elf64_Sym*>(elf() + dynamic[DT_SYMTAB]);
        for (uint32_t bucket = 0; bucket < hash[0]; bucket++)
            for (uint32_t i = hash[2 + bucket]; i != 0; i = hash[2 + hash[0] + i])
                symbols_[reinterpret_cast<char*>(elf() + dynamic[DT_STRTAB] + symbols[i].st_name)] =
                    symbols[i].st_value;
    }

    VdsoImage image_;
    size_t size_;
    std::byte* base_;
    std::map<std::string, uint64_t> symbols_;
};

constexpr uint64_t kSecond = 1'000'000'000;

TEST(Vdso, SymbolsAreFoundThroughTheHashTable) {
    MappedVdso vdso(CpuNumberSource::kSystemCall);
    for (const char* name : {"__vdso_clock_gettime", "clock_gettime", "__vdso_gettimeofday", "gettimeofday",
                             "__vdso_time", "__vdso_getcpu", "__vdso_clock_getres", "__kernel_rt_sigreturn"})
        EXPECT_NE(vdso.function<void()>(name), nullptr) << name;
    EXPECT_EQ(vdso.image().bytes.size() % 4096, 0u);
}

TEST(Vdso, SigreturnIsWhatUnwindersLookFor) {
    MappedVdso vdso(CpuNumberSource::kSystemCall);
    const unsigned char bytes[] = {0x48, 0xc7, 0xc0, 15, 0, 0, 0, 0x0f, 0x05};
    EXPECT_EQ(memcmp(vdso.elf() + vdso.image().sigreturn, bytes, sizeof bytes), 0);
}

// With a multiplier of 0 the clocks stand still at their bases, so every digit can be checked.
TEST(Vdso, SplitsNanosecondsExactly) {
    MappedVdso vdso(CpuNumberSource::kSystemCall);
    auto* gettime = vdso.function<int(clockid_t, timespec*)>("__vdso_clock_gettime");
    auto* gettimeofday = vdso.function<int(timeval*, struct timezone*)>("__vdso_gettimeofday");
    auto* time = vdso.function<time_t(time_t*)>("__vdso_time");
    for (uint64_t ns :
         {uint64_t{0}, uint64_t{1}, kSecond - 1, kSecond, kSecond + 1, uint64_t{1'700'000'000'123'456'789},
          ~uint64_t{0}, ~uint64_t{0} / kSecond * kSecond, ~uint64_t{0} / kSecond * kSecond - 1}) {
        vdso.data().monotonic_base = vdso.data().realtime_base = vdso.data().boottime_base = ns;
        for (clockid_t clock : {CLOCK_MONOTONIC, CLOCK_REALTIME, CLOCK_BOOTTIME, CLOCK_MONOTONIC_RAW,
                                CLOCK_REALTIME_COARSE, CLOCK_MONOTONIC_COARSE}) {
            timespec t{};
            ASSERT_EQ(gettime(clock, &t), 0);
            EXPECT_EQ(static_cast<uint64_t>(t.tv_sec), ns / kSecond);
            EXPECT_EQ(static_cast<uint64_t>(t.tv_nsec), ns % kSecond);
        }
        timeval tv{};
        ASSERT_EQ(gettimeofday(&tv, nullptr), 0);
        EXPECT_EQ(static_cast<uint64_t>(tv.tv_sec), ns / kSecond);
        EXPECT_EQ(static_cast<uint64_t>(tv.tv_usec), ns % kSecond / 1000);
        time_t stored = 1;
        EXPECT_EQ(static_cast<uint64_t>(time(&stored)), ns / kSecond);
        EXPECT_EQ(static_cast<uint64_t>(stored), ns / kSecond);
    }
}

TEST(Vdso, ClocksAreTheirOwn) {
    MappedVdso vdso(CpuNumberSource::kSystemCall);
    vdso.data().realtime_base = 10 * kSecond, vdso.data().monotonic_base = 20 * kSecond,
    vdso.data().boottime_base = 30 * kSecond;
    auto* gettime = vdso.function<int(clockid_t, timespec*)>("__vdso_clock_gettime");
    timespec t{};
    const std::pair<clockid_t, int> clocks[] = {{CLOCK_REALTIME, 10},         {CLOCK_REALTIME_COARSE, 10},
                                                {CLOCK_MONOTONIC, 20},        {CLOCK_MONOTONIC_RAW, 20},
                                                {CLOCK_MONOTONIC_COARSE, 20}, {CLOCK_BOOTTIME, 30}};
    for (auto [clock, seconds] : clocks) {
        ASSERT_EQ(gettime(clock, &t), 0);
        EXPECT_EQ(t.tv_sec, seconds) << clock;
    }
}

TEST(Vdso, OtherClocksGoToTheKernel) {
    MappedVdso vdso(CpuNumberSource::kSystemCall);
    auto* gettime = vdso.function<int(clockid_t, timespec*)>("__vdso_clock_gettime");
    timespec t{};
    EXPECT_EQ(gettime(CLOCK_PROCESS_CPUTIME_ID, &t), 0);
    EXPECT_EQ(gettime(12345, &t), -EINVAL);
    auto* getres = vdso.function<int(clockid_t, timespec*)>("__vdso_clock_getres");
    EXPECT_EQ(getres(CLOCK_MONOTONIC, &t), 0);
    EXPECT_EQ(t.tv_nsec, 1);
    EXPECT_EQ(getres(CLOCK_REALTIME_COARSE, &t), 0);
    EXPECT_EQ(t.tv_nsec, 4'000'000);
    EXPECT_EQ(getres(CLOCK_REALTIME, nullptr), 0);
    EXPECT_EQ(getres(12345, &t), -EINVAL);
}

TEST(Vdso, CountsTheTscMonotonically) {
    MappedVdso vdso(CpuNumberSource::kSystemCall);
    timespec start{}, now{};
    clock_gettime(CLOCK_MONOTONIC, &start);
    uint64_t tsc_start = __rdtsc();
    timespec pause{0, 50'000'000};
    nanosleep(&pause, nullptr);
    clock_gettime(CLOCK_MONOTONIC, &now);
    double ns = (now.tv_sec - start.tv_sec) * 1e9 + now.tv_nsec - start.tv_nsec;
    vdso.data().mult = static_cast<uint64_t>(ns / (__rdtsc() - tsc_start) * 4294967296.0);
    vdso.data().tsc_base = tsc_start;
    auto* gettime = vdso.function<int(clockid_t, timespec*)>("__vdso_clock_gettime");
    timespec last{};
    ASSERT_EQ(gettime(CLOCK_MONOTONIC, &last), 0);
    EXPECT_GE(last.tv_sec * 1e9 + last.tv_nsec, ns);
    EXPECT_LT(last.tv_sec * 1e9 + last.tv_nsec, ns + 1e10);
    for (int i = 0; i < 10000; i++) {
        gettime(CLOCK_MONOTONIC, &now);
        ASSERT_TRUE(now.tv_sec > last.tv_sec || (now.tv_sec == last.tv_sec && now.tv_nsec >= last.tv_nsec));
        last = now;
    }
    vdso.data().tsc_base = ~uint64_t{0};  // in the future: no time has passed
    vdso.data().monotonic_base = 5;
    gettime(CLOCK_MONOTONIC, &now);
    EXPECT_EQ(now.tv_nsec, 5);
}

TEST(Vdso, GetcpuBothWays) {
    unsigned cpu = ~0u, node = ~0u;
    MappedVdso by_call(CpuNumberSource::kSystemCall), by_aux(CpuNumberSource::kTscAux);
    EXPECT_EQ(by_call.function<int(unsigned*, unsigned*, void*)>("__vdso_getcpu")(&cpu, &node, nullptr), 0);
    EXPECT_LT(cpu, 4096u);
    EXPECT_EQ(by_aux.function<int(unsigned*, unsigned*, void*)>("__vdso_getcpu")(&cpu, &node, nullptr), 0);
    EXPECT_EQ(node, 0u);
    EXPECT_EQ(by_aux.function<int(unsigned*, unsigned*, void*)>("__vdso_getcpu")(nullptr, nullptr, nullptr), 0);
}

// ld.so is the strictest reader there is.
TEST(Vdso, TheDynamicLoaderTakesItWithItsVersion) {
    std::string path = ::testing::TempDir() + "kvmsbx-vdso-test.so";
    auto image = build_vdso(CpuNumberSource::kSystemCall).release_value();
    std::ofstream(path, std::ios::binary).write(reinterpret_cast<const char*>(image.bytes.data()), image.bytes.size());
    void* library = dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL);
    ASSERT_NE(library, nullptr) << dlerror();
    EXPECT_NE(dlvsym(library, "__vdso_clock_gettime", "LINUX_2.6"), nullptr);
    EXPECT_NE(dlvsym(library, "getcpu", "LINUX_2.6"), nullptr);
    EXPECT_EQ(dlsym(library, "nonsense"), nullptr);
    dlclose(library);
    unlink(path.c_str());
}

}  // namespace
}  // namespace kvmsbx::vmm
