"""What is measured: one entry per row, with its unit and which way is better."""
import dataclasses
import re

LOWER, HIGHER = "lower", "higher"


@dataclasses.dataclass(frozen=True)
class Metric:
    """kind, who measures it: "guest" (bench_guest METRIC in the small root), "start_up", "life", "exec_true", "idle_memory", "program" (the wall time of `command` in the Debian root, seen from inside),
    "script" (bench/programs/`command` in the Debian root, which prints the value)."""
    title: str
    unit: str
    per: str = ""
    better: str = LOWER
    kind: str = "guest"
    command: tuple = ()
    most_rounds: int = 1000
    kvm_counts: bool = True

    def unit_text(self):
        """Of the values in results.json."""
        return self.unit + (f"/{self.per}" if self.per else "")

    def row_text(self):
        """For people, who see times as ns, µs or ms."""
        return f"time/{self.per}" if self.unit == "ns" else self.unit_text()

    def better_text(self):
        return f"{self.row_text()}, {self.better} is better"


def rate(title):
    return Metric(title, "MB/s", better=HIGHER, kvm_counts=False)


def program(title, *command, most_rounds=1000):
    return Metric(title, "ms", "run", kind="program", command=command, most_rounds=most_rounds, kvm_counts=False)


def redis(title, test):
    return Metric(title, "requests/s", better=HIGHER, kind="script", command=("redis_rate.py", test), most_rounds=4, kvm_counts=False)


PYTHON = "/usr/bin/python3"
METRICS = {
    "start_up": Metric("start-up of /bin/true", "ms", kind="start_up", kvm_counts=False),
    "life": Metric("create + start + end + delete of /bin/true", "ms", kind="life", kvm_counts=False),
    "exec_true": Metric("exec of /bin/true in a running container", "ms", kind="exec_true", kvm_counts=False),
    "idle_memory": Metric("memory when idle (PSS of all host processes)", "MB", kind="idle_memory", most_rounds=2, kvm_counts=False),
    "null_call": Metric("null system call (getppid)", "ns", "call"),
    "null_call_busy": Metric("null system call, a CPU hog per CPU beside it", "ns", "call", kvm_counts=False),
    "clock_gettime": Metric("clock_gettime (vDSO)", "ns", "call", kvm_counts=False),
    "signal_self": Metric("signal to oneself (kill + handler)", "ns", "signal"),
    "cpu_loop": Metric("CPU loop", "ns", "iteration", kvm_counts=False),
    "page_touch": Metric("page touch, 4 KiB steps over 256 MiB", "ns", "page"),
    "page_touch_64k": Metric("page touch, areas of 64 KiB", "ns", "page"),
    "page_touch_2m": Metric("page touch, areas of 2 MiB, aligned", "ns", "page"),
    "mmap_touch_munmap": Metric("mmap + touch 16 pages + munmap", "ns", "area"),
    "mmap_sparse_1g": rate("mmap a sparse 1 GiB file and read it, once warm"),
    "mmap_file_1g": rate("mmap a 1 GiB file of data and read it, once warm"),
    "fork_wait": Metric("fork + exit + wait", "ns", "child"),
    "fork_exec_wait": Metric("fork + exec + wait", "ns", "child"),
    "vfork_exec_wait": Metric("vfork + exec + wait", "ns", "child"),
    "thread_create_join": Metric("thread create + join", "ns", "thread"),
    "context_switch_processes": Metric("context switch, two processes on one CPU (by pipe)", "ns", "switch"),
    "context_switch_threads": Metric("context switch, two threads on one CPU (by pipe)", "ns", "switch"),
    "futex_ping_pong": Metric("futex round trip between two threads", "ns", "trip"),
    "pipe_round_trip": Metric("pipe round trip between two processes", "ns", "trip"),
    "unix_round_trip": Metric("AF_UNIX stream round trip, 1 byte", "ns", "trip"),
    "tcp_round_trip": Metric("loopback TCP round trip, 1 byte", "ns", "trip"),
    "unix_throughput": rate("AF_UNIX stream, 64 KiB writes"),
    "tcp_throughput": rate("loopback TCP, 64 KiB writes"),
    "epoll_1000": Metric("epoll of 1,000 eventfds: write + wait + read", "ns", "event"),
    "pread_64": Metric("pread 64 B, cached", "ns", "call"),
    "pread_64k": Metric("pread 64 KiB, cached", "ns", "call"),
    "open_close": Metric("open + close", "ns", "pair"),
    "stat": Metric("stat", "ns", "call"),
    "create_write_unlink": Metric("create + write 4 KiB + unlink", "ns", "file"),
    "python_start": program("python3 -c pass", PYTHON, "-c", "pass"),
    "python_imports": program("python3 -c 'import json, asyncio, sqlite3'", PYTHON, "-c", "import json, asyncio, sqlite3"),
    "python_compute": Metric("python3 that computes, a loop of integers", "ms", "million turns", kind="script", command=("compute.py",), kvm_counts=False),
    "compile_c": program("gcc -O2 -c of one C file", "/usr/bin/gcc", "-O2", "-c", "/bench/one_file.c", "-o", "/tmp/one_file.o"),
    "find_usr": program("find /usr", "/usr/bin/find", "/usr", most_rounds=3),
    # GNU tar reads no file when its archive is /dev/null itself.
    "tar_share": program("tar of /usr/share | cat >/dev/null", "/bin/sh", "-c", "tar cf - -C /usr share | cat", most_rounds=2),
    "redis_get": redis("redis-benchmark GET, 50 clients", "get"),
    "redis_set": redis("redis-benchmark SET, 50 clients", "set"),
}

# What one must know to read a target's number: {(metric, target): text}.
NOTES = {
    ("context_switch_processes", "runsc"): "runsc takes sched_setaffinity but does not apply it to host CPUs: its two tasks can run on two",
    ("context_switch_threads", "runsc"): "runsc takes sched_setaffinity but does not apply it to host CPUs: its two tasks can run on two",
    ("create_write_unlink", "runsc"): "what is written to the root stays in an overlay that runsc keeps in one file (its default; target runsc:--overlay2=none writes to the bundle, as the others do)",
}


def select(patterns):
    """Metrics by name or by a regular expression for the whole name, in the table's order; None for a pattern that fits nothing."""
    chosen = set()
    for pattern in patterns:
        fitting = {name for name in METRICS if re.fullmatch(pattern, name)}
        if not fitting:
            return None
        chosen |= fitting
    return [name for name in METRICS if name in chosen]


def human(value, unit):
    if unit == "ns":
        for limit, scale, name in ((1e3, 1, "ns"), (1e6, 1e3, "µs"), (1e9, 1e6, "ms")):
            if value < limit:
                return f"{value / scale:.3g} {name}"
        return f"{value / 1e9:.3g} s"
    return f"{value:.3g} {unit}" if value < 1000 else f"{value:.0f} {unit}"
