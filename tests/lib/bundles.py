"""Bundles for tests and benchmarks, and the native run that they are compared with: a chroot in its own pid, mount, uts, ipc and network namespaces."""
import json
import os
import pathlib
import shlex
import shutil
import signal
import subprocess

HOSTNAME = "kvmsbx-test"
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
# Docker's default list, plus what the tests of permissions need.
CAPABILITIES = ["CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_DAC_READ_SEARCH", "CAP_FSETID", "CAP_FOWNER", "CAP_MKNOD", "CAP_NET_RAW", "CAP_SETGID", "CAP_SETUID", "CAP_SETFCAP", "CAP_SETPCAP",
                "CAP_NET_BIND_SERVICE", "CAP_SYS_CHROOT", "CAP_KILL", "CAP_AUDIT_WRITE", "CAP_SYS_NICE", "CAP_IPC_LOCK"]

# What is mounted in every root, natively and in the sandbox.
MOUNTS = [
    {"destination": "/proc", "type": "proc", "source": "proc"},
    {"destination": "/dev", "type": "tmpfs", "source": "tmpfs", "options": ["nosuid", "mode=755", "size=65536k"]},
    {"destination": "/dev/pts", "type": "devpts", "source": "devpts", "options": ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620"]},
    {"destination": "/dev/shm", "type": "tmpfs", "source": "shm", "options": ["nosuid", "nodev", "mode=1777", "size=65536k"]},
    {"destination": "/dev/mqueue", "type": "mqueue", "source": "mqueue", "options": ["nosuid", "noexec", "nodev"]},
    {"destination": "/tmp", "type": "tmpfs", "source": "tmpfs", "options": ["mode=1777"]},
    {"destination": "/sys", "type": "sysfs", "source": "sysfs", "options": ["nosuid", "noexec", "nodev", "ro"]},
    {"destination": "/sys/fs/cgroup", "type": "cgroup", "source": "cgroup", "options": ["nosuid", "noexec", "nodev", "relatime", "ro"]},
]


def config(arguments, environment=None, cwd="/", root="rootfs", readonly=False, terminal=False, extra=()):
    """An OCI config.json that every runtime here accepts. extra: capabilities beyond the usual ones."""
    capabilities = {kind: CAPABILITIES + list(extra) for kind in ("bounding", "effective", "permitted")}
    return {
        "ociVersion": "1.0.2",
        "process": {
            "terminal": terminal,
            "user": {"uid": 0, "gid": 0},
            "args": arguments,
            "env": [f"PATH={PATH}", "HOME=/root", "LC_ALL=C"] + [f"{k}={v}" for k, v in (environment or {}).items()],
            "cwd": cwd,
            "capabilities": capabilities,
            "rlimits": [{"type": "RLIMIT_NOFILE", "hard": 4096, "soft": 1024}],
            "noNewPrivileges": False,
        },
        "root": {"path": root, "readonly": readonly},
        "hostname": HOSTNAME,
        "mounts": MOUNTS,
        "linux": {"namespaces": [{"type": kind} for kind in ("pid", "mount", "uts", "ipc", "network")]},
    }


def run_limited(command, seconds, stdin=None, **extra):
    """Runs the command in a process group of its own -> (exit code or None at the time limit, stdout, stderr). The group is killed at the limit."""
    process = subprocess.Popen(command, stdin=subprocess.PIPE if stdin is not None else subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                               start_new_session=True, **extra)
    try:
        out, err = process.communicate(stdin, timeout=seconds)
        code = process.returncode
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGTERM)
        try:
            out, err = process.communicate(timeout=5)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            out, err = process.communicate()
        code = None
    return code, out.decode(errors="replace"), err.decode(errors="replace")


def native_command(root, arguments, environment=None, cwd="/", extra=()):
    """The command line that runs `arguments` in a chroot with the same mounts, hostname, environment and capabilities as config()."""
    where = shlex.quote(str(root))
    assignments = [f"PATH={PATH}", "HOME=/root", "LC_ALL=C"] + [f"{k}={v}" for k, v in (environment or {}).items()]
    script = f"""set -e
mount --bind {where} {where}
mount -t proc proc {where}/proc
mount -t tmpfs -o mode=755,nosuid tmpfs {where}/dev
mkdir {where}/dev/shm {where}/dev/pts {where}/dev/mqueue
mount -t tmpfs -o mode=1777 shm {where}/dev/shm
mount -t devpts -o newinstance,ptmxmode=0666,mode=0620 devpts {where}/dev/pts
ln -s pts/ptmx {where}/dev/ptmx
mount -t mqueue -o nosuid,noexec,nodev mqueue {where}/dev/mqueue
mount -t tmpfs -o mode=1777 tmpfs {where}/tmp
mkdir -p {where}/sys
mount -t sysfs -o ro sysfs {where}/sys 2>/dev/null || true
for node in null:1:3 zero:1:5 full:1:7 random:1:8 urandom:1:9 tty:5:0; do
  IFS=: read -r name major minor <<< "$node"
  mknod -m 666 {where}/dev/$name c $major $minor
done
ln -s /proc/self/fd {where}/dev/fd
ln -s /proc/self/fd/0 {where}/dev/stdin
ln -s /proc/self/fd/1 {where}/dev/stdout
ln -s /proc/self/fd/2 {where}/dev/stderr
hostname {HOSTNAME}
ip link set lo up
ulimit -Sn 1024; ulimit -Hn 4096
umask 022
cd {where}
exec env -i {' '.join(shlex.quote(one) for one in assignments)} setpriv --bounding-set=-all,{','.join('+' + name[4:].lower() for name in CAPABILITIES + list(extra))} --inh-caps=-all chroot {where} "$@"
"""
    enter = [] if cwd == "/" else ["/bin/sh", "-c", 'cd "$0" && exec "$@"', cwd]
    return ["unshare", "-mpuinf", "--kill-child", "--propagation", "private", "bash", "-c", script, "native"] + enter + list(arguments)


