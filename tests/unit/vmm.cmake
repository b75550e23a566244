kvmsbx_unit_test(vdso kvmsbx_vmm)
