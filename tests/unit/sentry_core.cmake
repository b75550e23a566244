kvmsbx_unit_test(sentry_mm kvmsbx_sentry_host)
kvmsbx_unit_test(sentry_mm_blocks kvmsbx_sentry_host)
# With the process platform's note of what is mapped, which tells how many mappings pages are.
kvmsbx_unit_test(sentry_mm_runs kvmsbx_sentry_host)
target_sources(sentry_mm_runs_test PRIVATE ${CMAKE_SOURCE_DIR}/guestkernel/platform/process/host_map.cpp)
kvmsbx_unit_test(sentry_sched kvmsbx_sentry_host)
kvmsbx_unit_test(sentry_quota kvmsbx_sentry_host)
kvmsbx_unit_test(sentry_elf kvmsbx_sentry_host)
kvmsbx_unit_test(sentry_load kvmsbx_sentry_host)
