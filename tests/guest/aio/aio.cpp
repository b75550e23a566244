// Linux AIO by its system calls, and its ring as libaio reads it.
#include <fcntl.h>
#include <linux/aio_abi.h>
#include <sys/eventfd.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <ctime>

#include "tests/guest/guest_test.hpp"

using namespace guest;

namespace {

int setup(unsigned count, aio_context_t* context) { return static_cast<int>(syscall(SYS_io_setup, count, context)); }
int destroy(aio_context_t context) { return static_cast<int>(syscall(SYS_io_destroy, context)); }
int submit(aio_context_t context, long count, iocb** requests) {
    return static_cast<int>(syscall(SYS_io_submit, context, count, requests));
}
int get_events(aio_context_t context, long least, long most, io_event* events, timespec* timeout = nullptr) {
    return static_cast<int>(syscall(SYS_io_getevents, context, least, most, events, timeout));
}

struct Ring {
    unsigned id, size, head, tail, magic, compatible, incompatible, length;
    io_event events[];
};

struct Context {
    aio_context_t id = 0;
    explicit Context(unsigned count = 8) { OK(setup(count, &id)); }
    volatile Ring& ring() const { return *reinterpret_cast<volatile Ring*>(id); }
    int one(iocb& request) {
        iocb* list[1] = {&request};
        return submit(id, 1, list);
    }
    // The result of the one event that is there.
    long result() {
        io_event event{};
        CHECK_EQ(OK(get_events(id, 1, 1, &event)), 1);
        return static_cast<long>(event.res);
    }
};

iocb request_of(int operation, int fd, void* buffer = nullptr, size_t size = 0, long offset = 0) {
    iocb request{};
    request.aio_lio_opcode = static_cast<uint16_t>(operation);
    request.aio_fildes = static_cast<uint32_t>(fd);
    request.aio_buf = reinterpret_cast<uint64_t>(buffer);
    request.aio_nbytes = size;
    request.aio_offset = offset;
    request.aio_data = 0x1234;
    return request;
}

int new_file() {
    scratch();
    return OK(open("f", O_RDWR | O_CREAT, 0644));
}

}  // namespace

TEST("write_and_read") {
    int fd = new_file();
    Context context;
    char out[] = "hello", in[10] = {};
    iocb write_it = request_of(IOCB_CMD_PWRITE, fd, out, 5, 3), read_it = request_of(IOCB_CMD_PREAD, fd, in, 10, 3);
    CHECK_EQ(OK(context.one(write_it)), 1);
    io_event event{};
    CHECK_EQ(OK(get_events(context.id, 1, 1, &event)), 1);
    CHECK_EQ(event.data, 0x1234);
    CHECK_EQ(event.obj, reinterpret_cast<uint64_t>(&write_it));
    CHECK_EQ(event.res, 5);
    CHECK_EQ(event.res2, 0);
    CHECK_EQ(OK(context.one(read_it)), 1);
    CHECK_EQ(context.result(), 5);
    CHECK_STREQ(in, "hello");
}

TEST("vectors_and_sync") {
    int fd = new_file();
    Context context;
    char a[] = "ab", b[] = "cd", in[5] = {};
    iovec parts[2] = {{a, 2}, {b, 2}};
    iocb requests[3] = {request_of(IOCB_CMD_PWRITEV, fd, parts, 2), request_of(IOCB_CMD_FSYNC, fd),
                        request_of(IOCB_CMD_FDSYNC, fd)};
    iocb* list[3] = {&requests[0], &requests[1], &requests[2]};
    CHECK_EQ(OK(submit(context.id, 3, list)), 3);
    io_event events[3] = {};
    CHECK_EQ(OK(get_events(context.id, 3, 3, events)), 3);
    CHECK_EQ(events[0].res, 4);
    CHECK_EQ(events[1].res, 0);
    CHECK_EQ(pread(fd, in, 4, 0), 4);
    CHECK_STREQ(in, "abcd");
}

