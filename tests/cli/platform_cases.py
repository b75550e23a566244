"""Which platform runs the sandbox, and runs by callers with few rights: plain users, and containers that forbid namespaces."""
import json
import os
import pathlib
import subprocess
import time

from fault_cases import SLEEPER, check_confinement, host_mounts
from support import OWN_FAILURE, sandbox, usable_platforms, with_devices, without_kvm

USER = 1000
DEVICES = "null:1:3 zero:1:5 urandom:1:9"
KVM = DEVICES + " kvm:10:232"  # for everybody, as a group kvm has it
WRITES = "echo new > /file && mkdir /folder && mv /file /folder/file && cat /folder/file /given && id -u; exit 7"


def runs(world, platform):
    """Whether a run comes to this platform's turn: it works here, and no other one was asked for."""
    return platform in usable_platforms(world.kvmsbx) and world.platform in ("auto", platform)


def as_user():
    return ["setpriv", f"--reuid={USER}", f"--regid={USER}", "--clear-groups"]


def in_container(world):
    """The program of tests/cli/outer_filter.cpp: a container engine's default filter and capabilities."""
    program = pathlib.Path(world.kvmsbx).parent / "cli/outer_filter"
    assert program.exists(), f"{program} is missing: scripts/build cli_programs"
    return [str(program)]


def give_to_user(world, user=USER):
    """All files of the test become the user's; the executable can be read by everybody already."""
    for path in (world.folder, *world.folder.rglob("*")):
        os.lchown(path, user, user)


def writing_bundle(world):
    bundle = world.bundle(["/bin/sh", "-c", WRITES])
    (bundle.root / "given").write_text("given\n")
    return bundle


def wrote(bundle, done, uid=0):
    assert (done.code, done.out, done.err) == (7, f"new\ngiven\n{uid}\n", ""), done
    assert (bundle.root / "folder/file").read_text() == "new\n"


@sandbox
def test_platform_auto_without_kvm(world):
    bundle = world.bundle(["/bin/sh", "-c", "exit 7"])
    done = world.call("--platform=auto", "--debug", "run", bundle.path, prefix=without_kvm())
    if "process" in usable_platforms(world.kvmsbx):
        assert done.code == 7 and "takes the process platform: cannot open /dev/kvm" in done.err, done
    else:
        assert done.code == OWN_FAILURE and "cannot open /dev/kvm" in done.err, done


@sandbox
def test_platform_process_opens_no_kvm(world):
    if not runs(world, "process"):
        return
    running = world.start("--platform=process", "run", world.bundle(SLEEPER).path)
    try:
        assert running.stdout.readline() == b"ready\n"
        folder = f"/proc/{world.pid_of('kvmsbx-boot')}/fd"
        targets = [os.readlink(f"{folder}/{fd}") for fd in os.listdir(folder)]
        assert not any("kvm" in target and "kvmsbx" not in target for target in targets), targets
    finally:
        running.kill()
        running.wait()


# Six loops; what each of them ended with once a line came.
LOOPS = "for i in 1 2 3 4 5 6; do (while :; do :; done) & pids=\"$pids $!\"; done; echo ready; read line; for pid in $pids; do kill $pid; wait $pid; echo $?; done"
TERMINATED = "143\n"


def lower(pids):
    """Gives the least weight to all threads of the processes and of their children."""
    for pid in pids:
        for task in pathlib.Path(f"/proc/{pid}/task").iterdir():
            os.setpriority(os.PRIO_PROCESS, int(task.name), 19)
            lower((task / "children").read_text().split())


@sandbox
def test_busy_host_kills_no_application(world):
    """Where the host runs the sandbox for some milliseconds a second alone, an application that does not trap soon is not one that refuses."""
    running = world.start("run", world.bundle(["/bin/sh", "-c", LOOPS]).path, stdin=subprocess.PIPE)
    busy = []
    try:
        assert running.stdout.readline() == b"ready\n"
        lower([world.pid_of("kvmsbx-boot")])
        for _ in range(8):  # on the processors of some runners alone: those who watch them find another
            busy.append(subprocess.Popen(["taskset", "-c", str(min(os.sched_getaffinity(0))), "sh", "-c", "ulimit -t 30; while :; do :; done"]))
        time.sleep(4)
        for one in busy:
            one.kill()
        out, err = running.communicate(b"\n", timeout=60)
        assert (running.returncode, out.decode()) == (0, TERMINATED * 6), (running.returncode, out, err)
    finally:
        for one in [*busy, running]:
            one.kill()
            one.wait()


def test_doctor_without_kvm(world):
    """It says how to repair that, and fails only where the other platform does not work either."""
    done = world.call("doctor", prefix=without_kvm())
    assert "warning  kvm-device" in done.out and "modprobe" in done.out, done
    checks = {check["name"]: check for check in json.loads(world.call("doctor", "--json", prefix=without_kvm()).out)["checks"]}
    assert checks["platform-kvm"]["status"] == "warning" and "not usable: cannot open /dev/kvm" in checks["platform-kvm"]["finding"], checks
    if "process" in usable_platforms(world.kvmsbx):
        assert done.code == 0 and "takes process" in checks["platform-auto"]["finding"], done
        assert "per system call" in checks["platform-process"]["finding"], checks
    else:
        assert done.code == OWN_FAILURE and checks["platform-auto"]["status"] == "failed", done


