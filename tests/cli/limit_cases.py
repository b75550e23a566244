"""The host has no more for a sandbox: processes, threads, memory. What the application is told, and that nothing is left behind."""
import contextlib
import json
import os
import pathlib
import random
import shutil

from fault_cases import host_mounts
from platform_cases import give_to_user, runs
from support import OWN_FAILURE, NotHere, sandbox, wait_until

MIB = 1 << 20
FORKED = "fork: EAGAIN\nthreads ran\nforked again\n"


def forker(world, *arguments):
    program = pathlib.Path(world.kvmsbx).parent / "cli/forker"
    assert program.exists(), f"{program} is missing: scripts/build cli_programs"
    bundle = world.bundle(["/bin/forker", *map(str, arguments)])
    shutil.copy2(program, bundle.root / "bin/forker")
    return bundle


def own_cgroup(controller):
    """The folder of this process's cgroup that has the controller, and whether it is of version 2; None: there is none."""
    own = {}
    for line in pathlib.Path("/proc/self/cgroup").read_text().splitlines():
        _, controllers, path = line.split(":", 2)
        own.update({name: path for name in controllers.split(",")})
    for line in pathlib.Path("/proc/self/mountinfo").read_text().splitlines():
        fields, _, rest = line.partition(" - ")
        kind, _, options = rest.split(" ", 2)
        root, point = fields.split()[3:5]
        if kind == "cgroup" and controller in options.split(","):
            path = own.get(controller, "/")
        elif kind == "cgroup2" and "" in own:
            path = own[""]
        else:
            continue
        if os.path.commonpath([root, path]) != root:
            continue
        folder = pathlib.Path(point, os.path.relpath(path, root))
        if kind == "cgroup" or controller in (folder / "cgroup.subtree_control").read_text().split():
            return folder, kind == "cgroup2"
    return None


@contextlib.contextmanager
def cgroup(controller, files):
    """A prefix that runs a command in a new cgroup with these contents of files, given for versions 1 and 2."""
    found = own_cgroup(controller)
    if found is None or not os.access(found[0], os.W_OK):
        raise NotHere(f"no cgroup with the controller {controller} can be made here")
    folder = found[0] / f"kvmsbx-cli-{os.getpid()}"
    folder.mkdir()
    try:
        for names, value in files.items():
            (folder / names[found[1]]).write_text(str(value))
        yield ["sh", "-c", 'echo $$ > "$0/cgroup.procs" && exec "$@"', str(folder)]
        wait_until(lambda: not (folder / "cgroup.procs").read_text(), 5, f"the end of the processes in {folder}")
    finally:
        wait_until(lambda: remove(folder), 5, f"the removal of {folder}")


def remove(folder):
    with contextlib.suppress(OSError):
        folder.rmdir()
    return not folder.exists()


def fails_with_one_line(world, done, mounts):
    lines = [line for line in done.err.splitlines() if line]
    assert done.code == OWN_FAILURE and len(lines) == 1 and lines[0].startswith("kvmsbx: ") and len(lines[0]) > 40, done
    world.nothing_is_left(mounts)


def fails_until_it_runs(world, call):
    """With each limit, from 1 on, until the limit is what a run needs."""
    mounts = host_mounts()
    for limit in range(1, 40):
        done = call(limit)
        if done.code == 0:
            break
        fails_with_one_line(world, done, mounts)
    assert (done.code, done.out, done.err) == (0, "", "") and limit > 4, (limit, done)


@sandbox
def test_pids_limit_of_the_host_is_eagain_and_the_sandbox_goes_on(world):
    if not runs(world, "process"):
        raise NotHere("processes of an application are none of the host on KVM")
    before = host_mounts()
    bundle = forker(world, "fork", 400)
    for limit in (70, 71):  # a stub is two tasks of the host: the limit is met by the first of them, or by the second
        with cgroup("pids", {("pids.max", "pids.max"): limit}) as prefix:
            done = world.call("--platform=process", "run", bundle.path, prefix=prefix)
        assert (done.code, done.out, done.err) == (0, FORKED, ""), f"pids.max {limit}: {done}"
        world.nothing_is_left(before)


@sandbox
def test_pids_limit_of_the_host_too_low_to_start(world):
    if not runs(world, "process"):
        raise NotHere("it is about the process platform")
    def call(limit):
        with cgroup("pids", {("pids.max", "pids.max"): limit}) as prefix:
            return world.call("--platform=process", "run", bundle.path, prefix=prefix)
    bundle = world.bundle()
    fails_until_it_runs(world, call)


def as_new_user(world, processes):
    """A prefix that runs a command as a user who has no other process, and may have so many."""
    uid = 300_000_000 + random.randrange(10**8)
    give_to_user(world, uid)
    return ["setpriv", f"--reuid={uid}", f"--regid={uid}", "--clear-groups", "prlimit", f"--nproc={processes}:{processes}"]


@sandbox
def test_rlimit_nproc_too_low_to_start(world):
    if not runs(world, "process"):
        raise NotHere("it is about the process platform")
    bundle = world.bundle()
    fails_until_it_runs(world, lambda limit: world.call("--platform=process", "run", bundle.path, prefix=as_new_user(world, limit)))


@sandbox
def test_rlimit_nproc_met_by_forks_is_eagain(world):
    if not runs(world, "process"):
        raise NotHere("processes of an application are none of the host on KVM")
    before = host_mounts()
    bundle = forker(world, "fork", 400)
    done = world.call("--platform=process", "run", bundle.path, prefix=as_new_user(world, 60))
    assert (done.code, done.out, done.err) == (0, FORKED, ""), done
    world.nothing_is_left(before)


def memory_cgroup(bytes_):
    return cgroup("memory", {("memory.limit_in_bytes", "memory.max"): bytes_})


@sandbox
def test_no_memory_of_the_host_kills_the_process_that_wanted_it(world):
    """The host's OOM killer takes the largest: its stub."""
    if not runs(world, "process"):
        raise NotHere("an application's memory is the sandbox process's own on KVM")
    before = host_mounts()
    bundle = forker(world)
    script = "/bin/forker eat 400 2>/dev/null; echo $?; /bin/forker eat 8; echo $?"
    document = json.loads((bundle.path / "config.json").read_text())
    document["process"]["args"] = ["/bin/sh", "-c", script]
    (bundle.path / "config.json").write_text(json.dumps(document))
    with memory_cgroup(200 * MIB) as prefix:
        done = world.call("--platform=process", "run", bundle.path, prefix=prefix)
    assert (done.code, done.out, done.err) == (0, "137\nate\n0\n", ""), done
    world.nothing_is_left(before)


@sandbox
def test_no_memory_of_the_host_for_the_sandbox_process_ends_it(world):
    before = host_mounts()
    bundle = world.bundle(["/bin/sh", "-c", "dd if=/dev/zero of=/tmp/fill bs=1M count=400 2>/dev/null"])
    with memory_cgroup(150 * MIB) as prefix:
        done = world.call("run", bundle.path, prefix=prefix)
    fails_with_one_line(world, done, before)
