"""What config.json asks of the Sentry itself: limits, clocks, devices, mounts, scheduling, the system call filter. Natively it takes a runtime and a cgroup to have these."""
import json
import pathlib
import shutil

from support import sandbox


def merge(into, changes):
    for key, value in changes.items():
        if isinstance(value, dict) and isinstance(into.get(key), dict):
            merge(into[key], value)
        else:
            into[key] = value


def bundle_with(world, script, changes, mounts=()):
    bundle = world.bundle(["/bin/sh", "-c", script])
    program = pathlib.Path(world.kvmsbx).parent / "cli/limits_user"
    assert program.exists(), f"{program} is missing: scripts/build cli_programs"
    shutil.copy2(program, bundle.root / "bin/limits_user")
    document = json.loads((bundle.path / "config.json").read_text())
    document["mounts"] = document["mounts"] + list(mounts)
    merge(document, changes)
    (bundle.path / "config.json").write_text(json.dumps(document))
    return bundle


def run_with(world, script, changes, mounts=(), prepare=lambda root: None):
    bundle = bundle_with(world, script, changes, mounts)
    prepare(bundle.root)
    return world.call("run", bundle.path)


def output(world, script, changes, **extra):
    done = run_with(world, script, changes, **extra)
    assert done.code == 0, done
    return done.out


def numbers(text):
    """{name: number} of lines `name number`."""
    return {words[0]: int(words[1]) for words in map(str.split, text.splitlines()) if len(words) == 2 and words[1].isdigit()}


def pids(limit):
    return {"linux": {"resources": {"pids": {"limit": limit}}}}


def cpu(**fields):
    return {"linux": {"resources": {"cpu": fields}}}


@sandbox
def test_pids_limit_inside_counts_children_zombies_and_threads(world):
    out = output(world, "cat /sys/fs/cgroup/pids.max; exec limits_user tasks", pids(15))
    assert out == ("15\nchildren 14 EAGAIN\nwith zombies EAGAIN\nwith one less forks\nthreads 14 EAGAIN\n"
                   "beside a process without its first thread 12\nthen forks\n"), out


@sandbox
def test_pids_limit_inside_shows_what_it_met(world):
    out = output(world, "limits_user tasks >/dev/null; cd /sys/fs/cgroup; grep -h . pids.current pids.peak pids.events", pids(15))
    current, peak, events = out.splitlines()
    assert int(current) <= 2 and int(peak) == 15 and events == "max 4", out


@sandbox
def test_pids_limit_inside_holds_a_fork_bomb(world):
    out = output(world, "bomb() { bomb | bomb & }; (bomb) 2>/dev/null; sleep 1; head -1 /sys/fs/cgroup/pids.peak; cat /proc/uptime >/dev/null && echo lives", pids(40))
    assert out == "40\nlives\n", out


@sandbox
def test_cpu_quota_is_shown_as_it_was_given(world):
    out = output(world, "cd /sys/fs/cgroup; cat cpu.max cpu.weight cpu.weight.nice", cpu(quota=150000, period=200000, shares=512))
    assert out == "150000 200000\n20\n7\n", out
    assert output(world, "cd /sys/fs/cgroup; cat cpu.max cpu.weight cpu.weight.nice", cpu(shares=262144)) == "max 100000\n10000\n-20\n"


@sandbox
def test_cpu_quota_of_half_a_cpu_is_half_a_cpu(world):
    quota, late = 50_000, 300_000  # us; late: what a busy host's timers let a thread run too much at most
    out = output(world, "limits_user burn 1500 >/dev/null; cat /sys/fs/cgroup/cpu.stat", cpu(quota=quota, period=100000))
    stat = numbers(out)
    assert stat["nr_periods"] >= 5 and 1 <= stat["nr_throttled"] <= stat["nr_periods"] and stat["throttled_usec"] > 0, out
    assert stat["usage_usec"] <= quota * (stat["nr_periods"] + 2) + late, out


