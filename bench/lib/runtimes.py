"""What is compared: the same root file system and program natively (chroot) and in each runtime."""
import functools
import os
import pathlib
import shutil
import subprocess
import sys

REPOSITORY = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(REPOSITORY / "tests" / "lib"))
from bundles import Bundle, make_busybox_root, native_command  # noqa: E402
from debian import DebianBundle, cache_folder, tarball  # noqa: E402

# Runtimes get private mount and network namespaces, so that nothing they set up can touch the machine's own.
PRIVATE = ["unshare", "-mn", "--propagation", "private"]
KVM = "/dev/kvm"
PLATFORMS = ("kvm", "process")
MODES = ("ring0", "ring3")  # of the platform kvm


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

    def verb(self, *words):
        """The command line of one of runc's verbs; None where there are none."""
        return None

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

    def verb(self, *words):
        return PRIVATE + ["runc", "--root", self.state(), *words]

    def command(self, arguments):
        self.bundle.write_config(arguments)
        return self.verb("run", "--bundle", str(self.bundle.path), self.next_id())

    def version(self):
        return first_line(["runc", "--version"])

    def clean(self):
        for one in pathlib.Path(self.state()).glob("*"):
            subprocess.run(self.verb("delete", "--force", one.name), capture_output=True, timeout=30, check=False)


class Runsc(Runtime):
    """Debian 13's, unpacked and not installed (scripts/unpack), with the platform that is its default."""
    SUITE = "trixie"

    def __init__(self, bundle, options=()):
        super().__init__(bundle)
        self.program, self.options = cache_folder() / f"runsc-{self.SUITE}/usr/bin/runsc", list(options)
        self.name = "-".join(["runsc"] + short(self.options))
        self.description = " ".join(["gVisor, runsc --platform=systrap"] + self.options)

    def missing(self):
        if self.program.exists():
            return None
        fetched = subprocess.run([str(REPOSITORY / "scripts/unpack"), self.SUITE, "runsc"], capture_output=True, text=True, check=False)
        return None if self.program.exists() else (fetched.stderr.strip().removeprefix("unpack: ") or f"{self.program} is missing")

    def base(self):
        return [str(self.program), "--root", str(self.bundle.path / "runsc-state"), "--platform=systrap", "--network=none", "--ignore-cgroups", *self.options]

    def verb(self, *words):
        return PRIVATE + self.base() + list(words)

    def command(self, arguments):
        self.bundle.write_config(arguments)
        return self.verb("run", "-bundle", str(self.bundle.path), self.next_id())

    def version(self):
        return first_line([str(self.program), "--version"])

    def clean(self):
        listed = subprocess.run(self.base() + ["list", "-quiet"], capture_output=True, text=True, timeout=30, check=False).stdout.split()
        for one in listed:
            subprocess.run(PRIVATE + self.base() + ["delete", "-force", one], capture_output=True, timeout=30, check=False)


class Kvmsbx(Runtime):
    """platform "auto": what kvmsbx chooses itself."""

    def __init__(self, bundle, program, platform="auto", mode="auto", options=()):
        super().__init__(bundle)
        self.program, self.wanted = program, platform
        knows = platform != "auto" and knows_platforms(program)
        self.options = ([f"--platform={platform}"] if knows else []) + ([f"--privilege={mode}"] if mode != "auto" else []) + list(options)
        self.name = "-".join(["kvmsbx"] + [word for word in (platform, mode) if word != "auto"] + short(options))
        self.description = " ".join(["kvmsbx"] + self.options + ["run"])

    def missing(self):
        if not os.access(self.program, os.X_OK):
            return f"{self.program} is missing (build it with scripts/build)"
        if self.wanted == "process" and not knows_platforms(self.program):
            return f"{self.program} has no option --platform"
        if self.platform() == "kvm" and not has_kvm():
            return f"this machine has no {KVM} that can be opened ({self.program} doctor says more)"
        return None

    def platform(self):
        """The one that runs: of "auto", the process platform only where there is no KVM."""
        if self.wanted != "auto":
            return self.wanted
        return "kvm" if has_kvm() or not knows_platforms(self.program) else "process"

    def verb(self, *words):
        return PRIVATE + [str(self.program), *self.options, "--root", str(self.bundle.path / f"{self.name}-state"), *words]

    def command(self, arguments):
        self.bundle.write_config(arguments)
        return PRIVATE + [str(self.program)] + self.options + ["run", str(self.bundle.path)]

    def version(self):
        return first_line([str(self.program), "--version"])


def has_kvm():
    return os.access(KVM, os.R_OK | os.W_OK)


@functools.cache
def knows_platforms(program):
    """Whether this kvmsbx has the option --platform; without it there is only KVM."""
    try:
        return "--platform" in subprocess.run([str(program), "--help"], capture_output=True, text=True, timeout=20, check=False).stdout
    except (OSError, subprocess.TimeoutExpired):
        return False


def short(options):
    """Options as parts of a target's name."""
    return [option.strip("-").replace("=", "") for option in options]


def first_line(command):
    try:
        out = subprocess.run(command, capture_output=True, text=True, timeout=20, check=False).stdout
        return out.splitlines()[0] if out else ""
    except (OSError, subprocess.TimeoutExpired):
        return ""


def expand_targets(names, platform):
    """kvmsbx without a platform of its own becomes one target for each platform that is wanted: "auto", "kvm", "process" or "all"."""
    targets = []
    for name in names:
        program, *parts = name.split(":")
        if program != "kvmsbx" or platform == "auto" or any(part in PLATFORMS for part in parts):
            targets.append(name)
        elif any(part in MODES for part in parts):
            targets.append(":".join([program, "kvm", *parts]))
        else:
            targets += [":".join([program, one, *parts]) for one in (PLATFORMS if platform == "all" else [platform])]
    return targets


def make_runtimes(names, bundle, kvmsbx, native=Native):
    """NAME[:PART...], such as native, runsc:--overlay2=none, kvmsbx:process, kvmsbx:ring3:--cpus=1."""
    runtimes = []
    for name in names:
        program, *parts = name.split(":")
        options = [part for part in parts if part.startswith("--")]
        words = [part for part in parts if part not in options]
        if name == "native":
            runtimes.append(native(bundle))
        elif name == "runc":
            runtimes.append(Runc(bundle))
        elif program == "runsc" and not words:
            runtimes.append(Runsc(bundle, options))
        elif program == "kvmsbx" and all(word in PLATFORMS + MODES for word in words):
            platform, mode = (next((word for word in words if word in known), "auto") for known in (PLATFORMS, MODES))
            runtimes.append(Kvmsbx(bundle, kvmsbx, platform, mode, options))
        else:
            raise SystemExit(f"no target '{name}'; there are native, runc, runsc, kvmsbx, kvmsbx:kvm, kvmsbx:process, kvmsbx:ring0, kvmsbx:ring3, kvmsbx:--cpus=1, runsc:--OPTION")
    return runtimes
