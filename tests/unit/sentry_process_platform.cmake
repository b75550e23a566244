# Pieces of the process platform's part of the Sentry: the host library has another platform.
kvmsbx_unit_test(sentry_host_map kvmsbx_common)
target_sources(sentry_host_map_test PRIVATE ${CMAKE_SOURCE_DIR}/guestkernel/platform/process/host_map.cpp)

# With the test machine's RAM and the process platform's address spaces.
kvmsbx_unit_test(sentry_stub_faults kvmsbx_sentry_host)
foreach(piece frame host_map mirror stub)
    target_sources(sentry_stub_faults_test PRIVATE ${CMAKE_SOURCE_DIR}/guestkernel/platform/process/${piece}.cpp)
endforeach()