@sandbox
def test_cpu_quota_lets_who_waits_for_it_be_killed_and_stopped(world):
    script = """limits_user burn 100000 & pid=$!
while ! grep -q '^nr_throttled [1-9]' /sys/fs/cgroup/cpu.stat; do :; done
kill -STOP $pid; kill -CONT $pid; kill $pid; wait $pid; echo $?"""
    assert output(world, script, cpu(quota=20000, period=100000)) == "143\n"


@sandbox
def test_cpu_without_a_quota_counts_no_periods(world):
    stat = numbers(output(world, "limits_user burn 50 >/dev/null; cat /sys/fs/cgroup/cpu.stat", {}))
    assert stat["nr_periods"] == stat["nr_throttled"] == stat["throttled_usec"] == 0 < stat["usage_usec"], stat


def time_namespace(offsets):
    return {"linux": {"namespaces": [{"type": kind} for kind in ("pid", "mount", "uts", "ipc", "network", "time")], "timeOffsets": offsets}}


@sandbox
def test_clocks_have_the_offsets_of_the_time_namespace(world):
    host = float(pathlib.Path("/proc/uptime").read_text().split()[0])
    offsets = time_namespace({"monotonic": {"secs": 86400, "nanosecs": 5}, "boottime": {"secs": 172800, "nanosecs": 0}})
    out = output(world, "cat /proc/self/timens_offsets; cat /proc/uptime; cut -d' ' -f22 /proc/self/stat; grep btime /proc/stat; date +%s; sleep 0.1", offsets)
    lines = out.splitlines()
    assert [line.split() for line in lines[:2]] == [["monotonic", "86400", "5"], ["boottime", "172800", "0"]], out
    up, started = float(lines[2].split()[0]), int(lines[3]) / 100
    assert host + 172800 <= up <= host + 172800 + 600 and abs(up - started) < 60, out
    assert abs(int(lines[4].split()[1]) + up - int(lines[5])) < 60, out


@sandbox
def test_clocks_before_the_boot_are_refused(world):
    done = run_with(world, "true", time_namespace({"boottime": {"secs": -10**9, "nanosecs": 0}}))
    assert done.code == 125 and "linux.timeOffsets" in done.err, done


def device(path, kind, major=0, minor=0, **more):
    return {"path": path, "type": kind, "major": major, "minor": minor, **more}


@sandbox
def test_devices_of_the_sentry_are_made_and_others_not(world):
    devices = [device("/dev/nothing", "c", 1, 3, fileMode=0o640, uid=5, gid=6), device("/dev/deep/random", "c", 1, 8), device("/dev/null", "c", 1, 3, fileMode=0o600),
               device("/dev/pipe", "p", fileMode=0o622), device("/dev/fuse", "c", 10, 229), device("/dev/sda", "b", 8, 0)]
    script = """echo gone > /dev/nothing; head -c 4 /dev/deep/random | wc -c; stat -c '%n %a %u %g %F %t %T' /dev/nothing /dev/null /dev/pipe
ls /dev/fuse /dev/sda 2>/dev/null; (echo through >/dev/pipe &); cat /dev/pipe; ls /dev/console 2>/dev/null; true"""
    out = output(world, script, {"linux": {"devices": devices}})
    assert out == ("4\n/dev/nothing 640 5 6 character special file 1 3\n/dev/null 600 0 0 character special file 1 3\n/dev/pipe 622 0 0 fifo 0 0\nthrough\n"), out


def tmpfs(destination, *options):
    return {"destination": destination, "type": "tmpfs", "source": "tmpfs", "options": list(options)}


