"""What the tests of the command line share: bundles, runs, and a view of the processes that a run has started."""
import copy
import fcntl
import functools
import json
import os
import pathlib
import pty
import random
import select
import struct
import subprocess
import termios
import time

from bundles import Bundle, config, make_busybox_root

OWN_FAILURE = 125
LIMIT = 90  # seconds that any one run may take


@functools.cache
def usable_platforms(kvmsbx):
    """Those of kvm and process on which this executable runs sandboxes here."""
    found = json.loads(subprocess.run([kvmsbx, "doctor", "--json"], capture_output=True, timeout=30, check=False).stdout)
    return {check["name"].removeprefix("platform-") for check in found["checks"] if check["name"] in ("platform-kvm", "platform-process") and check["status"] == "ok"}


def without_kvm():
    """A prefix that runs a command where /dev has no kvm."""
    return with_devices("null:1:3 zero:1:5 urandom:1:9")


def with_devices(nodes):
    """A prefix that runs a command where /dev has these devices only, for everybody."""
    script = f"""mount -t tmpfs none /dev && for node in {nodes}; do IFS=: read -r name major minor <<< "$node"; mknod -m 666 "/dev/$name" c "$major" "$minor"; done && exec "$@" """
    return ["unshare", "-m", "bash", "-c", script, "bash"]


class NotHere(Exception):
    """This host lacks what a test needs; the text says what."""


def sandbox(function):
    """Marks a test that runs an application."""
    function.needs_sandbox = True
    return function


def wait_until(condition, seconds, what):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        value = condition()
        if value:
            return value
        time.sleep(0.01)
    raise AssertionError(f"{what}: not within {seconds} s")


def status_of(path):
    """/proc/PID/status as a dict."""
    return dict(line.split(":\t", 1) for line in pathlib.Path(path, "status").read_text().splitlines() if ":\t" in line)


class Finished:
    def __init__(self, code, out, err):
        self.code, self.out, self.err = code, out, err

    def __repr__(self):
        return f"exit code {self.code}, stdout {self.out[-2000:]!r}, stderr {self.err[-2000:]!r}"


class World:
    """One test: its folder, and a mark in the command lines by which the processes of its sandboxes are known (a guest memory size of its own)."""

    def __init__(self, kvmsbx, folder, platform="auto"):
        self.kvmsbx = os.path.abspath(kvmsbx)
        self.platform = platform
        self.folder = folder
        self.state_root = folder / "state"
        self.memory = (512 + 2 * random.randrange(1, 100000)) * 1024 * 1024
        self.mark = f"--memory={self.memory}"

    def bundle(self, arguments=("/bin/true",), **extra):
        bundle = Bundle(self.folder / "bundle")
        if not bundle.root.exists():
            bundle.root.mkdir(parents=True)
            make_busybox_root(bundle.root)
        bundle.write_config(list(arguments), **extra)
        return bundle

    def bare_bundle(self, document):
        """A bundle with this config.json (bytes or text) and an empty root."""
        folder = self.folder / "bundle"
        (folder / "rootfs").mkdir(parents=True, exist_ok=True)
        data = document if isinstance(document, bytes) else document.encode()
        (folder / "config.json").write_bytes(data)
        return folder

    def config(self, arguments=("/bin/true",), **extra):
        return copy.deepcopy(config(list(arguments), **extra))

    def command(self, *arguments):
        return [self.kvmsbx, "--root", str(self.state_root), self.mark, f"--platform={self.platform}", *map(str, arguments)]

    def call(self, *arguments, stdin=b"", prefix=(), seconds=LIMIT, **extra):
        try:
            done = subprocess.run([*prefix, *self.command(*arguments)], input=stdin, capture_output=True, timeout=seconds, **extra)
        except subprocess.TimeoutExpired as expired:
            raise AssertionError(f"{arguments} hung: stdout {expired.stdout!r}, stderr {expired.stderr!r}") from None
        return Finished(done.returncode, done.stdout.decode(errors="replace"), done.stderr.decode(errors="replace"))

    def start(self, *arguments, **extra):
        extra.setdefault("stdin", subprocess.DEVNULL)
        return subprocess.Popen(self.command(*arguments), stdout=subprocess.PIPE, stderr=subprocess.PIPE, **extra)

    def processes(self):
        """{pid: name} of all processes of this test's sandboxes, zombies left out: those with the mark, the test's folder in their command line, or a parent that has."""
        found = {}
        for entry in pathlib.Path("/proc").iterdir():
            if not entry.name.isdigit():
                continue
            try:
                words = (entry / "cmdline").read_bytes().decode(errors="replace").split("\0")
                name = (entry / "comm").read_text().strip()
            except OSError:
                continue
            if not name.startswith("kvmsbx"):
                continue
            if self.mark in words or any(str(self.folder) in word for word in words):
                found[int(entry.name)] = name
        return found

    def pid_of(self, name, seconds=5):
        def find():
            return [pid for pid, its_name in self.processes().items() if its_name == name]
        return wait_until(find, seconds, f"a process {name}")[0]

    def nothing_is_left(self, mounts_before, seconds=2):
        wait_until(lambda: not self.processes(), seconds, f"the end of {self.processes()}")
        wait_until(lambda: not self.state_root.exists() or not list(self.state_root.iterdir()), seconds, "the removal of the state")
        assert pathlib.Path("/proc/self/mounts").read_text() == mounts_before, "the host's mounts have changed"


class Terminal:
    """A run with a terminal of its own as standard input, output and error."""

    def __init__(self, world, *arguments, rows=30, columns=90, command=lambda run: run):
        self.master, self.slave = pty.openpty()
        self.set_size(rows, columns)
        self.before = termios.tcgetattr(self.slave)
        self.text = ""

        def take_terminal():
            os.setsid()
            fcntl.ioctl(0, termios.TIOCSCTTY, 0)

        self.process = subprocess.Popen(command(world.command(*arguments)), stdin=self.slave, stdout=self.slave, stderr=self.slave, preexec_fn=take_terminal)

    def set_size(self, rows, columns):
        fcntl.ioctl(self.slave, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def send(self, text):
        os.write(self.master, text.encode())

    def read_more(self):
        while select.select([self.master], [], [], 0.02)[0]:
            self.text += os.read(self.master, 65536).decode(errors="replace")

    def expect(self, text, seconds=60):
        def arrived():
            self.read_more()
            return text in self.text
        try:
            wait_until(arrived, seconds, f"{text!r} on the terminal")
        except AssertionError as error:
            raise AssertionError(f"{error}; there is {self.text[-2000:]!r}") from None
        self.text = self.text.split(text, 1)[1]

    def wait(self, seconds=60):
        end = time.monotonic() + seconds
        while self.process.poll() is None and time.monotonic() < end:
            self.read_more()
        if self.process.poll() is None:
            self.process.kill()
            raise AssertionError(f"the run did not end; on the terminal is {self.text[-2000:]!r}")
        self.read_more()
        return self.process.returncode

    def is_restored(self):
        return termios.tcgetattr(self.slave) == self.before

    def close(self):
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        os.close(self.master)
        os.close(self.slave)
