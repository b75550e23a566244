#pragma once
// Contexts of Linux AIO (io_setup(2)): a ring of completion events that the application has mapped.
//
// Model. Requests are carried out when they are submitted, as Linux does it for files without O_DIRECT; what is left is
// the ring. Its layout is that of struct aio_ring, because libraries read it by themselves: the Sentry writes events
// and `tail`, whoever takes events moves `head`. What the application writes there is never trusted: indices count
// modulo the size, and the Sentry has its own `tail`. The contexts belong to an address space and end with it.
#include "guestkernel/mm/address_space.hpp"
#include "guestkernel/mm/shared_memory.hpp"
#include "guestkernel/sched/sched.hpp"

namespace kvmsbx::ipc {

struct AioEvent {  // struct io_event
    uint64_t data, request;
    int64_t result, result2;
};
static_assert(sizeof(AioEvent) == 32);

class AioContext final : public RefCounted {
  public:
    static constexpr uint32_t kMagic = 0xa10a10a1;
    ~AioContext() override;
    // ENOMEM, EAGAIN (fs.aio-max-nr).
    static Result<RefPtr<AioContext>> create(mm::AddressSpace& space, uint32_t requests);
    mm::UserAddress address() const { return address_; }
    // Whether another request's event would find room.
    bool has_room() const;
    void complete(const AioEvent& event);
    // Takes up to out.size() events from the front without moving the head; then move_head(count).
    size_t peek(std::span<AioEvent> out) const;
    void move_head(size_t count);
    size_t available() const;
    uint64_t frames() const { return frames_.size(); }

    sched::Mutex reading;
    sched::WaitQueue completed;
    bool destroyed = false;
    const uint32_t requests;
    explicit AioContext(uint32_t wanted) : requests(wanted) {}

  private:
    struct Head;
    Head& head() const;
    AioEvent& slot(uint32_t index) const;
    mm::UserAddress address_ = 0;
    RefPtr<mm::SharedMemory> memory_;
    Vector<mm::Frame*> frames_;
    uint32_t size_ = 0, tail_ = 0;
};

// io_setup(2), io_destroy(2). EINVAL: no such context.
Result<mm::UserAddress> create_aio_context(mm::AddressSpace& space, uint32_t requests);
Result<RefPtr<AioContext>> find_aio_context(mm::AddressSpace& space, mm::UserAddress id);
Result<> destroy_aio_context(mm::AddressSpace& space, mm::UserAddress id);

inline constexpr uint64_t kAioDefaultMaximum = 65536;
extern uint64_t aio_maximum;  // fs.aio-max-nr
uint64_t aio_requests();      // fs.aio-nr

}  // namespace kvmsbx::ipc
