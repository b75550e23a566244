// The generated entry code as data: what the gate's security and cost rest on. That it works is for
// tests/hwkvm/entry_code_test.cpp to show.
#include "common/abi/mailbox.hpp"
#include "vmm/kvm/entry_code.hpp"

#include <gtest/gtest.h>

#include <cstring>
#include <set>

namespace kvmsbx::vmm {
namespace {

constexpr uint64_t kSentryCr3 = 0x1'0000'7000;
constexpr unsigned kCpu = 3;

EntryCode generate(abi::PrivilegeMode mode) {
    EntryCodeInput input{kCpu,
                         mode,
                         kSentryCr3,
                         abi::kDirectMap + 0x1'0000'0000,
                         abi::kDirectMap + 0x1'0000'1000,
                         0x1'0000'1000,
                         FpuMethod::kXsave,
                         7};
    return generate_entry_code(input).release_value();
}

struct IdtEntry {
    bool present;
    unsigned dpl, stack;
    uint64_t handler;
};

IdtEntry entry(const std::array<uint8_t, abi::kPageSize>& idt, unsigned vector) {
    uint64_t low, high;
    memcpy(&low, &idt[16 * vector], 8);
    memcpy(&high, &idt[16 * vector + 8], 8);
    return {(low >> 47 & 1) != 0, static_cast<unsigned>(low >> 45 & 3), static_cast<unsigned>(low >> 32 & 7),
            (low & 0xffff) | (low >> 48) << 16 | high << 32};
}

bool starts_with(const GateImage& image, uint64_t handler, std::initializer_list<uint8_t> bytes) {
    uint64_t offset = handler - gate_region(kCpu);
    if (offset < kGateOffset || offset + bytes.size() > kGateOffset + abi::kPageSize) return false;
    return std::equal(bytes.begin(), bytes.end(), image.gate.begin() + (offset - kGateOffset));
}

constexpr uint8_t kMovCr3R11[] = {0x41, 0x0f, 0x22, 0xdb};

TEST(EntryCode, ApplicationsReachOnlyTwoVectors) {
    auto code = generate(abi::PrivilegeMode::kRing3);
    for (unsigned vector = 0; vector < 256; vector++) {
        IdtEntry e = entry(code.image->idt_application, vector);
        EXPECT_EQ(e.present, vector < 32 || (vector >= abi::kVectorFirst && vector <= abi::kVectorLast) ||
                                 vector == abi::kVectorSpurious)
            << vector;
        EXPECT_EQ(e.dpl, vector == 3 || vector == 4 ? 3u : 0u) << vector;
        EXPECT_EQ(e.present, e.stack != 0) << vector;  // hardware enters the stub at CPL 0: no stack switch without IST
    }
}

// The page table that the gate loads is never the application's choice.
TEST(EntryCode, ApplicationVectorsLoadTheSentrysPageTable) {
    auto code = generate(abi::PrivilegeMode::kRing3);
    const GateImage& image = *code.image;
    EXPECT_EQ(image.data.exchange, kSentryCr3);
    IdtEntry syscall = entry(image.idt_application, 4);
    EXPECT_TRUE(starts_with(image, syscall.handler,
                            {0x49, 0xbb, 0x00, 0x70, 0x00, 0x00, 0x01, 0, 0, 0}));  // mov $kSentryCr3, %r11
    EXPECT_TRUE(
        starts_with(image, syscall.handler + 10, {0x41, 0x0f, 0x22, 0xdb, 0x48, 0xcf}));  // mov %r11, %cr3; iretq
    for (unsigned frame = 0; frame < kPreparedFrames; frame++) {
        unsigned vector = prepared_vector(frame);
        if (vector == 4) continue;
        IdtEntry e = entry(image.idt_application, vector);
        int32_t displacement;
        ASSERT_TRUE(starts_with(image, e.handler, {0x4c, 0x87, 0x1d})) << vector;  // xchg %r11, disp(%rip)
        memcpy(&displacement, &image.gate[e.handler - gate_region(kCpu) - kGateOffset + 3], 4);
        EXPECT_EQ(e.handler + 7 + displacement, gate_region(kCpu) + kDataOffset + offsetof(GateData, exchange))
            << vector;
        EXPECT_TRUE(starts_with(image, e.handler + 7, {kMovCr3R11[0], kMovCr3R11[1], kMovCr3R11[2], kMovCr3R11[3]}))
            << vector;
    }
}

TEST(EntryCode, PreparedFramesGoToRing3WithInterruptsOff) {
    auto code = generate(abi::PrivilegeMode::kRing3);
    const GateImage& image = *code.image;
    std::vector<ReturnFrame> frames{image.stacks.syscall.frame, image.data.fault_return};
    ReturnFrame page_fault;
    memcpy(&page_fault, &image.stacks.page_fault.error_code, sizeof page_fault);
    frames.push_back(page_fault);
    for (unsigned frame = 0; frame < kPreparedFrames; frame++)
        if (prepared_vector(frame) != 4 && prepared_vector(frame) != 14) frames.push_back(image.data.prepared[frame]);
    std::set<uint64_t> targets;
    for (const ReturnFrame& frame : frames) {
        EXPECT_EQ(frame.cs, abi::kUserCs);
        EXPECT_EQ(frame.ss, abi::kUserSs);
        EXPECT_EQ(frame.rflags, 2u);
        EXPECT_GE(frame.rip, gate_region(kCpu) + kCodeOffset);
        EXPECT_LT(frame.rip, gate_region(kCpu) + kCodeOffset + 2 * abi::kPageSize);
        EXPECT_TRUE(targets.insert(frame.rip).second);
    }
}

TEST(EntryCode, ResumeIsThreeInstructions) {
    auto code = generate(abi::PrivilegeMode::kRing3);
    IdtEntry resume = entry(code.image->idt_sentry, 3);
    EXPECT_TRUE(starts_with(*code.image, resume.handler,
                            {0x41, 0x0f, 0x22, 0xdb, 0x4c, 0x8b, 0x1d}));      // mov %r11, %cr3; mov disp(%rip), %r11
    EXPECT_TRUE(starts_with(*code.image, resume.handler + 11, {0x48, 0xcf}));  // iretq
}

TEST(EntryCode, StubPagesTrapUntilTheSentrySaysOtherwise) {
    for (unsigned cpu : {0u, 1u, abi::kMailboxes - 1, abi::kMailboxes}) {
        const auto page = syscall_stub_page(cpu);
        EXPECT_EQ(page[0], 0xff);  // jmp [rip + ...]
        EXPECT_EQ(page[1], 0x25);
        uint32_t distance;
        memcpy(&distance, &page[2], sizeof distance);
        EXPECT_EQ(distance + 6, abi::kStubTarget);
        uint64_t target;
        memcpy(&target, &page[abi::kStubTarget], sizeof target);
        EXPECT_EQ(target, abi::syscall_stub(cpu) + abi::kStubGate);
        EXPECT_EQ(page[abi::kStubGate], 0xcd);  // int $4
        EXPECT_EQ(page[abi::kStubGate + 1], 4);
        const bool has_mailbox = cpu < abi::kMailboxes;
        EXPECT_EQ(page[abi::kStubGaveUp], has_mailbox ? 0xcd : 0xcc);
        EXPECT_EQ(page[abi::kStubPost], has_mailbox ? 0x48 : 0xcc);  // mov [address], rax
        for (size_t i = abi::kStubEnd; i < abi::kStubTarget; i++) ASSERT_EQ(page[i], 0xcc);
    }
}

TEST(EntryCode, Ring0ModeHasAStackForEveryVector) {
    auto code = generate(abi::PrivilegeMode::kRing0);
    for (unsigned frame = 0; frame < kPreparedFrames; frame++) {
        IdtEntry e = entry(code.image->idt_sentry, prepared_vector(frame));
        EXPECT_TRUE(e.present);
        EXPECT_EQ(e.stack, prepared_vector(frame) == 2 || prepared_vector(frame) == 8 || prepared_vector(frame) == 18
                               ? kStackFault
                               : kStackTrap);
    }
    EXPECT_GE(code.points.lstar, gate_region(kCpu) + kCodeOffset);
    EXPECT_EQ(code.points.flag_mask & 0x47700, 0x47700u);  // TF IF DF IOPL NT AC at least
}

}  // namespace
}  // namespace kvmsbx::vmm
