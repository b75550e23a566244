#include "guestkernel/fs/proc/cpuinfo.hpp"

#include <cpuid.h>

#include "guestkernel/fs/proc/nodes.hpp"
#include "guestkernel/platform/host.hpp"

namespace kvmsbx::fs {
namespace {

struct Registers {
    uint32_t a = 0, b = 0, c = 0, d = 0;
};

Registers cpuid(uint32_t leaf, uint32_t subleaf = 0) {
    Registers r;
    if (!__get_cpuid_count(leaf, subleaf, &r.a, &r.b, &r.c, &r.d)) return {};
    return r;
}

struct Flag {
    uint8_t bit;
    std::string_view name;
};
// Names of arch/x86/include/asm/cpufeatures.h, of what an application can use.
constexpr Flag kLeaf1Edx[] = {{0, "fpu"},  {1, "vme"},   {2, "de"},    {3, "pse"},   {4, "tsc"},    {5, "msr"},
                              {6, "pae"},  {7, "mce"},   {8, "cx8"},   {9, "apic"},  {11, "sep"},   {12, "mtrr"},
                              {13, "pge"}, {14, "mca"},  {15, "cmov"}, {16, "pat"},  {17, "pse36"}, {19, "clflush"},
                              {23, "mmx"}, {24, "fxsr"}, {25, "sse"},  {26, "sse2"}, {27, "ss"},    {28, "ht"}};
constexpr Flag kExtendedEdx[] = {{11, "syscall"}, {20, "nx"},     {22, "mmxext"}, {25, "fxsr_opt"},
                                 {26, "pdpe1gb"}, {27, "rdtscp"}, {29, "lm"}};
constexpr Flag kLeaf1Ecx[] = {{0, "pni"},     {1, "pclmulqdq"}, {9, "ssse3"},  {12, "fma"},    {13, "cx16"},
                              {19, "sse4_1"}, {20, "sse4_2"},   {22, "movbe"}, {23, "popcnt"}, {25, "aes"},
                              {26, "xsave"},  {28, "avx"},      {29, "f16c"},  {30, "rdrand"}, {31, "hypervisor"}};
constexpr Flag kExtendedEcx[] = {{0, "lahf_lm"}, {5, "abm"}, {6, "sse4a"}, {7, "misalignsse"}, {8, "3dnowprefetch"}};
constexpr Flag kLeaf7Ebx[] = {{0, "fsgsbase"},  {3, "bmi1"},        {5, "avx2"},        {8, "bmi2"},
                              {9, "erms"},      {16, "avx512f"},    {17, "avx512dq"},   {18, "rdseed"},
                              {19, "adx"},      {21, "avx512ifma"}, {23, "clflushopt"}, {24, "clwb"},
                              {28, "avx512cd"}, {29, "sha_ni"},     {30, "avx512bw"},   {31, "avx512vl"}};
constexpr Flag kLeaf7Ecx[] = {{1, "avx512vbmi"},     {6, "avx512_vbmi2"},      {8, "gfni"},
                              {9, "vaes"},           {10, "vpclmulqdq"},       {11, "avx512_vnni"},
                              {12, "avx512_bitalg"}, {14, "avx512_vpopcntdq"}, {22, "rdpid"}};

template <size_t N>
void put_flags(TextSink& sink, uint32_t value, const Flag (&flags)[N]) {
    for (const Flag& flag : flags)
        if (value >> flag.bit & 1) format_to(sink, " {}", flag.name);
}

std::string_view vendor_of(const Registers& leaf0, char (&text)[13]) {
    const uint32_t parts[] = {leaf0.b, leaf0.d, leaf0.c};
    for (unsigned i = 0; i < 12; ++i) text[i] = static_cast<char>(parts[i / 4] >> i % 4 * 8);
    text[12] = '\0';
    return {text, 12};
}

void put_processor(TextSink& sink, unsigned cpu) {
    const abi::BootInfo& boot = platform::boot_info();
    const Registers leaf1 = cpuid(1), leaf7 = cpuid(7), extended = cpuid(0x80000001), sizes = cpuid(0x80000008);
    char vendor[13];
    uint32_t family = leaf1.a >> 8 & 15, model = leaf1.a >> 4 & 15;
    if (family == 15) family += leaf1.a >> 20 & 255;
    if (family >= 6) model |= leaf1.a >> 12 & 0xf0;
    const uint64_t khz = boot.tsc_khz;
    format_to(sink,
              "processor\t: {}\nvendor_id\t: {}\ncpu family\t: {}\nmodel\t\t: {}\nmodel name\t: {}\nstepping\t: {}\n",
              cpu, vendor_of(cpuid(0), vendor), family, model, trimmed(boot.cpu_model), leaf1.a & 15);
    format_to(sink,
              "cpu MHz\t\t: {}.{03}\nphysical id\t: 0\nsiblings\t: {}\ncore id\t\t: {}\ncpu cores\t: {}\napicid\t\t: "
              "{}\ninitial apicid\t: {}\n",
              khz / 1000, khz % 1000, boot.cpu_count, cpu, boot.cpu_count, cpu, cpu);
    sink.put("fpu\t\t: yes\nfpu_exception\t: yes\ncpuid level\t: ");
    format_to(sink, "{}\nwp\t\t: yes\nflags\t\t:", cpuid(0).a);
    put_flags(sink, leaf1.d, kLeaf1Edx);
    put_flags(sink, extended.d, kExtendedEdx);
    put_flags(sink, leaf1.c, kLeaf1Ecx);
    put_flags(sink, extended.c, kExtendedEcx);
    put_flags(sink, leaf7.b, kLeaf7Ebx);
    put_flags(sink, leaf7.c, kLeaf7Ecx);
    const uint32_t line = leaf1.b >> 8 & 255;
    format_to(sink,
              "\nbogomips\t: {}.{02}\nclflush size\t: {}\ncache_alignment\t: {}\naddress sizes\t: {} bits physical, {} "
              "bits virtual\npower management:\n\n",
              khz / 500, khz / 5 % 100, line * 8, line * 8, sizes.a & 255, sizes.a >> 8 & 255);
}

}  // namespace

Result<> put_cpuinfo(TextSink& sink) {
    for (unsigned cpu = 0; cpu < platform::boot_info().cpu_count; ++cpu) put_processor(sink, cpu);
    return {};
}

}  // namespace kvmsbx::fs
