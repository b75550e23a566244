"""The platforms that a sandbox runs on: KVM in ring 0 or ring 3 mode, and the process platform, which needs no /dev/kvm; and what files of known differences call these places."""
import functools
import re
import subprocess
import sys

PLATFORMS = ["auto", "kvm", "process"]
# native: a host whose own kernel is not quite Linux's; hwkvm: the emulated machine with hardware KVM (scripts/hwkvm).
PLACES = ["native", "process", "ring0", "ring3", "hwkvm", "hwkvm-ring3"]


def add_options(parser):
    parser.add_argument("--platform", choices=PLATFORMS, default="auto", help="what the sandbox runs on (default: what kvmsbx chooses)")
    parser.add_argument("--mode", choices=["auto", "ring0", "ring3"], default="auto", help="the privilege mode on KVM")


def platform_flags(options):
    """kvmsbx's options for --platform and --mode."""
    known = options.platform != "auto" or "--platform" in output_of(options.kvmsbx, "--help")
    return ([f"--platform={options.platform}"] if known else []) + ([] if options.mode == "auto" else [f"--privilege={options.mode}"])


def effective_mode(options):
    """process, ring0 or ring3: what --platform and --mode come to on this host, or in the emulated machine with --hwkvm."""
    if options.platform == "process":
        return "process"
    if options.mode != "auto":
        return options.mode
    if options.hwkvm:
        return "ring0"
    # Without KVM doctor measures no privilege mode, and the process platform is what remains.
    measured = re.search(r"privilege-mode\s+ring ([03])", output_of(options.kvmsbx, "doctor"))
    return f"ring{measured[1]}" if measured else "process"


def places(options):
    """The places that a sandbox with these options is at."""
    mode = effective_mode(options)
    return ["hwkvm", "process" if mode == "process" else f"hwkvm-{mode}"] if options.hwkvm else [mode]


def split_place(where, name):
    """"NAME@PLACE" -> (NAME, PLACE or ""). Exits with a message that begins with `where` if there is no such place."""
    name, mark, place = name.partition("@")
    if mark and place not in PLACES:
        sys.exit(f"{where}: after @ stands one of {', '.join(PLACES)}, not '{place}'")
    return name, place


@functools.cache
def output_of(*command):
    done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=30, check=False)
    return done.stdout.decode(errors="replace")
