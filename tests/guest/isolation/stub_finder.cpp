#include "tests/guest/isolation/stub_finder.hpp"

#include <setjmp.h>
#include <sys/mman.h>

namespace guest {
namespace {

sigjmp_buf on_fault;

// Shared by the cases, which are processes of their own.
struct Looked {
    bool done;
    FoundStub found;
};
Looked* const looked = [] {
    void* at = mmap(nullptr, sizeof(Looked), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    return at == MAP_FAILED ? nullptr : static_cast<Looked*>(at);
}();

// Attackers, which begin with this memory, must not change it.
void protect() { CHECK_EQ(mprotect(looked, sizeof *looked, PROT_READ), 0); }

const uint8_t* bytes_at(uint64_t address) { return reinterpret_cast<const uint8_t*>(address); }

bool has(uint64_t address, std::initializer_list<uint8_t> bytes) {
    return memcmp(bytes_at(address), bytes.begin(), bytes.size()) == 0;
}

// Behind the last byte of the instructions' page that is not zero.
uint64_t code_end(uint64_t base) {
    uint64_t end = abi::kPageSize;
    while (end > 0 && bytes_at(base)[end - 1] == 0) end--;
    return end;
}

bool learn(uint64_t base, FoundStub& stub) {
    if (!can_read(base) || !has(base, {0x0f, 0x0b}) || !can_read(base + abi::kStubOrders)) return false;
    stub = {};
    stub.code_size = code_end(base);
    // mov eax, SYS_rt_sigreturn; syscall; ud2
    if (stub.code_size < 64 || !has(base + stub.code_size - 9, {0xb8, 15, 0, 0, 0, 0x0f, 0x05, 0x0f, 0x0b}))
        return false;
    for (uint64_t at = base; at + 16 < base + stub.code_size; at++) {
        // cld; mov rbx, rsp; and rbx, -kRunnerStride
        if (has(at, {0xfc, 0x48, 0x89, 0xe3, 0x48, 0x81, 0xe3, 0x00, 0x80, 0xff, 0xff})) stub.handler = at;
        if (!has(at, {0x0f, 0x05, 0xeb})) continue;  // syscall; jmp
        // The runner's loop: cmp dword [rbx], kTrapped
        const uint64_t target = at + 4 + static_cast<uint64_t>(static_cast<int8_t>(bytes_at(at)[3]));
        for (uint64_t i = target; i < target + 16 && i > base && i < at; i++)
            if (has(i, {0x83, 0x3b, 0x02})) stub.call = at;
    }
    const long processors = sysconf(_SC_NPROCESSORS_ONLN);
    stub.runners = processors > 0 && processors < abi::kMaxCpus ? static_cast<unsigned>(processors) : abi::kMaxCpus;
    stub.base = base;
    for (unsigned n = 0; n < stub.runners && stub.area_size == 0; n++) {
        const uint64_t area = base + abi::kStubRunners + n * abi::kRunnerStride;
        while (stub.area_size < abi::kRunnerStride && can_read(area + stub.area_size)) stub.area_size += abi::kPageSize;
    }
    if (stub.area_size == 0) return false;
    // Otherwise the code is another than these tests know.
    CHECK(stub.handler != 0 && stub.call != 0);
    return true;
}

}  // namespace

bool can_read(uint64_t address) {
    struct sigaction action = {};
    action.sa_handler = [](int) { siglongjmp(on_fault, 1); };
    action.sa_flags = SA_NODEFER;
    sigaction(SIGSEGV, &action, nullptr);
    sigaction(SIGBUS, &action, nullptr);
    if (sigsetjmp(on_fault, 0) != 0) return false;
    (void)*reinterpret_cast<volatile const char*>(address);
    return true;
}

const FoundStub& find_stub() {
    CHECK(looked != nullptr);
    if (looked->done) {
        protect();
        return looked->found;
    }
    FoundStub found;
    for (uint64_t base = abi::kProcessUserEnd; base + abi::kStubSize <= abi::kStubRangeEnd; base += abi::kStubAlignment)
        if (learn(base, found)) break;
    looked->found = found;
    if (found.base == 0) looked->found = {};
    looked->done = true;
    protect();
    return looked->found;
}

}  // namespace guest
