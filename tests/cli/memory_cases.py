"""The container's memory limit (linux.resources.memory.limit): who dies of it, and that the sandbox lives on."""
import json

from support import sandbox

MIB = 1 << 20


def limited(world, limit, script):
    bundle = world.bundle(["/bin/sh", "-c", script])
    path = bundle.path / "config.json"
    document = json.loads(path.read_text())
    document["linux"]["resources"] = {"memory": {"limit": limit}}
    path.write_text(json.dumps(document))
    return world.call("run", bundle.path)


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
    done = limited(world, 160 * MIB, small + " sleep 4; dd if=/dev/zero of=/dev/null bs=120M count=1 2>/dev/null; echo large $?; cat /tmp/result; kill $!")
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
    assert done.code == 0 and limit == 200 * MIB and 150 * 1024 < total <= 200 * 1024, done


@sandbox
def test_heap_that_grows_beyond_the_limit_is_killed(world):
    done = limited(world, 96 * MIB, "head -c 110000000 /dev/zero | tail -n 1 | wc -c; head -c 110000000 /dev/zero | tail -n 1 >/dev/null; echo $?")
    assert done.code == 0 and done.out == "0\n137\n", done
