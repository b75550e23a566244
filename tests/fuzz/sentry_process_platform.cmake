kvmsbx_fuzz_target(runner_frame kvmsbx_common)
target_sources(fuzz_runner_frame PRIVATE ${CMAKE_SOURCE_DIR}/guestkernel/platform/process/frame.cpp)