TEST("setup_errors") {
    aio_context_t id = 1;
    CHECK_ERRNO(setup(1, &id), EINVAL);
    id = 0;
    CHECK_ERRNO(setup(0, &id), EINVAL);
    CHECK_ERRNO(setup(1, reinterpret_cast<aio_context_t*>(8)), EFAULT);
    CHECK_ERRNO(setup(0x7fffffff, &id), EINVAL);
    CHECK_ERRNO(setup(100000, &id), EAGAIN);
    CHECK_EQ(id, 0);
}

TEST("destroyed_context_is_unknown") {
    Context context;
    OK(destroy(context.id));
    CHECK_ERRNO(destroy(context.id), EINVAL);
    CHECK_ERRNO(submit(context.id, 0, nullptr), EINVAL);
    CHECK_ERRNO(get_events(context.id, 0, 1, nullptr), EINVAL);
    uint64_t address = context.id;
    CHECK_EQ(trap_of([address] { (void)*reinterpret_cast<volatile char*>(address); }).signo, SIGSEGV);
}

TEST("submit_errors") {
    int fd = new_file();
    Context context;
    char byte;
    iocb bad_fd = request_of(IOCB_CMD_PREAD, 99, &byte, 1), bad_operation = request_of(77, fd, &byte, 1);
    CHECK_ERRNO(context.one(bad_fd), EBADF);
    CHECK_ERRNO(context.one(bad_operation), EINVAL);
    iocb reserved = request_of(IOCB_CMD_PREAD, fd, &byte, 1);
    reserved.aio_reserved2 = 1;
    CHECK_ERRNO(context.one(reserved), EINVAL);
    int write_only = OK(open("f", O_WRONLY)), read_only = OK(open("f", O_RDONLY));
    iocb no_read = request_of(IOCB_CMD_PREAD, write_only, &byte, 1),
         no_write = request_of(IOCB_CMD_PWRITE, read_only, &byte, 1);
    CHECK_ERRNO(context.one(no_read), EBADF);
    CHECK_ERRNO(context.one(no_write), EBADF);
    CHECK_ERRNO(submit(context.id, -1, nullptr), EINVAL);
    CHECK_ERRNO(submit(context.id, 1, nullptr), EFAULT);
    iocb* nowhere[1] = {reinterpret_cast<iocb*>(8)};
    CHECK_ERRNO(submit(context.id, 1, nowhere), EFAULT);
    CHECK_EQ(OK(submit(context.id, 0, nullptr)), 0);
}

TEST("first_failure_ends_a_batch") {
    int fd = new_file();
    Context context;
    char byte = 'x';
    iocb good = request_of(IOCB_CMD_PWRITE, fd, &byte, 1), bad = request_of(77, fd);
    iocb* list[3] = {&good, &bad, &good};
    CHECK_EQ(OK(submit(context.id, 3, list)), 1);
    CHECK_EQ(context.result(), 1);
}

TEST("operation_errors_come_as_events") {
    int fd = new_file();
    Context context;
    CHECK_EQ(write(fd, "x", 1), 1);
    iocb fault = request_of(IOCB_CMD_PREAD, fd, reinterpret_cast<void*>(8), 1);
    OK(context.one(fault));
    CHECK_EQ(context.result(), -EFAULT);
}

TEST("get_events_limits") {
    int fd = new_file();
    Context context;
    io_event events[4];
    char byte = 'x';
    CHECK_ERRNO(get_events(context.id, 2, 1, events), EINVAL);
    CHECK_ERRNO(get_events(context.id, -1, 1, events), EINVAL);
    CHECK_EQ(OK(get_events(context.id, 0, 4, events)), 0);
    timespec soon{0, 20'000'000};
    CHECK_EQ(OK(get_events(context.id, 1, 4, events, &soon)), 0);
    iocb one = request_of(IOCB_CMD_PWRITE, fd, &byte, 1);
    for (int i = 0; i < 3; ++i) OK(context.one(one));
    CHECK_EQ(OK(get_events(context.id, 1, 2, events)), 2);
    CHECK_EQ(OK(get_events(context.id, 2, 4, events, &soon)), 1);
}

