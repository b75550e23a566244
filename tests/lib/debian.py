"""The Debian root that tests of real programs run in: a tarball that mmdebstrap makes once, its unpacked bundle, and a disk image of it for the emulated machine."""
import hashlib
import os
import pathlib
import shutil
import subprocess
import sys

from bundles import Bundle

SUITE = "bookworm"
# What the tests themselves need in a machine, and what they run.
TOOLS = ["python3", "busybox-static", "iproute2", "procps", "psmisc", "util-linux"]
PROGRAMS = ["libpython3.11-testsuite", "perl", "gcc", "g++", "make", "git", "sqlite3", "nodejs", "default-jdk-headless", "golang-go", "redis-server", "redis-tools", "nginx-light", "postgresql",
            "stress-ng", "strace", "gdb", "openssh-server", "openssh-client", "ruby", "php-cli", "chromium", "mariadb-server", "screen"]
EXCLUDED = ["/usr/share/doc/*", "/usr/share/man/*", "/usr/share/locale/*", "/usr/share/gocode/*"]


def cache_folder():
    return pathlib.Path(os.environ.get("XDG_CACHE_HOME") or pathlib.Path.home() / ".cache") / "kvmsbx"


def tarball():
    """The cached root, made when it is not there. Its name changes with what it is made of."""
    recipe = hashlib.sha256(repr((SUITE, TOOLS, PROGRAMS, EXCLUDED)).encode()).hexdigest()[:12]
    path = cache_folder() / f"debian-{SUITE}-{recipe}.tar"
    if path.exists():
        return path
    if not shutil.which("mmdebstrap"):
        sys.exit("mmdebstrap is missing; run scripts/setup, or give --tarball FILE")
    path.parent.mkdir(parents=True, exist_ok=True)
    print(f"making {path} with mmdebstrap (some minutes; once)", file=sys.stderr)
    part = path.with_suffix(f".{os.getpid()}.part.tar")
    options = [f"--dpkgopt=path-exclude={pattern}" for pattern in EXCLUDED]
    # A Java package links its manual pages into a folder that only other packages bring.
    command = ["mmdebstrap", "--variant=minbase", *options, '--essential-hook=mkdir -p "$1/usr/share/man/man1"', "--include=" + ",".join(TOOLS + PROGRAMS), SUITE, str(part)]
    done = subprocess.run(command, capture_output=not sys.stderr.isatty(), timeout=1800, check=False)
    if done.returncode != 0:
        part.unlink(missing_ok=True)
        sys.exit(f"mmdebstrap failed ({done.returncode}): {(done.stderr or b'').decode(errors='replace')[-500:]}")
    part.rename(path)
    return path


class DebianBundle(Bundle):
    """The root is unpacked once per tarball; whoever uses it leaves it as it was."""

    def __init__(self, path, source):
        super().__init__(path)
        stamp = self.path / "unpacked"
        mark = f"{source} {source.stat().st_mtime_ns} {source.stat().st_size}\n"
        if not stamp.exists() or stamp.read_text() != mark:
            shutil.rmtree(self.path, ignore_errors=True)
            self.root.mkdir(parents=True)
            subprocess.run(["tar", "xf", str(source), "-C", str(self.root), "--numeric-owner", "--exclude=./dev/*"], check=True, timeout=600)
            # Now, for a file system that allocates late counts other blocks for a fragmented file once it is written, which ls -l shows.
            subprocess.run(["sync", "-f", str(self.root)], check=True, timeout=600)
            stamp.write_text(mark)

    def disk(self):
        """An ext4 image of the root, with room to write, for scripts/hwkvm -d."""
        image = self.path / "root.ext4"
        if not image.exists():
            part = self.path / "root.part"
            with open(part, "wb") as file:
                file.truncate(8 << 30)
            subprocess.run(["mke2fs", "-q", "-t", "ext4", "-O", "^has_journal", "-N", "400000", "-d", str(self.root), str(part)], check=True, timeout=600)
            part.rename(image)
        return image


class HereBundle(Bundle):
    """Inside the machine: its own root, which is the disk, is the bundle's root as well."""

    def __init__(self, path):
        super().__init__(path)
        self.root.mkdir(parents=True, exist_ok=True)
        if not os.path.ismount(self.root):
            subprocess.run(["mount", "--bind", "/", str(self.root)], check=True)


def machine_command(repository, build, disk, inner, seconds, memory=4096, output=None):
    """The command line that runs `inner` in the emulated machine, with this repository's tests and kvmsbx at the same places below /t/repo."""
    keep = ["-o", str(output)] if output else []
    if (build / "cli").is_dir():
        keep += ["-f", f"{build / 'cli'}:/t/repo/build/cli"]
    return [str(repository / "scripts/hwkvm"), "-d", str(disk), "-m", str(memory), "-t", str(seconds), *keep,
            "-f", f"{repository / 'tests'}:/t/repo/tests", "-f", f"{build / 'kvmsbx'}:/t/repo/build/kvmsbx", *inner]
