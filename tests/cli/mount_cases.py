"""Mounts of config.json whose effects lie on both sides: links in the image, mounts below a bind mount, mapped owners."""
import json
import os
import subprocess

from support import sandbox


def run_with_mounts(world, script, mounts, prefix=(), **sections):
    document = world.config(["/bin/sh", "-c", script])
    document["root"]["readonly"] = False
    document["mounts"] += mounts
    document.update(sections)
    bundle = world.bundle()
    (bundle.path / "config.json").write_text(json.dumps(document))
    return world.call("run", bundle.path, prefix=prefix)


def bind(destination, source, *options, **more):
    return {"destination": destination, "type": "bind", "source": str(source), "options": list(options), **more}


@sandbox
def test_mount_on_a_dangling_link(world):
    root = world.bundle().root
    (root / "etc").mkdir(exist_ok=True)
    (root / "etc/resolv.conf").unlink(missing_ok=True)
    (root / "etc/resolv.conf").symlink_to("../run/systemd/resolve/stub-resolv.conf")
    file = world.folder / "resolv"
    file.write_text("nameserver 192.0.2.1\n")
    done = run_with_mounts(world, "cat /etc/resolv.conf; readlink /etc/resolv.conf", [bind("/etc/resolv.conf", file, "rbind", "ro")])
    assert done.code == 0 and done.out == "nameserver 192.0.2.1\n../run/systemd/resolve/stub-resolv.conf\n", done


@sandbox
def test_mount_readonly_top_and_below(world):
    volume = world.folder / "volume"
    (volume / "below").mkdir(parents=True)
    outer = f'mount -t tmpfs none {volume}/below && exec "$@"'
    script = """for d in /ro /rro; do (echo x >$d/file) 2>/dev/null && echo "wrote $d"; (echo x >$d/below/file) 2>/dev/null && echo "wrote $d/below"; done; mkdir /ro/new 2>&1"""
    done = run_with_mounts(world, script, [bind("/ro", volume, "rbind", "ro"), bind("/rro", volume, "rbind", "rro")], prefix=["unshare", "-m", "sh", "-c", outer, "sh"])
    assert done.out == "wrote /ro/below\nmkdir: can't create directory '/ro/new': Read-only file system\n", done


@sandbox
def test_mount_with_mapped_owners(world):
    volume = world.folder / "volume"
    volume.mkdir()
    for uid in (0, 5, 70000):
        (volume / f"of-{uid}").write_text("")
        os.chown(volume / f"of-{uid}", uid, uid)
    mapping = [{"containerID": 0, "hostID": 1000, "size": 100}]
    # Root inside has no id in the file system: as on Linux, it may give files away, but none can be its own.
    script = "stat -c '%n %u %g' /m/*; chown 1007:1008 /m/of-0; touch /m/new 2>&1; chown 3 /m/of-5 2>&1"
    done = run_with_mounts(world, script, [bind("/m", volume, "bind", "idmap", uidMappings=mapping, gidMappings=mapping)])
    assert done.out.startswith("/m/of-0 1000 1000\n/m/of-5 1005 1005\n/m/of-70000 65534 65534\n"), done
    assert done.out.count("Value too large") == 2, done
    given = (volume / "of-0").stat()
    assert (given.st_uid, given.st_gid) == (7, 8) and not (volume / "new").exists(), given


@sandbox
def test_mount_in_a_container_with_mapped_ids(world):
    mapping = [{"containerID": 0, "hostID": 100000, "size": 65536}]
    root = world.bundle().root
    subprocess.run(["chown", "-hR", "100000:100000", str(root)], check=True)
    document = world.config(["/bin/sh", "-c", "stat -c '%u %g' /bin; echo x >/made; stat -c '%u %g' /made; chown 7:8 /made; stat -c '%u %g' /made"])
    document["root"]["readonly"] = False
    document["linux"]["namespaces"] = [{"type": kind} for kind in ("pid", "ipc", "uts", "mount", "network", "user")]
    document["linux"]["uidMappings"] = document["linux"]["gidMappings"] = mapping
    bundle = world.bundle()
    (bundle.path / "config.json").write_text(json.dumps(document))
    done = world.call("run", bundle.path)
    assert done.out == "0 0\n0 0\n7 8\n", done
    made = (root / "made").stat()
    assert (made.st_uid, made.st_gid) == (100007, 100008), made


@sandbox
def test_mount_options_that_are_unknown(world):
    done = run_with_mounts(world, "true", [{"destination": "/t", "type": "tmpfs", "source": "tmpfs", "options": ["size=1m", "sise=2m"]}])
    assert done.code == 125 and '"sise=2m" is not an option of tmpfs' in done.err, done
