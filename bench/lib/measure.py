"""One measurement each of: a guest metric, a program, a script of bench/programs, start-up, idle memory, and KVM's work per operation."""
import ctypes
import json
import os
import pathlib
import resource
import select
import signal
import subprocess
import sys
import tempfile
import time

from runtimes import Native  # noqa: F401  (makes tests/lib importable first)
from bundles import run_limited

RUN_SECONDS = 60  # limit of any one container run
PROGRAM_SECONDS = 150  # of one that runs programs
TRIAL_SECONDS = 20  # of the run that shows whether a runtime works here

# KVM tracepoint -> what it counts. Those that the kernel lacks are left out.
KVM_EVENTS = {
    "kvm_userspace_exit": "exits to user space",
    "kvm_emulate_insn": "interpreted instructions",
    "kvm_inj_exception": "exceptions injected",
    "kvm_fast_mmio": "doorbells",
    "kvm_vcpu_wakeup": "wake-ups from halt",
}

# Stdin of every run is an empty pipe: runsc gives its standard streams to the user nobody, and the host's /dev/null must stay root's.
NO_INPUT = b""


class Failed(Exception):
    pass


def last_words(text):
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1][:200] if lines else "no message"


def run_timed(runtime, arguments, limit=RUN_SECONDS):
    """(stdout, seconds) of one run in the runtime; raises Failed. After a time limit nothing of the run is left."""
    before, command = set(descendants(os.getpid(), children_map())), runtime.command(arguments)
    begin = time.perf_counter()
    code, out, err = run_limited(command, limit, stdin=NO_INPUT)
    took = time.perf_counter() - begin
    if code is None:
        runtime.clean()
        end_new(before)
        raise Failed(f"took longer than {limit} s")
    if code != 0:
        raise Failed(f"exit code {code}: {last_words(err + out)}")
    return out, took


def run_inside(runtime, arguments, limit=RUN_SECONDS):
    return run_timed(runtime, arguments, limit)[0]


def trial(runtime):
    """Why the runtime does not run here, or None."""
    try:
        run_timed(runtime, ["/bench/true"], TRIAL_SECONDS)
    except (Failed, OSError, subprocess.SubprocessError) as failure:
        return f"it does not run here: {failure}"
    return None


HOST_CALLS = 300000


def host_null_call(program):
    """ns of CPU time that a getppid takes on this machine itself; a busy machine changes little of it."""
    def cpu_seconds(operations):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run([str(program), "null_call", "--operations", str(operations)], stdout=subprocess.DEVNULL, timeout=RUN_SECONDS, check=True)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return (cpu_seconds(HOST_CALLS) - cpu_seconds(1)) / HOST_CALLS * 1e9


def json_line(out):
    for line in out.splitlines():
        if line.startswith("{"):
            return json.loads(line)
    raise Failed(f"no result in its output: {last_words(out)}")


def guest_metric(runtime, metric, seconds):
    """ns per operation of one run in the runtime; MB/s (10^6 bytes) where operations move bytes."""
    result = json_line(run_inside(runtime, ["/bench/bench_guest", metric, "--seconds", str(seconds)]))
    return result["bytes_per_op"] / result["ns_per_op"] * 1000 if result["bytes_per_op"] else result["ns_per_op"]


def program(runtime, command, seconds):
    """Wall time in ms of the command inside, the runtime's own start-up not counted."""
    return json_line(run_inside(runtime, ["/bench/bench_guest", "program", "--seconds", str(seconds), "--samples", "20", "--", *command], PROGRAM_SECONDS))["ns_per_op"] / 1e6


def script(runtime, name, arguments, seconds):
    """The value that a script of bench/programs finds; it is told the seconds last."""
    return json_line(run_inside(runtime, ["/usr/bin/python3", "-B", f"/bench/{name}", *arguments, str(seconds)], PROGRAM_SECONDS))["value"]


def start_up(runtime):
    """Wall time in ms from starting the runtime's command to its end, with /bench/true as the application."""
    return run_timed(runtime, ["/bench/true"])[1] * 1000


def run_verb(runtime, *words):
    """One verb, with files for the streams, which the container keeps."""
    with tempfile.TemporaryFile() as output:
        code = subprocess.run(runtime.verb(*words), stdin=subprocess.DEVNULL, stdout=output, stderr=output, timeout=60, check=False).returncode
        if code != 0:
            output.seek(0)
            raise Failed(f"{words[0]}: exit code {code}: " + last_words(output.read().decode(errors="replace")))


def create(runtime, arguments):
    """The ID of a container that was created, and the PID of its process, which is our child (become_subreaper)."""
    runtime.bundle.write_config(arguments)
    name, pid_file = runtime.next_id(), runtime.bundle.path / "pid"
    run_verb(runtime, "create", "--bundle", str(runtime.bundle.path), "--pid-file", str(pid_file), name)
    return name, int(pid_file.read_text())


def life(runtime):
    """Wall time in ms of create, start, the end of /bench/true, and delete."""
    if runtime.verb() is None:
        return start_up(runtime)  # natively a process has no other life
    begun = time.perf_counter()
    name, pid = create(runtime, ["/bench/true"])
    run_verb(runtime, "start", name)
    os.waitpid(pid, 0)
    run_verb(runtime, "delete", name)
    return (time.perf_counter() - begun) * 1000


