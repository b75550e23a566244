"""Containers that outlive the command: create, start, exec, kill, delete, and what is left when any process of them is killed."""
import contextlib
import ctypes
import json
import os
import pathlib
import random
import signal
import socket
import subprocess
import threading
import time

from support import sandbox, wait_until

PR_SET_CHILD_SUBREAPER = 36
LOOP = ["/bin/sh", "-c", "echo up > /out/up; while :; do sleep 0.05; done"]


class Engine:
    """Calls the runtime as an engine does: monitors and waiting execs become children of this process, which reaps them."""

    def __init__(self, world, arguments=tuple(LOOP), **extra):
        assert ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) == 0
        self.world = world
        self.out = world.folder / "out"
        self.out.mkdir(exist_ok=True)
        self.bundle = world.bundle(arguments, **extra)
        document = json.loads((self.bundle.path / "config.json").read_text())
        document.setdefault("mounts", []).append({"destination": "/out", "type": "bind", "source": str(self.out), "options": ["rbind", "rw"]})
        (self.bundle.path / "config.json").write_text(json.dumps(document))

    def call(self, *arguments, want=0, **extra):
        done = self.world.call(*arguments, **extra)
        assert want is None or done.code == want, f"{arguments}: {done}"
        return done

    def create(self, container, want=0):
        # Files, not pipes: the container keeps them.
        with open(self.world.folder / "stdout", "ab") as out, open(self.world.folder / "stderr", "ab") as err:
            command = self.world.command("create", "--bundle", self.bundle.path, "--pid-file", self.world.folder / "pid", container)
            code = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=out, stderr=err, timeout=60, check=False).returncode
        assert want is None or code == want, f"create: {code}, {self.errors()}"
        return int((self.world.folder / "pid").read_text()) if code == 0 else 0

    def errors(self):
        return (self.world.folder / "stderr").read_text()

    def state(self, container):
        return json.loads(self.call("state", container).out)

    def wait_up(self):
        wait_until((self.out / "up").exists, 30, "the container runs")

    def reap(self):
        with contextlib.suppress(ChildProcessError):
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass


