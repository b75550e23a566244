kvmsbx_unit_test(vdso kvmsbx_vmm)
kvmsbx_unit_test(vmm_pieces kvmsbx_vmm)
kvmsbx_unit_test(vmm_sentry_elf kvmsbx_vmm)
kvmsbx_unit_test(vmm_gate kvmsbx_vmm)