def write_etc(root):
    files = {
        "etc/passwd": "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/false\n",
        "etc/group": "root:x:0:\nnogroup:x:65534:\n",
        "etc/hostname": HOSTNAME + "\n",
        "etc/hosts": "127.0.0.1 localhost\n",
    }
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)


def copy_libraries(program, root):
    """Copies a dynamic program's interpreter and libraries into the root, at the same paths."""
    out = subprocess.run(["ldd", str(program)], capture_output=True, text=True, check=True).stdout
    for line in out.splitlines():
        words = line.replace("=>", " ").split()
        path = next((word for word in words if word.startswith("/")), None)
        if path:
            target = root / path[1:]
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(os.path.realpath(path), target)


def make_busybox_root(root):
    """A root with busybox-static's applets in /bin."""
    for folder in ("bin", "usr/bin", "proc", "dev", "tmp", "root", "scratch", "etc", "sys"):
        (root / folder).mkdir(parents=True, exist_ok=True)
    busybox = shutil.which("busybox") or "/bin/busybox"
    shutil.copy2(busybox, root / "bin/busybox")
    for applet in subprocess.run([busybox, "--list"], capture_output=True, text=True, check=True).stdout.split():
        link = root / "bin" / applet
        if applet != "busybox" and not link.exists():
            link.symlink_to("busybox")
    if not (root / "usr/bin/env").exists():
        (root / "usr/bin/env").symlink_to("/bin/busybox")
    write_etc(root)


class Bundle:
    """A folder with rootfs/ and config.json."""

    def __init__(self, path):
        self.path = pathlib.Path(path).resolve()
        self.root = self.path / "rootfs"

    def write_config(self, arguments, environment=None, **more):
        (self.path / "config.json").write_text(json.dumps(config(arguments, environment, **more), indent=1))


class GuestBundle(Bundle):
    """BusyBox and the programs of BUILD/guest. Remade from scratch each time: it is small."""

    def __init__(self, build, path):
        super().__init__(path)
        programs = sorted((build / "guest").glob("*")) if (build / "guest").is_dir() else []
        if not programs:
            raise SystemExit(f"{build}/guest is empty; build the tests with: cmake --build {build} --target guest_tests")
        if self.root.exists():
            shutil.rmtree(self.root)
        make_busybox_root(self.root)
        # Families have a folder of their own: some are named like BusyBox's applets, which are links.
        (self.root / "guest").mkdir()
        for program in programs:
            shutil.copy2(program, self.root / ("bin" if program.name.startswith("helper_") else "guest") / program.name)
        copy_libraries(build / "guest/helper_dynamic", self.root)

    def clean(self):
        shutil.rmtree(self.root / "scratch", ignore_errors=True)
        (self.root / "scratch").mkdir()
        (self.root / "scratch").chmod(0o777)


class HwKvmMachine:
    """scripts/hwkvm: a machine with hardware KVM, emulated by QEMU. The bundle travels as a tar file, which keeps links, owners and modes."""

    def __init__(self, kvmsbx, cpus=1, limit=120, memory=1536, qemu=""):
        self.kvmsbx, self.cpus, self.limit, self.memory, self.qemu = str(kvmsbx), cpus, limit, memory, qemu

    def command(self, bundle, options):
        tar, script = bundle.path / "bundle.tar", bundle.path / "in_machine"
        tar.unlink(missing_ok=True)
        subprocess.run(["tar", "cf", str(tar), "-C", str(bundle.path), "--numeric-owner", "rootfs", "config.json"], check=True, timeout=120)
        script.write_text("#!/bin/sh\nmkdir -p /tmp/bundle && tar xf /t/bundle.tar -C /tmp/bundle && rm /t/bundle.tar && exec /t/kvmsbx " + " ".join(options) + " run /tmp/bundle\n")
        script.chmod(0o755)
        extra = ["-q", self.qemu] if self.qemu else []
        repository = pathlib.Path(__file__).resolve().parents[2]
        return [str(repository / "scripts/hwkvm"), "-s", str(self.cpus), "-m", str(self.memory), "-t", str(self.limit)] + extra + [
            "-f", f"{self.kvmsbx}:/t/kvmsbx", "-f", f"{tar}:/t/bundle.tar", "-f", f"{script}:/t/in_machine", "sh", "/t/in_machine"]
