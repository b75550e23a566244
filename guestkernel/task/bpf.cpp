#include "guestkernel/task/bpf.hpp"

#include <cstring>

#include "guestkernel/lib/vector.hpp"

namespace kvmsbx::task::bpf {
namespace {

// Instruction codes, by class (linux/bpf_common.h).
enum Class : uint16_t { kLd = 0, kLdx = 1, kSt = 2, kStx = 3, kAlu = 4, kJmp = 5, kRet = 6, kMisc = 7 };
constexpr uint16_t kImm = 0x00, kAbs = 0x20, kMem = 0x60, kLen = 0x80;
constexpr uint16_t kAdd = 0x00, kSub = 0x10, kMul = 0x20, kDiv = 0x30, kOr = 0x40, kAnd = 0x50, kLsh = 0x60,
                   kRsh = 0x70, kNeg = 0x80, kXor = 0xa0;
constexpr uint16_t kJa = 0x00, kJeq = 0x10, kJgt = 0x20, kJge = 0x30, kJset = 0x40;
constexpr uint16_t kX = 0x08, kA = 0x10;  // operand X; RET's and MISC's A
constexpr uint16_t kTax = 0x00, kTxa = 0x80;
constexpr unsigned kScratchWords = 16;

constexpr Class class_of(uint16_t code) { return static_cast<Class>(code & 7); }

bool is_known_alu(const Instruction& i) {
    const uint16_t operation = i.code & 0xf0;
    if (i.code > 0xff) return false;
    if (operation == kNeg) return (i.code & kX) == 0;
    return operation <= kRsh || operation == kXor;
}

bool is_known_jump(const Instruction& i) {
    if (i.code > 0xff) return false;
    const uint16_t operation = i.code & 0xf0;
    return operation == kJa ? (i.code & kX) == 0 : operation <= kJset;
}

// What seccomp allows of the instruction set, operands checked by themselves.
bool is_allowed(const Instruction& i) {
    constexpr uint16_t kRetK = kRet, kRetA = kRet | kA;
    switch (class_of(i.code)) {
        case kLd:
            if (i.code == (kLd | kAbs)) return i.k < sizeof(CallRecord) && i.k % 4 == 0;
            if (i.code == (kLd | kMem)) return i.k < kScratchWords;
            return i.code == (kLd | kImm) || i.code == (kLd | kLen);
        case kLdx:
            if (i.code == (kLdx | kMem)) return i.k < kScratchWords;
            return i.code == (kLdx | kImm) || i.code == (kLdx | kLen);
        case kSt:
        case kStx: return i.code <= kStx && i.k < kScratchWords;
        case kAlu:
            if (!is_known_alu(i)) return false;
            if (i.code == (kAlu | kDiv)) return i.k != 0;
            if (i.code == (kAlu | kLsh) || i.code == (kAlu | kRsh)) return i.k < 32;
            return true;
        case kJmp: return is_known_jump(i);
        case kRet: return i.code == kRetK || i.code == kRetA;
        case kMisc: return i.code == (kMisc | kTax) || i.code == (kMisc | kTxa);
    }
    return false;
}

bool jumps_inside(std::span<const Instruction> program, size_t at) {
    const Instruction& i = program[at];
    if (class_of(i.code) != kJmp) return true;
    const size_t rest = program.size() - at - 1;
    if (i.code == (kJmp | kJa)) return i.k < rest;
    return i.if_true < rest && i.if_false < rest;
}

// No path may load a scratch word that it has not stored (check_load_and_stores).
Result<> check_scratch(std::span<const Instruction> program) {
    Vector<uint16_t> written;  // by instruction: words that every way to it has stored
    TRY(written.resize(program.size()));
    for (uint16_t& words : written) words = 0xffff;
    uint16_t here = 0;
    for (size_t at = 0; at < program.size(); ++at) {
        const Instruction& i = program[at];
        here &= written[at];
        switch (class_of(i.code)) {
            case kSt:
            case kStx: here = static_cast<uint16_t>(here | 1U << i.k); break;
            case kLd:
            case kLdx:
                if ((i.code & 0xe0) == kMem && !(here >> i.k & 1)) return Errno::kINVAL;
                break;
            case kJmp:
                if (i.code == (kJmp | kJa)) {
                    written[at + 1 + i.k] &= here;
                } else {
                    written[at + 1 + i.if_true] &= here;
                    written[at + 1 + i.if_false] &= here;
                }
                here = 0xffff;
                break;
            default: break;
        }
    }
    return {};
}

uint32_t word_at(const CallRecord& record, uint32_t offset) {
    uint32_t word;
    memcpy(&word, static_cast<const char*>(static_cast<const void*>(&record)) + offset, sizeof word);
    return word;
}

uint32_t calculate(uint16_t operation, uint32_t a, uint32_t b) {
    switch (operation) {
        case kAdd: return a + b;
        case kSub: return a - b;
        case kMul: return a * b;
        case kDiv: return a / b;
        case kOr: return a | b;
        case kAnd: return a & b;
        case kLsh: return a << (b & 31);
        case kRsh: return a >> (b & 31);
        case kXor: return a ^ b;
        default: return -a;  // kNeg
    }
}

bool holds(uint16_t jump, uint32_t a, uint32_t b) {
    switch (jump) {
        case kJeq: return a == b;
        case kJgt: return a > b;
        case kJge: return a >= b;
        default: return (a & b) != 0;  // kJset
    }
}

}  // namespace

Result<> check(std::span<const Instruction> program) {
    if (program.empty() || program.size() > kMostInstructions) return Errno::kINVAL;
    for (size_t at = 0; at < program.size(); ++at)
        if (!is_allowed(program[at]) || !jumps_inside(program, at)) return Errno::kINVAL;
    if (class_of(program.back().code) != kRet) return Errno::kINVAL;
    return check_scratch(program);
}

uint32_t run(std::span<const Instruction> program, const CallRecord& record) {
    uint32_t a = 0, x = 0, scratch[kScratchWords] = {};
    for (size_t at = 0;; ++at) {
        const Instruction& i = program[at];
        const uint32_t operand = i.code & kX ? x : i.k;
        switch (class_of(i.code)) {
            case kLd:
            case kLdx: {
                const uint16_t mode = i.code & 0xe0;
                const uint32_t value = mode == kAbs   ? word_at(record, i.k)
                                       : mode == kMem ? scratch[i.k]
                                       : mode == kLen ? sizeof record
                                                      : i.k;
                (class_of(i.code) == kLd ? a : x) = value;
                break;
            }
            case kSt: scratch[i.k] = a; break;
            case kStx: scratch[i.k] = x; break;
            case kAlu:
                if ((i.code & 0xf0) == kDiv && operand == 0) return 0;
                a = calculate(i.code & 0xf0, a, operand);
                break;
            case kJmp:
                if (i.code == (kJmp | kJa))
                    at += i.k;
                else
                    at += holds(i.code & 0xf0, a, operand) ? i.if_true : i.if_false;
                break;
            case kRet: return i.code & kA ? a : i.k;
            case kMisc: i.code& kTxa ? a = x : x = a; break;
        }
    }
}

}  // namespace kvmsbx::task::bpf
