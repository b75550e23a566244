// A task's state is in the vCPU's registers while fpu_in_area_only is false; it is saved when the task leaves the vCPU.
#include "guestkernel/task/fpu.hpp"

#include <bit>
#include <cstring>

#include "guestkernel/platform/host.hpp"
#include "guestkernel/platform/user_context.hpp"

namespace kvmsbx::task {
namespace {

// XSAVE wants 64-byte alignment; areas come from whole pages or from power-of-two heap sizes, which do not promise it.
unsigned area_pages() {
    const uint64_t pages = (platform::boot_info().fpu_area_size + mm::kPageSize - 1) / mm::kPageSize;
    return static_cast<unsigned>(std::bit_ceil(pages));
}

}  // namespace

Result<> allocate_fpu(Task& task) {
    task.fpu_area = TRY(mm::allocate_contiguous(area_pages(), mm::Zero::kNo))->data();
    platform::init_fpu_area(task.fpu_area);
    return {};
}

void free_fpu(Task& task) {
    if (task.fpu_area) mm::release_contiguous(mm::frame_of(platform::virt_to_phys(task.fpu_area)), area_pages());
    task.fpu_area = nullptr;
}

Result<> copy_fpu(Task& parent, Task& child) {
    TRY(allocate_fpu(child));
    fpu_to_area(parent);
    memcpy(child.fpu_area, parent.fpu_area, platform::boot_info().fpu_area_size);
    return {};
}

void reset_fpu(Task& task) {
    platform::init_fpu_area(task.fpu_area);
    task.fpu_in_area_only = true;
}

void fpu_to_area(Task& task) {
    if (!task.fpu_in_area_only) platform::save_fpu(task.fpu_area);
}

void fpu_area_changed(Task& task) { task.fpu_in_area_only = true; }

void load_fpu(Task& task) {
    if (!task.fpu_in_area_only) return;
    platform::restore_fpu(task.fpu_area);
    task.fpu_in_area_only = false;
}

}  // namespace kvmsbx::task
