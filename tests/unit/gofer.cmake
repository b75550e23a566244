kvmsbx_unit_test(ring kvmsbx_common)
kvmsbx_unit_test(p9_codec kvmsbx_common)