def test_doctor_in_a_container_names_the_option(world):
    done = world.call("doctor", prefix=in_container(world))
    assert "warning  namespaces" in done.out and "--no-namespaces" in done.out, done


@sandbox
def test_plain_user(world):
    for platform, devices in (("kvm", KVM), ("process", DEVICES)):
        if not runs(world, platform):
            continue
        bundle = writing_bundle(world)
        give_to_user(world)
        wrote(bundle, world.call(f"--platform={platform}", "run", bundle.path, prefix=with_devices(devices) + as_user()))
        (bundle.root / "folder/file").unlink()
        (bundle.root / "folder").rmdir()


def test_container_is_refused_with_the_options_name(world):
    done = world.call("run", world.bundle().path, prefix=in_container(world))
    assert done.code == OWN_FAILURE and done.err.count("\n") == 1, done
    assert "cannot make namespaces" in done.err and "--no-namespaces" in done.err, done


@sandbox
def test_container_without_namespaces(world):
    before = host_mounts()
    bundle = writing_bundle(world)
    wrote(bundle, world.call("--no-namespaces", "run", bundle.path, prefix=in_container(world)))
    world.nothing_is_left(before)


@sandbox
def test_container_without_namespaces_as_plain_user(world):
    for platform, devices in (("kvm", KVM), ("process", DEVICES)):
        if not runs(world, platform):
            continue
        bundle = writing_bundle(world)
        give_to_user(world)
        arguments = [f"--platform={platform}", "--no-namespaces", "run", bundle.path]
        prefix = with_devices(devices) + as_user() + in_container(world)
        done = world.call(*arguments, prefix=prefix)
        assert f"warning: without namespaces and CAP_CHOWN the application can make files for your own user only; set process.user in config.json to uid {USER}" in done.err, done
        document = json.loads((bundle.path / "config.json").read_text())
        document["process"]["user"] = {"uid": USER, "gid": USER}
        (bundle.path / "config.json").write_text(json.dumps(document))
        wrote(bundle, world.call(*arguments, prefix=prefix), USER)
        (bundle.root / "folder/file").unlink()
        (bundle.root / "folder").rmdir()


@sandbox
def test_no_namespaces_with_bind_mounts(world):
    """Folders and single files, writable and not; what is not mounted stays out of reach by links."""
    shared, single = world.folder / "shared", world.folder / "single"
    shared.mkdir()
    single.write_text("single\n")
    (shared / "link").symlink_to("/etc/hostname")
    script = "echo more > /data/more && cat /single && ! echo no > /fixed/no && ! cat /data/link && ls /fixed"
    bundle = world.bundle(["/bin/sh", "-c", script])
    document = json.loads((bundle.path / "config.json").read_text())
    (bundle.root / "etc/hostname").unlink()
    for destination, source, options in (("/data", shared, ["rbind"]), ("/fixed", shared, ["rbind", "ro"]), ("/single", single, ["bind"])):
        document["mounts"].append({"destination": destination, "type": "bind", "source": str(source), "options": options})
    (bundle.path / "config.json").write_text(json.dumps(document))
    done = world.call("--no-namespaces", "run", bundle.path, prefix=in_container(world))
    assert (done.code, done.out) == (0, "single\nlink\nmore\n"), done
    assert (shared / "more").read_text() == "more\n" and not (shared / "no").exists()


def root_of(pid):
    try:
        return os.listdir(f"/proc/{pid}/root")
    except (FileNotFoundError, ProcessLookupError):  # a folder of /proc whose process has ended
        return []


@sandbox
def test_no_namespaces_confines_and_leaves_nothing(world):
    before = host_mounts()
    bundle = world.bundle(SLEEPER)
    running = world.start("--no-namespaces", "run", bundle.path)
    try:
        assert running.stdout.readline() == b"ready\n"
        check_confinement(world, "kvmsbx-boot", 0)
        check_confinement(world, "kvmsbx-gofer", 1 << 0 | 1 << 1 | 1 << 2 | 1 << 3 | 1 << 4 | 1 << 27)
        for name in ("kvmsbx-boot", "kvmsbx-gofer"):
            assert root_of(world.pid_of(name)) == [], f"the root of {name} is not empty"
    finally:
        running.kill()
        running.wait()
    world.nothing_is_left(before)


@sandbox
def test_no_namespaces_kill_at_any_moment(world):
    for moment in (0.002, 0.01, 0.03, 0.1, 0.3):
        for name in ("kvmsbx", "kvmsbx-boot", "kvmsbx-gofer"):
            before = host_mounts()
            running = world.start("--no-namespaces", "run", world.bundle(SLEEPER).path)
            pid = running.pid if name == "kvmsbx" else world.pid_of(name)
            try:
                time.sleep(moment)
                os.kill(pid, 9)
                running.communicate(timeout=10)
            finally:
                running.kill()
            assert running.returncode in (-9, OWN_FAILURE), (name, running.returncode)
            world.nothing_is_left(before)