@sandbox
def test_mounts_of_tmpfs_take_over_modes_and_contents(world):
    def prepare(root):
        (root / "private").mkdir(mode=0o700)
        folder = root / "filled"
        (folder / "sub").mkdir(parents=True)
        folder.chmod(0o711)
        (folder / "sub/file").write_text("content")
        (folder / "sub/file").chmod(0o600)
        (folder / "link").symlink_to("sub/file")
    mounts = [tmpfs("/private"), tmpfs("/filled", "tmpcopyup", "size=1m"), tmpfs("/given", "mode=0755", "uid=3", "nr_inodes=100"), tmpfs("/missing"), tmpfs("/tmp/missing")]
    script = """stat -c %a /private /filled /filled/sub/file /given /missing /tmp/missing; cat /filled/link; echo more > /filled/sub/new; ls /filled/sub
grep -e ' /filled ' -e ' /given ' /proc/mounts"""
    out = output(world, script, {}, mounts=mounts, prepare=prepare)
    assert out == ("700\n711\n600\n755\n1777\n1777\ncontentfile\nnew\ntmpfs /filled tmpfs rw,relatime,size=1024k,mode=711 0 0\n"
                   "tmpfs /given tmpfs rw,relatime,nr_inodes=100,mode=755,uid=3 0 0\n"), out
    assert sorted(path.name for path in (world.folder / "bundle/rootfs/filled/sub").iterdir()) == ["file"]


@sandbox
def test_mounts_follow_dangling_links(world):
    (world.folder / "given").write_text("nameserver\n")
    def prepare(root):
        (root / "etc/resolv.conf").symlink_to("../run/systemd/resolve/stub-resolv.conf")
        (root / "absolute").symlink_to("/made/by/link")
        (root / "escape").symlink_to("/../../../outside")
    bind = {"type": "bind", "source": str(world.folder / "given"), "options": ["bind", "ro"]}
    mounts = [{**bind, "destination": "/etc/resolv.conf"}, tmpfs("/absolute/deep"), {**bind, "destination": "/escape"}]
    out = output(world, "cat /etc/resolv.conf /escape; readlink /etc/resolv.conf; grep -c ' /made/by/link/deep tmpfs' /proc/mounts; ls -d /outside", {}, mounts=mounts, prepare=prepare)
    assert out == "nameserver\nnameserver\n../run/systemd/resolve/stub-resolv.conf\n1\n/outside\n", out


@sandbox
def test_mounts_of_proc_hide_other_users(world):
    mounts = [{"destination": "/hidden", "type": "proc", "source": "proc", "options": ["hidepid=2", "nosuid"]}]
    out = output(world, "ls -d /hidden/1 2>&1; ls -d /proc/1; cat /hidden/self/comm", {"process": {"user": {"uid": 1000, "gid": 1000}}}, mounts=mounts)
    assert out == "/hidden/1\n/proc/1\ncat\n", out
    out = output(world, "su -s /bin/sh nobody -c 'ls -d /hidden/1; ls -d /proc/1' 2>&1; true", {}, mounts=mounts)
    assert "No such file" in out and out.endswith("/proc/1\n"), out


@sandbox
def test_scheduling_is_the_processes(world):
    changes = {"process": {"scheduler": {"policy": "SCHED_BATCH", "nice": 5, "flags": ["SCHED_FLAG_RESET_ON_FORK"]},
                           "ioPriority": {"class": "IOPRIO_CLASS_BE", "priority": 6}, "oomScoreAdj": 321},
               "linux": {"personality": {"domain": "LINUX32"}}}
    out = output(world, "cut -d' ' -f19,41 /proc/$$/stat; ionice -p $$; cat /proc/self/oom_score_adj; uname -m; cat /proc/self/personality", changes)
    assert out == "5 3\nbest-effort: prio 6\n321\ni686\n00000008\n", out
    out = output(world, "cut -d' ' -f40,41 /proc/$$/stat", {"process": {"scheduler": {"policy": "SCHED_RR", "priority": 10}}})
    assert out == "10 2\n", out


@sandbox
def test_scheduling_that_there_is_not_is_refused(world):
    for scheduler in ({"policy": "SCHED_DEADLINE", "runtime": 1000000, "deadline": 2000000, "period": 2000000}, {"policy": "SCHED_FIFO", "priority": 0}):
        done = run_with(world, "true", {"process": {"scheduler": scheduler}})
        assert done.code == 125 and "process.scheduler" in done.err, done


