"""What happens when a part is killed, at any moment, and what the parts are allowed to do."""
import os
import pathlib
import re
import signal
import time

from support import OWN_FAILURE, Terminal, sandbox, status_of, wait_until

SLEEPER = ["/bin/sh", "-c", "echo ready; sleep 1000"]
# Seconds after the process to be killed is there: during its set-up, the boot of the Sentry, the application's start, and later.
MOMENTS = (0, 0.001, 0.003, 0.006, 0.01, 0.02, 0.04, 0.08, 0.15, 0.3)


def host_mounts():
    return pathlib.Path("/proc/self/mounts").read_text()


def kill_at(world, name, delay):
    """Kills the process of that name; the run must end with 125, a line, and nothing left, within two seconds."""
    before = host_mounts()
    running = world.start("run", world.bundle(SLEEPER).path)
    try:
        pid = world.pid_of(name)
        time.sleep(delay)
        killed = time.monotonic()
        os.kill(pid, signal.SIGKILL)
        _, err = running.communicate(timeout=10)
        took = time.monotonic() - killed
    finally:
        running.kill()
    where = f"{name} killed after {delay * 1000:.0f} ms"
    assert running.returncode == OWN_FAILURE, f"{where}: exit code {running.returncode}, {err!r}"
    assert took < 2, f"{where}: it took {took:.1f} s"
    lines = [line for line in err.decode().splitlines() if line.startswith("kvmsbx")]
    assert len(lines) == 1 and len(lines[0]) > 40, f"{where}: not one clear line: {err!r}"
    world.nothing_is_left(before)


@sandbox
def test_kill_gofer_at_any_moment(world):
    for delay in MOMENTS:
        kill_at(world, "kvmsbx-gofer", delay)


@sandbox
def test_kill_sandbox_process_at_any_moment(world):
    for delay in MOMENTS:
        kill_at(world, "kvmsbx-boot", delay)


@sandbox
def test_kill_cli_at_any_moment(world):
    for delay in MOMENTS:
        before = host_mounts()
        running = world.start("run", world.bundle(SLEEPER).path)
        time.sleep(delay)
        running.kill()
        running.communicate(timeout=10)
        world.nothing_is_left(before)


@sandbox
def test_kill_cli_restores_the_terminal(world):
    before = host_mounts()
    terminal = Terminal(world, "run", world.bundle(SLEEPER, terminal=True).path)
    try:
        terminal.expect("ready")
        assert not terminal.is_restored()
        terminal.process.kill()
        terminal.process.wait()
        wait_until(terminal.is_restored, 2, "the terminal's own modes")
        world.nothing_is_left(before)
    finally:
        terminal.close()


@sandbox
def test_kill_gofer_restores_the_terminal(world):
    terminal = Terminal(world, "run", world.bundle(SLEEPER, terminal=True).path)
    try:
        terminal.expect("ready")
        os.kill(world.pid_of("kvmsbx-gofer"), signal.SIGKILL)
        assert terminal.wait(3) == OWN_FAILURE
        assert terminal.is_restored()
        terminal.expect("the gofer (the sandbox's file server) was killed by signal 9")
    finally:
        terminal.close()


@sandbox
def test_sentry_panic_ends_the_run(world):
    for kind in (0, 1):  # a panic; a write through a null pointer
        before = host_mounts()
        done = world.call("run", world.bundle(SLEEPER).path, "--crash-after", 500, "--crash-kind", kind, seconds=10)
        assert done.code == OWN_FAILURE, done
        # Of the error code, only whether it is a write from ring 3 (6) or ring 0 (2) depends on the privilege mode.
        assert re.search("the Sentry panicked: asked to" if kind == 0 else r"exception 14 \(error code [26], address 10\) in the Sentry", done.err), done
        assert "control::" in done.err and "Server::run" in done.err, f"no backtrace: {done}"
        assert any(line.startswith("kvmsbx: ") for line in done.err.splitlines()), done
        world.nothing_is_left(before)


def check_confinement(world, name, allowed_capabilities):
    for task in pathlib.Path(f"/proc/{world.pid_of(name)}/task").iterdir():
        status = status_of(task)
        if status["Name"].startswith("kvm-nx-lpage"):
            continue  # a worker of the kernel's KVM that lives in the process; it never runs user code
        where = f"{name}, thread {status['Name']}"
        assert status["NoNewPrivs"] == "1", f"{where}: no_new_privs is not set"
        assert status["Seccomp"] == "2", f"{where}: no seccomp filter"
        for field in ("CapPrm", "CapEff", "CapInh", "CapAmb", "CapBnd"):
            extra = int(status[field], 16) & ~allowed_capabilities
            assert extra == 0, f"{where}: {field} has {extra:#x} too many"


@sandbox
def test_processes_are_confined(world):
    running = world.start("run", world.bundle(SLEEPER).path)
    try:
        assert running.stdout.readline() == b"ready\n"
        check_confinement(world, "kvmsbx-boot", 0)
        # chown, dac_override, dac_read_search, fowner, fsetid, mknod
        check_confinement(world, "kvmsbx-gofer", 1 << 0 | 1 << 1 | 1 << 2 | 1 << 3 | 1 << 4 | 1 << 27)
        check_roots(world)
    finally:
        running.kill()
        running.wait()


def check_roots(world):
    own = {kind: os.readlink(f"/proc/self/ns/{kind}") for kind in ("mnt", "pid", "net", "ipc", "uts")}
    for name in ("kvmsbx-boot", "kvmsbx-gofer"):
        pid = world.pid_of(name)
        for kind, inode in own.items():
            assert os.readlink(f"/proc/{pid}/ns/{kind}") != inode, f"{name} shares the {kind} namespace with the host"
    assert os.listdir(f"/proc/{world.pid_of('kvmsbx-boot')}/root") == [], "the sandbox process's root is not empty"
    assert "etc" not in os.listdir(f"/proc/{world.pid_of('kvmsbx-gofer')}/root"), "the gofer sees the host's root"


@sandbox
def test_descriptors_are_the_named_ones(world):
    """A descriptor that the caller had open must not get into the sandbox's processes."""
    secret = os.open("/etc/hostname", os.O_RDONLY)
    os.set_inheritable(secret, True)
    running = world.start("run", world.bundle(SLEEPER).path, close_fds=False)
    try:
        assert running.stdout.readline() == b"ready\n"
        for name in ("kvmsbx-boot", "kvmsbx-gofer"):
            folder = f"/proc/{world.pid_of(name)}/fd"
            targets = [os.readlink(f"{folder}/{fd}") for fd in os.listdir(folder)]
            assert "/etc/hostname" not in targets, f"{name} has {targets}"
    finally:
        os.close(secret)
        running.kill()
        running.wait()


@sandbox
def test_few_descriptors_on_the_host_are_enough(world):
    """What the gofer holds open for names that are only kept for later makes room."""
    script = "for i in 1 2; do ls -l /many | wc -l; cat /many/* | wc -c; done; mkdir /many/folder && echo new > /many/folder/file && cat /many/folder/file; find / -xdev | wc -l > /dev/null && ls /many | wc -l"
    bundle = world.bundle(["/bin/sh", "-c", script])
    (bundle.root / "many").mkdir()
    for number in range(600):
        (bundle.root / "many" / str(number)).write_text("12345678")
    done = world.call("run", bundle.path, prefix=["prlimit", "--nofile=150:150"])
    assert done.code == 0 and done.out.split() == ["601", "4800", "601", "4800", "new", "601"] and not done.err, done
