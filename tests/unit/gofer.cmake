kvmsbx_unit_test(ring kvmsbx_common)
