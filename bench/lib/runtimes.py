"""What is compared: the same root file system and program natively (chroot) and in each runtime."""
import os
import pathlib
import shutil
import subprocess
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2] / "tests" / "lib"))
from bundles import Bundle, make_busybox_root, native_command  # noqa: E402
from debian import DebianBundle, tarball  # noqa: E402

# Runtimes get private mount and network namespaces, so that nothing they set up can touch the machine's own.
PRIVATE = ["unshare", "-mn", "--propagation", "private"]
KVM = "/dev/kvm"


class BenchBundle(Bundle):
    def __init__(self, build, path):
        super().__init__(path)
        programs = build / "bench"
        if not (programs / "bench_guest").exists():
            raise SystemExit(f"{programs}/bench_guest is missing; build it with: cmake --build {build} --target bench_programs")
        shutil.rmtree(self.path, ignore_errors=True)
        make_busybox_root(self.root)
        (self.root / "bench").mkdir()
        shutil.copy2(programs / "bench_guest", self.root / "bench/bench_guest")
        shutil.copy2(programs / "bench_true", self.root / "bench/true")

    def make_mapped_file(self, mib=1024):
        """What mmap_file_1g maps; it would make the file itself, but through each runtime's own file system."""
        path = self.root / "scratch/real"
        if path.exists():
            return
        with open(path, "wb") as file:
            for _ in range(mib):
                file.write(b"r" * (1 << 20))
            os.fsync(file.fileno())


class ProgramBundle(DebianBundle):
    """The Debian root of the tests, unpacked for the benchmarks alone, with what they bring below /bench."""

    def __init__(self, build, path):
        super().__init__(path, tarball())
        shutil.rmtree(self.root / "bench", ignore_errors=True)
        shutil.copytree(pathlib.Path(__file__).resolve().parents[1] / "programs", self.root / "bench", ignore=shutil.ignore_patterns("__pycache__"))
        shutil.copy2(build / "bench/bench_guest", self.root / "bench/bench_guest")


class Runtime:
    """command(arguments) prepares the bundle and gives the command line that runs them in the runtime's foreground."""
    name = ""
    description = ""

    def __init__(self, bundle):
        self.bundle = bundle
        self.count = 0

    def missing(self):
        """Why it cannot be measured here, or None."""
        return None

    def command(self, arguments):
        raise NotImplementedError

    def version(self):
        return ""

    def clean(self):
        """After a run that was killed: removes what the runtime left."""

    def next_id(self):
        self.count += 1
        return f"bench-{self.name}-{os.getpid()}-{self.count}"


class Native(Runtime):
    name, description = "native", "chroot on the host"

    def command(self, arguments):
        return ["chroot", str(self.bundle.root)] + arguments

    def version(self):
        return f"Linux {os.uname().release}"


class MountedNative(Native):
    """With the mounts and the network namespace that the others give to a program."""

    def command(self, arguments):
        return native_command(self.bundle.root, arguments)


class Runc(Runtime):
    name, description = "runc", "runc"

    def missing(self):
        return None if shutil.which("runc") else "runc is not installed (apt-get install runc)"

    def state(self):
        return str(self.bundle.path / "runc-state")

    def command(self, arguments):
        self.bundle.write_config(arguments)
        return PRIVATE + ["runc", "--root", self.state(), "run", "--bundle", str(self.bundle.path), self.next_id()]

    def version(self):
        return first_line(["runc", "--version"])

    def clean(self):
        for one in pathlib.Path(self.state()).glob("*"):
            subprocess.run(PRIVATE + ["runc", "--root", self.state(), "delete", "--force", one.name], capture_output=True, timeout=30, check=False)


class Runsc(Runtime):
    name, description = "runsc", "gVisor, runsc --platform=ptrace"

    def missing(self):
        return None if shutil.which("runsc") else "runsc is not installed (apt-get install runsc)"

    def base(self):
        return ["runsc", "--root", str(self.bundle.path / "runsc-state"), "--platform=ptrace", "--network=none", "--ignore-cgroups"]

    def command(self, arguments):
        self.bundle.write_config(arguments)
        return PRIVATE + self.base() + ["run", "-bundle", str(self.bundle.path), self.next_id()]

    def version(self):
        return first_line(["runsc", "--version"])

    def clean(self):
        listed = subprocess.run(self.base() + ["list", "-quiet"], capture_output=True, text=True, timeout=30, check=False).stdout.split()
        for one in listed:
            subprocess.run(PRIVATE + self.base() + ["delete", "-force", one], capture_output=True, timeout=30, check=False)


class Kvmsbx(Runtime):
    def __init__(self, bundle, program, mode="auto", options=()):
        super().__init__(bundle)
        self.program, self.mode, self.options = program, mode, list(options)
        self.name = "kvmsbx" if mode == "auto" and not options else "-".join(["kvmsbx"] + ([mode] if mode != "auto" else []) + [o.strip("-").replace("=", "") for o in options])
        self.description = " ".join(["kvmsbx"] + ([f"--privilege={mode}"] if mode != "auto" else []) + self.options + ["run"])

    def missing(self):
        if not os.access(self.program, os.X_OK):
            return f"{self.program} is missing (build it with scripts/build)"
        return None if os.access(KVM, os.R_OK | os.W_OK) else f"this machine has no {KVM} that can be opened ({self.program} doctor says more)"

    def command(self, arguments):
        self.bundle.write_config(arguments)
        mode = [] if self.mode == "auto" else [f"--privilege={self.mode}"]
        return PRIVATE + [str(self.program)] + mode + self.options + ["run", str(self.bundle.path)]

    def version(self):
        return first_line([str(self.program), "--version"])


def first_line(command):
    try:
        out = subprocess.run(command, capture_output=True, text=True, timeout=20, check=False).stdout
        return out.splitlines()[0] if out else ""
    except (OSError, subprocess.TimeoutExpired):
        return ""


def make_runtimes(names, bundle, kvmsbx, native=Native):
    known = {"native": lambda: native(bundle), "runc": lambda: Runc(bundle), "runsc": lambda: Runsc(bundle)}
    runtimes = []
    for name in names:
        if name in known:
            runtimes.append(known[name]())
        elif name == "kvmsbx" or name.startswith("kvmsbx:"):
            # kvmsbx:ring3, kvmsbx:--cpus=1, kvmsbx:ring3:--cpus=1
            parts = name.split(":")[1:]
            mode = next((part for part in parts if part in ("ring0", "ring3")), "auto")
            runtimes.append(Kvmsbx(bundle, kvmsbx, mode, [part for part in parts if part.startswith("--")]))
        else:
            raise SystemExit(f"no target '{name}'; there are native, runc, runsc, kvmsbx, kvmsbx:ring0, kvmsbx:ring3, kvmsbx:--cpus=1")
    return runtimes
