#pragma once
// A process with one task that never runs: what signal, futex and time code takes as its argument.
#include <gtest/gtest.h>

#include "guestkernel/platform/test/machine.hpp"
#include "guestkernel/task/fpu.hpp"
#include "guestkernel/task/life.hpp"
#include "guestkernel/task/task.hpp"

namespace kvmsbx::task {

struct TestTask {
    RefPtr<Process> process;
    RefPtr<Task> task;

    explicit TestTask(int32_t pid) {
        process = make_ref<Process>(pid).release_value();
        process->session = make_ref<Session>(pid).release_value();
        process->group = pid;
        process->actions = make_ref<SignalActions>().release_value();
        for (Rlimit& limit : process->limits) limit = {kRlimInfinity, kRlimInfinity};
        task = add_thread(pid);
    }
    ~TestTask() {
        if (process->registry_hook.is_linked()) unregister_process(*process);
    }
    RefPtr<Task> add_thread(int32_t tid) {
        auto made = make_ref<Task>(tid, process).release_value();
        made->space_ = task ? task->space_ : mm::AddressSpace::create().release_value();
        made->credentials_ = make_ref<auth::Credentials>().release_value();
        EXPECT_TRUE(allocate_fpu(*made).is_ok());
        process->threads.push_back(*made);
        return made;
    }
    // Anonymous memory of the task.
    mm::UserAddress map(uint64_t length) {
        mm::MapRequest request;
        request.length = length;
        request.protection = mm::kProtRead | mm::kProtWrite;
        request.flags = mm::kMapPrivate | mm::kMapAnonymous;
        return task->space().map(request).release_value();
    }
    template <typename T>
    T read(mm::UserAddress at) {
        return mm::UserIn<T>{at}.load(task->space()).release_value();
    }
    template <typename T>
    void write(mm::UserAddress at, const T& value) {
        EXPECT_TRUE(mm::UserOut<T>{at}.store(task->space(), value).is_ok());
    }
};

}  // namespace kvmsbx::task