def exec_true(runtime, times=5):
    """Wall time in ms of one exec of /bench/true in a container that sleeps."""
    if runtime.verb() is None:
        return start_up(runtime)
    before = set(descendants(os.getpid(), children_map()))
    name, _ = create(runtime, ["/bench/bench_guest", "idle"])
    try:
        run_verb(runtime, "start", name)
        run_verb(runtime, "exec", name, "/bench/true")
        begun = time.perf_counter()
        for _ in range(times):
            run_verb(runtime, "exec", name, "/bench/true")
        return (time.perf_counter() - begun) * 1000 / times
    finally:
        subprocess.run(runtime.verb("delete", "--force", name), capture_output=True, timeout=60, check=False)
        end_new(before)


def become_subreaper():
    """Processes that a runtime detaches from itself become our children, so that the process tree stays whole."""
    ctypes.CDLL(None, use_errno=True).prctl(36, 1, 0, 0, 0)  # PR_SET_CHILD_SUBREAPER


def children_map():
    children = {}
    for entry in pathlib.Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            parent = int((entry / "stat").read_text().rsplit(")", 1)[1].split()[1])
        except (OSError, IndexError, ValueError):
            continue
        children.setdefault(parent, []).append(int(entry.name))
    return children


def descendants(root, children):
    found, todo = [], [root]
    while todo:
        pid = todo.pop()
        found.append(pid)
        todo += children.get(pid, [])
    return found


def pss_kb(pid):
    try:
        for line in pathlib.Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1])
    except OSError:
        pass
    return 0


def command_name(pid):
    try:
        words = pathlib.Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
        return " ".join([os.path.basename(words[0].decode())] + [word.decode(errors="replace") for word in words[1:3]])[:60]
    except OSError:
        return "?"


def idle_memory(runtime):
    """MB (10^6 bytes) of PSS of all host processes of a container whose application sleeps, and the processes with their share."""
    before = set(descendants(os.getpid(), children_map()))
    with tempfile.TemporaryFile() as errors:
        process = subprocess.Popen(runtime.command(["/bench/bench_guest", "idle"]), stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors, start_new_session=True)
        process.stdin.close()
        try:
            ready, _, _ = select.select([process.stdout], [], [], 20)
            if not ready or not os.read(process.stdout.fileno(), 100).startswith(b"ready"):
                errors.seek(0)
                raise Failed("the idle application did not say that it is ready: " + last_words(errors.read().decode(errors="replace")))
            time.sleep(1.0)
            pids = [pid for pid in descendants(os.getpid(), children_map()) if pid not in before]
            parts = {pid: pss_kb(pid) for pid in pids}
            return sum(parts.values()) * 1024 / 1e6, [{"process": command_name(pid), "mb": round(kb * 1024 / 1e6, 2)} for pid, kb in parts.items() if kb]
        finally:
            stop(process, before)
            runtime.clean()


def stop(process, before):
    """Ends what the run started and nothing else: first kindly, then everything that is new below us."""
    process.send_signal(signal.SIGTERM)
    try:
        process.wait(timeout=2)
    except subprocess.TimeoutExpired:
        pass
    end_new(before)


def end_new(before):
    """Kills and reaps our descendants that were not there before."""
    for _ in range(20):
        left = [pid for pid in descendants(os.getpid(), children_map()) if pid not in before]
        for pid in left:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
        try:
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        except ChildProcessError:
            pass
        if not left:
            return
        time.sleep(0.05)


def available_kvm_events():
    folder = pathlib.Path("/sys/kernel/tracing/events/kvm")
    try:
        return [name for name in KVM_EVENTS if (folder / name).is_dir()]
    except OSError:
        return []


def perf_counts(command, events):
    with tempfile.NamedTemporaryFile("r", suffix=".csv") as out:
        perf = ["perf", "stat", "-x", ",", "-o", out.name] + [word for event in events for word in ("-e", f"kvm:{event}")] + ["--"] + command
        code, _, err = run_limited(perf, RUN_SECONDS)
        if code != 0:
            raise Failed(f"exit code {code} under perf: {last_words(err)}")
        counts = {}
        for line in out.read().splitlines():
            fields = line.split(",")
            if len(fields) > 2 and fields[2].startswith("kvm:"):
                counts[fields[2][4:]] = float(fields[0]) if fields[0].replace(".", "").isdigit() else 0.0
        return counts


def kvm_per_operation(runtime, metric, ns_per_op, events):
    """Counts per operation: a run with N operations less a run with none."""
    operations = max(20, min(20000, int(0.3e9 / max(ns_per_op, 1))))
    if metric.startswith("page_touch"):
        operations = 65536
    full = perf_counts(runtime.command(["/bench/bench_guest", metric, "--operations", str(operations)]), events)
    empty = perf_counts(runtime.command(["/bench/bench_guest", metric, "--operations", "0"]), events)
    return {event: round((full.get(event, 0) - empty.get(event, 0)) / operations, 3) for event in events}
