#pragma once
// Stands in for what vmm/ will have of the process platform: delete it when vmm/process is there, and include
// "vmm/sandbox.hpp" and "vmm/process/ram_file.hpp" instead.

namespace kvmsbx::vmm {

struct ProcessReport {
    bool ok;
    bool huge_pages;
    unsigned cpus;
    double ns_per_call;
    char reason[160];
};
inline ProcessReport measure_process() { return {false, false, 0, 0, "it is not in this build"}; }
inline int open_ram_file() { return -1; }

}  // namespace kvmsbx::vmm
