# gdb inside: breakpoints, steps, a watchpoint in software, variables, threads, a crash, attaching, a core-less backtrace.
mkdir -p /tmp/gdb && cd /tmp/gdb || exit 1
cat >program.c <<'C'
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
struct point { int x, y; };
int counter;
static int add(struct point* p, int n) {
    p->x += n;
    counter++;
    return p->x + p->y;
}
static void* thread(void* argument) {
    struct point p = {100, 200};
    add(&p, *(int*)argument);
    return NULL;
}
int main(int count, char** words) {
    struct point p = {1, 2};
    for (int i = 0; i < 3; i++) printf("sum %d\n", add(&p, i));
    int n = 7;
    pthread_t t;
    pthread_create(&t, NULL, thread, &n);
    pthread_join(t, NULL);
    if (count > 1 && strcmp(words[1], "sleep") == 0) for (;;) pause();
    if (count > 1) *(volatile int*)0 = 1;
    return p.x;
}
C
gcc -g -O0 -pthread program.c -o program || exit 1
clean() { grep -vE '^(warning|\[New|\[Thread|\[Switching|Using host|\[Inferior|Download|Reading|$)|debuginfod|libthread_db' | sed -E 's/0x[0-9a-f]+/ADDRESS/g; s/(process|LWP|Thread) [0-9]+/\1 N/g; s/Thread ADDRESS //'; }
export DEBUGINFOD_URLS= PYTHONDONTWRITEBYTECODE=1  # gdb's python leaves nothing in /usr: other cases list it
gdb -nx -batch -ex 'break add' -ex run -ex bt -ex 'print *p' -ex 'info args' -ex next -ex next -ex 'print counter' -ex 'print p->x + 40' -ex finish \
    -ex 'set var p.y = 50' -ex continue -ex continue -ex continue -ex 'bt 1' -ex 'print n' -ex delete -ex continue ./program 2>&1 | clean
echo --- watch
gdb -nx -batch -ex 'set can-use-hw-watchpoints 0' -ex 'break main' -ex run -ex 'watch counter if counter == 2' -ex 'continue' -ex 'print counter' -ex kill ./program 2>&1 | clean
echo --- crash
gdb -nx -batch -ex run -ex bt -ex 'info registers rax' -ex 'x/i $pc' --args ./program crash 2>&1 | clean
echo --- attach
./program sleep >/dev/null &
for i in $(seq 50); do [ "$(awk '/^State/ { print $2 }' /proc/$!/status)" = S ] && break; sleep 0.1; done
sleep 0.5
gdb -nx -batch -p $! -ex 'up 1' -ex 'frame function main' -ex 'print p' -ex 'print counter' -ex 'call (int)getpid() > 1' -ex 'set var counter = 77' -ex 'print counter' -ex detach 2>&1 | clean | grep -E '^\$|#.*main'
kill $! && wait $! ; echo "code $?"
echo --- fork
gdb -nx -batch -ex 'set follow-fork-mode child' -ex 'catch exec' -ex 'run' -ex 'info inferiors' -ex kill --args sh -c '/bin/true; exit 0' 2>&1 | clean | grep -c Catchpoint
