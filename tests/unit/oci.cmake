kvmsbx_unit_test(spec_parser kvmsbx_oci)
kvmsbx_unit_test(app_spec kvmsbx_oci)
kvmsbx_unit_test(state kvmsbx_oci)
kvmsbx_unit_test(reporter kvmsbx_oci)