TEST("eventfd_is_told") {
    int fd = new_file(), told = OK(eventfd(0, EFD_NONBLOCK));
    Context context;
    char byte = 'x';
    iocb one = request_of(IOCB_CMD_PWRITE, fd, &byte, 1);
    one.aio_flags = IOCB_FLAG_RESFD;
    one.aio_resfd = static_cast<uint32_t>(told);
    OK(context.one(one));
    OK(context.one(one));
    CHECK_EQ(context.result(), 1);
    CHECK_EQ(context.result(), 1);
    uint64_t count = 0;
    CHECK_EQ(read(told, &count, 8), 8);
    CHECK_EQ(count, 2);
    one.aio_resfd = static_cast<uint32_t>(fd);
    CHECK_ERRNO(context.one(one), EINVAL);
    one.aio_resfd = 99;
    CHECK_ERRNO(context.one(one), EBADF);
}

TEST("ring_is_as_libaio_reads_it") {
    int fd = new_file();
    Context context(4);
    CHECK_EQ(context.ring().magic, 0xa10a10a1);
    CHECK_EQ(context.ring().incompatible, 0);
    CHECK_EQ(context.ring().length, 32);
    CHECK_GE(context.ring().size, 5);
    CHECK_EQ(context.ring().head, context.ring().tail);
    char byte = 'x';
    iocb one = request_of(IOCB_CMD_PWRITE, fd, &byte, 1);
    OK(context.one(one));
    CHECK_EQ((context.ring().tail + context.ring().size - context.ring().head) % context.ring().size, 1);
    CHECK_EQ(context.ring().events[context.ring().head].res, 1);
    context.ring().head = (context.ring().head + 1) % context.ring().size;
    io_event event;
    CHECK_EQ(OK(get_events(context.id, 0, 1, &event)), 0);
}

TEST("full_ring_is_eagain") {
    int fd = new_file();
    Context context(1);
    char byte = 'x';
    iocb one = request_of(IOCB_CMD_PWRITE, fd, &byte, 1);
    int done = 0;
    while (done < 100000 && context.one(one) == 1) ++done;
    CHECK_EQ(errno, EAGAIN);
    CHECK_GE(done, 1);
    io_event event;
    CHECK_EQ(OK(get_events(context.id, 1, 1, &event)), 1);
    while (get_events(context.id, 0, 1, &event) == 1) {}
    CHECK_EQ(OK(context.one(one)), 1);
}

TEST("nothing_to_cancel") {
    int fd = new_file();
    Context context;
    char byte = 'x';
    iocb one = request_of(IOCB_CMD_PWRITE, fd, &byte, 1);
    OK(context.one(one));
    io_event event;
    CHECK_ERRNO(syscall(SYS_io_cancel, context.id, &one, &event), EINVAL);
    CHECK_ERRNO(syscall(SYS_io_cancel, context.id, 8, &event), EFAULT);
}

TEST("context_is_not_inherited") {
    Context context;
    CHECK_EXITED(run_child([&] { CHECK_ERRNO(destroy(context.id), EINVAL); }), 0);
    OK(destroy(context.id));
}

TEST("pipes_read_as_streams") {
    int fds[2];
    OK(pipe(fds));
    CHECK_EQ(write(fds[1], "abc", 3), 3);
    Context context;
    char text[10] = {};
    iocb one = request_of(IOCB_CMD_PREAD, fds[0], text, 10);
    OK(context.one(one));
    CHECK_EQ(context.result(), 3);
    CHECK_STREQ(text, "abc");
}
