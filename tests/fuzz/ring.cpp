// Both ends of the ring against a hostile other end. The input is a list of steps: 3 bytes each, the first says what
// happens, the others how. Whatever is written into the shared structures, each end stays inside its buffers and its
// books stay right.
#include <sys/mman.h>

#include <cstdlib>
#include <cstring>
#include <initializer_list>

#include "common/p9/ring.hpp"

namespace {

using namespace kvmsbx;
using namespace kvmsbx::p9;

void require(bool condition) {
    if (!condition) abort();
}

std::span<uint8_t> shared_region() {
    static void* memory = mmap(nullptr, abi::kChannelSize, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    return {static_cast<uint8_t*>(memory), abi::kChannelSize};
}

void check_chain(const Chain& chain) {
    uint8_t* base = shared_region().data();
    for (std::span<const uint8_t> buffer : {chain.request, std::span<const uint8_t>(chain.reply)}) {
        require(buffer.data() >= base + abi::kSlotsOffset && buffer.size() <= abi::kSlotBufferSize);
        require(buffer.data() + buffer.size() <= base + abi::kChannelSize);
    }
    require(chain.head < abi::kQueueSize);
    if (!chain.reply.empty()) const_cast<uint8_t&>(chain.reply.back()) = 1;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
    ChannelView view(shared_region());
    memset(view.bytes(0), 0, 0x4000);
    RingDriver driver;
    RingDevice device;
    require(driver.initialize(shared_region()).is_ok() && device.attach(shared_region()).is_ok());
    Chain chain{};
    for (size_t i = 0; i + 3 <= size; i += 3) {
        uint8_t a = data[i + 1], b = data[i + 2];
        switch (data[i] % 12) {
            case 0:
                if (auto slot = driver.acquire(); slot.is_ok()) driver.submit(slot.value(), a * 256u + b);
                break;
            case 1:
                if (auto done = driver.poll(); done.is_ok() && done->slot != RingDriver::kNoSlot) {
                    require(done->slot < abi::kChannelSlots && done->length <= driver.reply(done->slot).size());
                    if (a % 2 == 0) driver.release(done->slot);
                }
                break;
            case 2:
                if (device.pop(chain).value_or(false)) check_chain(chain);
                break;
            case 3: device.push(chain, a * 1000u + b); break;
            case 4: (void)driver.kick_needed(), (void)driver.arm(); break;
            case 5: (void)device.interrupt_needed(), (void)device.arm(); break;
            // The other end writes what it likes.
            case 6: view.bytes(abi::kDescriptorsOffset)[(a * 4) % (abi::kQueueSize * 16)] = b; break;
            case 7: view.bytes(abi::kDescriptorsOffset)[(a * 4 + 1) % (abi::kQueueSize * 16)] = b; break;
            case 8: view.bytes(abi::kAvailOffset)[a % sizeof(abi::AvailRing)] = b; break;
            case 9: view.bytes(abi::kUsedOffset)[(a * 2) % sizeof(abi::UsedRing)] = b; break;
            case 10: view.bytes(abi::kUsedOffset)[(a * 2 + 1) % sizeof(abi::UsedRing)] = b; break;
            case 11: driver.release(a), driver.submit(a, b); break;
        }
        require(driver.in_flight() <= abi::kChannelSlots);
    }
    return 0;
}