def seccomp(default, *rules):
    return {"linux": {"seccomp": {"defaultAction": default, "architectures": ["SCMP_ARCH_X86_64"], "syscalls": list(rules)}}}


@sandbox
def test_seccomp_profile_holds_for_all_processes(world):
    profile = seccomp("SCMP_ACT_ALLOW", {"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO", "errnoRet": 38}, {"names": ["symlink", "symlinkat"], "action": "SCMP_ACT_KILL_PROCESS"})
    out = output(world, "grep Seccomp /proc/self/status; mkdir /x 2>&1; sh -c 'mkdir /y' 2>&1; ln -s a /z; echo $?", profile)
    assert out == "Seccomp:\t2\nSeccomp_filters:\t1\nmkdir: can't create directory '/x': Function not implemented\nmkdir: can't create directory '/y': Function not implemented\n159\n", out


@sandbox
def test_seccomp_profile_that_forbids_execve_starts_nothing(world):
    done = run_with(world, "true", seccomp("SCMP_ACT_ALLOW", {"names": ["execve"], "action": "SCMP_ACT_ERRNO", "errnoRet": 1}))
    assert done.code in (125, 126) and "execve" in done.err and done.out == "", done


def start_hook(path, *arguments, **more):
    return {"path": path, "args": [path, *arguments], **more}


def run_hooks(world, hooks, scripts, script="cat /tmp/seen", **process):
    def prepare(root):
        for name, text in scripts.items():
            (root / name).write_text("#!/bin/sh\n" + text)
            (root / name).chmod(0o755)
    return run_with(world, script, {"hooks": {"startContainer": hooks}, "process": process}, prepare=prepare)


@sandbox
def test_start_hooks_run_before_the_process_and_read_the_state(world):
    scripts = {"first": 'read -r state; echo "$state" | grep -o \'"ociVersion"\' >>/tmp/seen; echo "$0 $1 $A $PPID $(pwd)" >>/tmp/seen; echo lost; sleep 0.1; echo first ends >>/tmp/seen',
               "second": 'echo "second $HOME $(id -u)" >>/tmp/seen'}
    hooks = [start_hook("/first", "one", env=["A=b"]), start_hook("/second")]
    done = run_hooks(world, hooks, scripts, cwd="/etc")
    assert (done.code, done.out) == (0, '"ociVersion"\n/first one b 1 /etc\nfirst ends\nsecond /root 0\n'), done
    assert "lost" not in done.err, done


@sandbox
def test_start_hooks_have_the_users_rights(world):
    done = run_hooks(world, [start_hook("/hook")], {"hook": "id -u >/tmp/seen; grep NoNewPrivs /proc/self/status >>/tmp/seen"}, user={"uid": 1000, "gid": 1000}, noNewPrivileges=True)
    assert (done.code, done.out) == (0, "1000\nNoNewPrivs:\t1\n"), done


@sandbox
def test_start_hooks_that_fail_keep_the_process_from_running(world):
    scripts = {"bad": "echo why it failed; exit 3", "killed": "kill -9 $$", "after": "echo after >/tmp/seen"}
    for hook, reason in (("/bad", "exit status 3: why it failed"), ("/killed", "killed by signal 9"), ("/missing", "No such file")):
        done = run_hooks(world, [start_hook(hook), start_hook("/after")], scripts, script="echo ran")
        assert done.code == 125 and done.out == "" and hook in done.err and reason in done.err, done


@sandbox
def test_start_hooks_that_take_too_long_are_ended(world):
    done = run_hooks(world, [start_hook("/slow", timeout=1)], {"slow": "sleep 1000 & sleep 1000"}, script="echo ran")
    assert done.code == 125 and done.out == "" and "timeout of 1 s" in done.err, done
