"""The container's memory limit (linux.resources.memory.limit): who dies of it, and that the sandbox lives on."""
import json
import pathlib
import shutil
import struct
import subprocess

from support import sandbox, wait_until

MIB = 1 << 20
LIMIT = 32 * MIB


def limited_bundle(world, limit, arguments):
    bundle = world.bundle(arguments)
    path = bundle.path / "config.json"
    document = json.loads(path.read_text())
    document["linux"]["resources"] = {"memory": {"limit": limit}}
    path.write_text(json.dumps(document))
    return bundle


def limited(world, limit, script):
    return world.call("--ignore-cgroups", "run", limited_bundle(world, limit, ["/bin/sh", "-c", script]).path)


def with_file(world, arguments, limit=LIMIT, size=4 * LIMIT):
    """A bundle whose /bin/page_user gets these arguments, and finds /file of `size` bytes."""
    program = pathlib.Path(world.kvmsbx).parent / "cli/page_user"
    assert program.exists(), f"{program} is missing; run scripts/build cli_programs first"
    bundle = limited_bundle(world, limit, ["/bin/page_user", *map(str, arguments)])
    shutil.copy2(program, bundle.root / "bin/page_user")
    subprocess.run([program, "make", bundle.root / "file", str(size // MIB)], check=True, stdout=subprocess.DEVNULL)
    return bundle


def page_user(world, *arguments, **extra):
    done = world.call("--ignore-cgroups", "run", with_file(world, arguments, **extra).path)
    assert done.code == 0 and done.out.endswith("done\n"), done
    return done


@sandbox
def test_child_beyond_the_limit_is_killed_and_the_others_live(world):
    done = limited(world, 128 * MIB, "sleep 1000 & dd if=/dev/zero of=/dev/null bs=300M count=1 2>/dev/null; echo code $?; kill $! && echo sleeper lived; "
                                     "dd if=/dev/zero of=/dev/null bs=32M count=1 2>/dev/null; echo code $?")
    assert done.code == 0 and done.out == "code 137\nsleeper lived\ncode 0\n", done


@sandbox
def test_again_and_again(world):
    done = limited(world, 96 * MIB, "for i in 1 2 3 4 5; do dd if=/dev/zero of=/dev/null bs=200M count=1 2>/dev/null; echo $?; done; head -c 1000000 /dev/zero | md5sum")
    assert done.code == 0 and done.out == "137\n" * 5 + "879f4bba57ed37c9ec5e5aedf9864698  -\n", done


@sandbox
def test_first_process_beyond_the_limit_is_137(world):
    done = limited(world, 96 * MIB, "exec dd if=/dev/zero of=/dev/null bs=200M count=1")
    assert done.code == 137, done


@sandbox
def test_oom_score_adj_chooses(world):
    # dd holds its block while nobody reads the pipe.
    small = "( (echo 1000 > /proc/self/oom_score_adj; exec dd if=/dev/zero bs=40M count=1); echo small $? > /tmp/result) 2>/dev/null | sleep 1000 &"
    done = limited(world, 160 * MIB, small + " sleep 4; dd if=/dev/zero of=/dev/null bs=120M count=1 2>/dev/null; echo large $?; until [ -s /tmp/result ]; do sleep 0.1; done; cat /tmp/result; kill $!")
    assert done.code == 0 and done.out == "large 0\nsmall 137\n", done


@sandbox
def test_tmpfs_that_fills_memory_ends_in_an_error_of_its_writer(world):
    done = limited(world, 96 * MIB, "dd if=/dev/zero of=/tmp/fill bs=1M count=400 2>/dev/null; [ $? != 0 ] && echo failed; rm /tmp/fill; "
                                    "dd if=/dev/zero of=/tmp/again bs=1M count=30 2>/dev/null && stat -c %s /tmp/again")
    assert done.code == 0 and done.out == "failed\n31457280\n", done


@sandbox
def test_limit_is_what_programs_read(world):
    done = limited(world, 200 * MIB, "cat /sys/fs/cgroup/memory.max; sed -n 's/^MemTotal: *\\([0-9]*\\) kB/\\1/p' /proc/meminfo")
    limit, total = map(int, done.out.split())
    # What the host's processes of the sandbox need is no application's.
    assert done.code == 0 and 150 * MIB < limit <= 200 * MIB and 150 * 1024 < total <= limit // 1024, done


@sandbox
def test_heap_that_grows_beyond_the_limit_is_killed(world):
    done = limited(world, 96 * MIB, "head -c 110000000 /dev/zero | tail -n 1 | wc -c; head -c 110000000 /dev/zero | tail -n 1 >/dev/null; echo $?")
    assert done.code == 0 and done.out == "0\n137\n", done


@sandbox
def test_mapped_file_larger_than_the_limit_is_read(world):
    page_user(world, "read", "/file", 4, 1, 1)


@sandbox
def test_mapped_file_larger_than_the_limit_is_read_by_processes_and_threads(world):
    page_user(world, "read", "/file", 2, 3, 2)


@sandbox
def test_mapped_file_larger_than_the_limit_is_read_beside_a_thread_that_stays(world):
    page_user(world, "stay", "/file")


@sandbox
def test_mapped_file_larger_than_the_limit_beside_private_copies(world):
    page_user(world, "copy", "/file")


@sandbox
def test_mapped_file_larger_than_the_limit_is_written(world):
    bundle = with_file(world, ["write", "/file"])
    done = world.call("--ignore-cgroups", "run", bundle.path)
    assert done.code == 0 and done.out == "done\n", done
    data = (bundle.root / "file").read_bytes()
    for page in range(len(data) // 4096):
        value = (page * 0x9e3779b97f4a7c15 + 1 + 7) % (1 << 64)
        assert struct.unpack_from("<Q", data, page * 4096)[0] == value, f"page {page}"


def on_full_disk(world, size):
    """page_user loses what it writes to a file of `size` bytes on a disk of 8 MiB."""
    bundle = with_file(world, ["lose", "/disk/file"], size=MIB)
    disk = world.folder / "disk"
    disk.mkdir()
    document = json.loads((bundle.path / "config.json").read_text())
    document["mounts"].append({"destination": "/disk", "type": "bind", "source": str(disk), "options": ["rbind", "rw"]})
    (bundle.path / "config.json").write_text(json.dumps(document))
    script = f'mount -t tmpfs -o size=8m tmpfs {disk} && truncate -s {size} {disk}/file && exec "$@"'
    return world.call("--ignore-cgroups", "run", bundle.path, prefix=["unshare", "-m", "sh", "-c", script, "sh"])


@sandbox
def test_mapped_writes_that_are_lost_at_munmap_are_told_by_fsync(world):
    done = on_full_disk(world, 24 * MIB)
    assert done.code == 0 and done.out == "done\n", done


@sandbox
def test_mapped_writes_that_are_lost_at_eviction_are_told_by_fsync(world):
    done = on_full_disk(world, 3 * LIMIT)
    assert done.code == 0 and done.out == "done\n", done


@sandbox
def test_mapped_file_that_is_used_stays_beside_a_larger_one(world):
    bundle = with_file(world, ["hot", "/file", "/hot"])
    subprocess.run([bundle.root / "bin/page_user", "make", bundle.root / "hot", "8"], check=True, stdout=subprocess.DEVNULL)
    done = world.call("--ignore-cgroups", "run", bundle.path)
    faults, end = done.out.splitlines()
    assert done.code == 0 and end == "done" and int(faults.split()[0]) < 64, done


@sandbox
def test_mapped_file_keeps_its_locked_pages(world):
    page_user(world, "lock", "/file")


@sandbox
def test_mapped_file_makes_room_for_memory_of_a_process(world):
    page_user(world, "anonymous", "/file", 20)


@sandbox
def test_mapped_file_makes_room_for_a_tmpfs(world):
    bundle = with_file(world, [])
    script = "/bin/page_user read /file 1 1 1; exec 3</file; /bin/page_user read /file 1 1 1 & dd if=/dev/zero of=/tmp/fill bs=1M count=14 2>/dev/null; echo $?; wait"
    path = bundle.path / "config.json"
    document = json.loads(path.read_text())
    document["process"]["args"] = ["/bin/sh", "-c", script]
    path.write_text(json.dumps(document))
    done = world.call("--ignore-cgroups", "run", bundle.path)
    assert done.code == 0 and sorted(done.out.split()) == ["0", "done", "done"], done


@sandbox
def test_mapped_write_reaches_the_host_by_fsync_each_time(world):
    bundle = with_file(world, ["synchronize", "/file"], limit=LIMIT, size=MIB)
    running = world.start("--ignore-cgroups", "run", bundle.path)
    assert running.stdout.readline() == b"synchronized\n"
    assert struct.unpack_from("<Q", (bundle.root / "file").read_bytes())[0] == 2
    running.kill()
    running.communicate()
    wait_until(lambda: not world.processes(), 5, "the end of the sandbox")


@sandbox
def test_tmpfs_files_keep_no_memory_for_what_may_follow(world):
    # Each just longer than 2 MiB.
    done = limited(world, 100 * MIB, "for i in $(seq 24); do dd if=/dev/zero of=/tmp/$i bs=2101248 count=1 2>/dev/null || echo failed; done; ls /tmp | wc -l")
    assert done.code == 0 and done.out == "24\n", done


@sandbox
def test_hoarders_of_every_kind_end_and_give_memory_back(world):
    """Objects of the Sentry, not memory of the application: each kind is made until there are no more, for half a second at most."""
    program = pathlib.Path(world.kvmsbx).parent / "cli/hoarder"
    bundle = limited_bundle(world, 64 * MIB, ["/bin/hoarder", "500"])
    shutil.copy2(program, bundle.root / "bin/hoarder")
    document = json.loads((bundle.path / "config.json").read_text())
    for capabilities in document["process"]["capabilities"].values():
        capabilities += ["CAP_SYS_ADMIN", "CAP_SYS_RESOURCE", "CAP_IPC_OWNER"]
    (bundle.path / "config.json").write_text(json.dumps(document))
    done = world.call("--ignore-cgroups", "run", bundle.path)
    assert done.code == 0 and done.out.endswith("all kinds end\n") and "FAIL" not in done.out, done
