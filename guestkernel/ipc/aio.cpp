#include "guestkernel/ipc/aio.hpp"

namespace kvmsbx::ipc {

uint64_t aio_maximum = kAioDefaultMaximum;

namespace {
uint64_t total_requests;
}

uint64_t aio_requests() { return total_requests; }

struct AioContext::Head {  // struct aio_ring
    uint32_t id, size, head, tail, magic, compatible, incompatible, length;
};

// What AddressSpace::aio_contexts holds.
class AioContexts final : public RefCounted {
  public:
    Vector<RefPtr<AioContext>> list;
    ~AioContexts() override {
        for (const RefPtr<AioContext>& context : list) context->destroyed = true;
    }
};

namespace {

// SAFETY: AddressSpace::aio_contexts is set here alone.
AioContexts* contexts_of(mm::AddressSpace& space) { return static_cast<AioContexts*>(space.aio_contexts.get()); }

}  // namespace

AioContext::~AioContext() {
    for (mm::Frame* frame : frames_) mm::release(frame);
    total_requests -= requests;
}

// The frames are the Sentry's own memory, page aligned; Head and events never cross a page.
AioContext::Head& AioContext::head() const { return *static_cast<Head*>(frames_[0]->data()); }

AioEvent& AioContext::slot(uint32_t index) const {
    const size_t place = index + 1;  // the head takes as much as one event
    constexpr size_t kPerPage = mm::kPageSize / sizeof(AioEvent);
    return static_cast<AioEvent*>(frames_[place / kPerPage]->data())[place % kPerPage];
}

Result<RefPtr<AioContext>> AioContext::create(mm::AddressSpace& space, uint32_t requests) {
    if (requests > aio_maximum || total_requests + requests > aio_maximum) return Errno::kAGAIN;
    auto context = TRY(make_ref<AioContext>(requests));
    total_requests += requests;
    static_assert(sizeof(Head) == sizeof(AioEvent));
    const uint64_t bytes = (uint64_t{requests} * 2 + 2 + 1) * sizeof(AioEvent);
    const uint64_t pages = (bytes + mm::kPageSize - 1) / mm::kPageSize;
    context->memory_ = TRY(make_ref<mm::SharedMemory>(pages));
    for (uint64_t i = 0; i < pages; ++i) {
        TRY(context->frames_.reserve(i + 1));
        TRY(context->frames_.push_back(TRY(context->memory_->get_page(i, true))));
    }
    context->size_ = static_cast<uint32_t>(pages * mm::kPageSize / sizeof(AioEvent) - 1);
    mm::MapRequest request;
    request.length = pages * mm::kPageSize;
    request.protection = mm::kProtRead | mm::kProtWrite;
    request.flags = mm::kMapShared;
    request.object = context->memory_;
    context->address_ = TRY(space.map(request));
    context->head() = {0, context->size_, 0, 0, kMagic, 1, 0, sizeof(Head)};
    return context;
}

size_t AioContext::available() const {
    const uint32_t first = head().head % size_;
    return (tail_ + size_ - first) % size_;
}

bool AioContext::has_room() const { return available() < size_ - 1 && available() < requests * size_t{2}; }

void AioContext::complete(const AioEvent& event) {
    slot(tail_) = event;
    tail_ = (tail_ + 1) % size_;
    head().tail = tail_;
    completed.wake_all();
}

size_t AioContext::peek(std::span<AioEvent> out) const {
    const uint32_t first = head().head % size_;
    const size_t there = available();
    const size_t count = there < out.size() ? there : out.size();
    for (size_t i = 0; i < count; ++i) out[i] = slot(static_cast<uint32_t>((first + i) % size_));
    return count;
}

void AioContext::move_head(size_t count) { head().head = static_cast<uint32_t>((head().head % size_ + count) % size_); }

Result<mm::UserAddress> create_aio_context(mm::AddressSpace& space, uint32_t requests) {
    if (!space.aio_contexts) space.aio_contexts = TRY(make_ref<AioContexts>());
    TRY(contexts_of(space)->list.reserve(contexts_of(space)->list.size() + 1));
    auto context = TRY(AioContext::create(space, requests));
    const mm::UserAddress address = context->address();
    TRY(contexts_of(space)->list.push_back(std::move(context)));
    return address;
}

Result<RefPtr<AioContext>> find_aio_context(mm::AddressSpace& space, mm::UserAddress id) {
    if (AioContexts* all = contexts_of(space))
        for (const RefPtr<AioContext>& context : all->list)
            if (context->address() == id) return RefPtr<AioContext>(context);
    return Errno::kINVAL;
}

Result<> destroy_aio_context(mm::AddressSpace& space, mm::UserAddress id) {
    const RefPtr<AioContext> context = TRY(find_aio_context(space, id));
    Vector<RefPtr<AioContext>>& list = contexts_of(space)->list;
    for (size_t i = 0; i < list.size(); ++i)
        if (list[i] == context) {
            list.erase(i);
            break;
        }
    context->destroyed = true;
    context->completed.wake_all();
    return space.unmap(context->address(), context->frames() * mm::kPageSize);
}

}  // namespace kvmsbx::ipc