def exit_code(pid, seconds=20):
    """The exit code of an orphan that has become this process's child; 128+N for signal N."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        got, status = os.waitpid(pid, os.WNOHANG)
        if got:
            code = os.waitstatus_to_exitcode(status)
            return code if code >= 0 else 128 - code
        time.sleep(0.01)
    raise AssertionError(f"process {pid} does not end")


@sandbox
def test_life_of_a_container(world):
    engine = Engine(world, ["/bin/sh", "-c", "touch /out/ran; exit 3"])
    pid = engine.create("box")
    assert engine.state("box")["status"] == "created" and engine.state("box")["pid"] == pid
    assert not (engine.out / "ran").exists(), "it ran before its start"
    engine.call("start", "box")
    assert exit_code(pid) == 3
    assert (engine.out / "ran").exists() and engine.state("box")["status"] == "stopped"
    engine.call("delete", "box")
    assert "does not exist" in engine.call("state", "box", want=1).err


@sandbox
def test_monitor_is_small(world):
    engine = Engine(world)
    pid = engine.create("box")
    engine.call("start", "box")
    engine.wait_up()

    def pss(process):
        return next(int(line.split()[1]) for line in pathlib.Path(f"/proc/{process}/smaps_rollup").read_text().splitlines() if line.startswith("Pss:"))

    gofer = world.pid_of("kvmsbx-gofer")
    sizes = pss(pid), pss(gofer)
    engine.call("delete", "--force", "box")
    assert exit_code(pid) == 137
    assert sizes[0] <= 1024 and sum(sizes) <= 3072, f"PSS of monitor and gofer: {sizes} KiB"


@sandbox
def test_exec_a_hundred_at_once(world):
    engine = Engine(world)
    pid = engine.create("box")
    engine.call("start", "box")
    engine.wait_up()
    running = [world.start("exec", "box", "/bin/sh", "-c", f"echo {n}; exit {n}") for n in range(100)]
    for n, one in enumerate(running):
        out, err = one.communicate(timeout=120)
        assert (one.returncode, out.decode()) == (n, f"{n}\n"), f"exec {n}: {one.returncode}, {out}, {err}"
    engine.call("delete", "--force", "box")
    assert exit_code(pid) == 137


@sandbox
def test_exec_terminal_takes_what_is_typed_before_it_is_open(world):
    engine = Engine(world)
    pid = engine.create("box")
    engine.call("start", "box")
    engine.wait_up()
    path = str(world.folder / "console.sock")
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(path)
    listener.listen(1)
    document = {"terminal": True, "user": {"uid": 0, "gid": 0}, "args": ["/bin/sh", "-c", "tty; read line; echo got $line"], "env": ["PATH=/bin"], "cwd": "/"}
    (world.folder / "process.json").write_text(json.dumps(document))
    command = world.command("exec", "--detach", "--process", world.folder / "process.json", "--console-socket", path, "box")
    running = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    peer, _ = listener.accept()
    _, (master,), _, _ = socket.recv_fds(peer, 4096, 1)
    os.write(master, b"\0word\n")  # as conmon does where its own input has ended
    assert running.wait(60) == 0, running.stderr.read()
    seen = b""
    while b"got word" not in seen:
        seen += os.read(master, 4096)
    assert b"/dev/pts/" in seen, seen
    engine.call("delete", "--force", "box")
    assert exit_code(pid) == 137


@sandbox
def test_pause_stops_everything(world):
    engine = Engine(world, ["/bin/sh", "-c", "i=0; while :; do i=$((i+1)); echo $i > /out/n; done"])
    pid = engine.create("box")
    engine.call("start", "box")
    wait_until((engine.out / "n").exists, 30, "the container runs")
    engine.call("pause", "box")
    assert engine.state("box")["status"] == "paused"
    assert "paused" in engine.call("exec", "box", "/bin/true", want=255).err
    before = (engine.out / "n").read_text()
    time.sleep(0.5)
    assert (engine.out / "n").read_text() == before, "it went on while paused"
    engine.call("resume", "box")
    wait_until(lambda: (engine.out / "n").read_text() not in ("", before), 30, "it goes on")
    engine.call("pause", "box")
    engine.call("delete", "--force", "box")
    assert exit_code(pid) == 137


class Life(threading.Thread):
    """One container from create to delete; every step may fail, since somebody kills processes meanwhile."""

    def __init__(self, engine, container):
        super().__init__()
        self.engine, self.container = engine, container

    def run(self):
        self.engine.create(self.container, want=None)
        for words in (["start", self.container], ["exec", self.container, "/bin/echo", "x"], ["kill", self.container, "KILL"], ["delete", self.container]):
            self.engine.call(*words, want=None, seconds=60)


@sandbox
def test_any_process_killed_at_random_moments(world):
    seed = int(os.environ.get("KVMSBX_SEED") or random.randrange(1 << 30))
    moments = int(os.environ.get("KVMSBX_KILLS") or 30)
    choice = random.Random(seed)
    engine = Engine(world)
    mounts = pathlib.Path("/proc/self/mounts").read_text()
    for number in range(moments):
        where = f"seed {seed}, moment {number}"
        life = Life(engine, "box")
        life.start()
        time.sleep(choice.random() * 0.6)
        victims = sorted(world.processes().items())
        if victims:
            pid, name = choice.choice(victims)
            where += f", {name}"
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        life.join(90)
        assert not life.is_alive(), f"{where}: a command hangs"
        engine.call("delete", "--force", "box", seconds=30)
        engine.reap()
        try:
            world.nothing_is_left(mounts, seconds=10)
        except AssertionError as error:
            raise AssertionError(f"{where}: {error}") from None
