"""Usage, `spec`, `doctor`, and every way in which a config.json can be wrong. Nothing here needs KVM."""
import json
import os
import subprocess

from support import OWN_FAILURE, sandbox, without_kvm


def refused(world, *arguments, says, **extra):
    """Exit code 125 and one line on stderr with this text."""
    done = world.call(*arguments, **extra)
    assert done.code == OWN_FAILURE, done
    assert done.err.count("\n") == 1 and done.err.startswith("kvmsbx: "), done
    assert says in done.err, done
    assert done.out == "", done


def test_version_and_help(world):
    done = world.call("--version")
    assert done.code == 0 and done.out.startswith("kvmsbx version "), done
    done = world.call("--help")
    assert done.code == 0, done
    for word in ("run", "spec", "doctor", "--debug", "--strace", "--platform", "--privilege", "--no-namespaces", "--overlay", "--log-format", "--strict"):
        assert word in done.out, f"--help does not tell of {word}"
    assert "--bundle" in world.call("run", "--help").out


def test_usage_errors_name_the_word(world):
    refused(world, says="subcommand")
    refused(world, "fly", says="fly")
    refused(world, "run", "--warp", says="--warp")
    refused(world, "--privilege=ring7", "run", says="ring7")
    refused(world, "--platform=ptrace", "run", says="ptrace")
    refused(world, "run", "--bundle", "/", "a", "b", says="too many arguments")


def test_spec_writes_a_config_once(world):
    done = world.call("spec", cwd=world.folder)
    assert done.code == 0 and done.out == "" and done.err == "", done
    assert json.loads((world.folder / "config.json").read_text())["process"]["args"] == ["sh"]
    refused(world, "spec", cwd=world.folder, says="is there already")
    refused(world, "spec", "--bundle", world.folder / "missing", says="No such file or directory")


def test_doctor_in_both_forms(world):
    done = world.call("doctor")
    assert "kvm-device" in done.out and "This host can" in done.out, done
    found = json.loads(world.call("doctor", "--json").out)
    assert found["ok"] == (done.code == 0), (found, done)
    names = {check["name"] for check in found["checks"]}
    assert {"kvm-device", "privilege-mode", "platform-kvm", "platform-process", "platform-auto", "namespaces", "landlock", "memory", "huge-pages"} <= names, names


def test_bundle_not_there(world):
    refused(world, "run", world.folder / "missing", says=f"{world.folder}/missing: No such file or directory")
    (world.folder / "file").write_text("")
    refused(world, "run", world.folder / "file", says="not a folder")


def test_config_missing_or_no_file(world):
    bundle = world.folder / "bundle"
    bundle.mkdir()
    refused(world, "run", bundle, says=f"{bundle}/config.json: No such file or directory")
    os.mkfifo(bundle / "config.json")
    refused(world, "run", bundle, says="not a regular file")


def test_config_unreadable(world):
    bundle = world.bare_bundle("{}")
    (bundle / "config.json").chmod(0)
    world.folder.chmod(0o755)
    refused(world, "run", bundle, says="config.json: Permission denied", prefix=["setpriv", "--reuid=65534", "--clear-groups"])


def test_config_invalid_json_names_the_line(world):
    bundle = world.bare_bundle('{\n  "ociVersion": "1.0.0",\n  "process": {,\n}\n')
    refused(world, "run", bundle, says=f"{bundle}/config.json: line 3: not valid JSON")


def test_config_wrong_field_names_line_and_field(world):
    document = world.config()
    document["process"]["args"] = ["/bin/sh", 7]
    bundle = world.bare_bundle(json.dumps(document, indent=1))
    refused(world, "run", bundle, says=": process.args[1]: expected a string, found a number")
    line = next(n for n, text in enumerate((bundle / "config.json").read_text().splitlines(), 1) if text.strip() == "7")
    refused(world, "run", bundle, says=f"config.json: line {line}: ")


def test_config_missing_field(world):
    document = world.config()
    del document["process"]["cwd"]
    refused(world, "run", world.bare_bundle(json.dumps(document)), says="process.cwd: missing")


def test_config_too_large(world):
    refused(world, "run", world.bare_bundle(" " * (5 << 20)), says="larger than 4194304 bytes")


def test_missing_root(world):
    bundle = world.bare_bundle(json.dumps(world.config(root="nowhere")))
    refused(world, "run", bundle, says=f"root.path: {bundle}/nowhere: No such file or directory; put the root file system there")
    (bundle / "nowhere").write_text("")
    refused(world, "run", bundle, says="nowhere: not a folder")


def test_missing_bind_source(world):
    document = world.config()
    document["mounts"].append({"destination": "/data", "type": "bind", "source": "/no/such", "options": ["rbind"]})
    refused(world, "run", world.bare_bundle(json.dumps(document)), says="source: /no/such: No such file or directory")


def test_strict_refuses_what_is_not_applied(world):
    document = world.config()
    document["linux"]["intelRdt"] = {"closID": "guaranteed"}
    refused(world, "--strict", "run", world.bare_bundle(json.dumps(document)), says="linux.intelRdt: not applied by kvmsbx")


def with_sysctls(world, script, **sysctls):
    """Runs the script with these linux.sysctl; "__" in a name stands for its dots."""
    bundle = world.bundle(["/bin/sh", "-c", script])
    document = json.loads((bundle.path / "config.json").read_text())
    document["linux"]["sysctl"] = {name.replace("__", "."): value for name, value in sysctls.items()}
    (bundle.path / "config.json").write_text(json.dumps(document))
    return world.call("run", bundle.path)


@sandbox
def test_sysctls_are_set(world):
    done = with_sysctls(world, "cd /proc/sys; cat kernel/domainname kernel/shmmni fs/mqueue/msg_max kernel/sem net/ipv4/ip_unprivileged_port_start",
                        kernel__domainname="example.org", kernel__shmmni="321", fs__mqueue__msg_max="77", kernel__sem="250\t32000 32 128",
                        net__ipv4__ip_unprivileged_port_start="0", net__ipv4__ping_group_range="0 2147483647", net__ipv4__ip_forward="0")
    assert (done.code, done.out) == (0, "example.org\n321\n77\n250\t32000\t32\t128\n0\n"), done


@sandbox
def test_sysctls_that_cannot_be_set_end_the_start(world):
    for name, value, why in (("net__ipv4__none", "1", "No such file or directory; there is no such sysctl"),
                             ("net__ipv4__ip_forward", "1", "Permission denied; its value is fixed"),
                             ("kernel__shmmni", "many", "Invalid argument; check its value")):
        done = with_sysctls(world, "echo started", **{name: value})
        assert (done.code, done.out) == (OWN_FAILURE, ""), done
        assert done.err.startswith(f'kvmsbx: cannot set linux.sysctl "{name.replace("__", ".")}": {why}'), done
        assert done.err.count("\n") == 1, done


def test_network_host_is_a_clear_error(world):
    refused(world, "--network=host", "run", world.bare_bundle(json.dumps(world.config())), says="--network=host is not there yet")


def test_bad_container_id(world):
    refused(world, "run", world.bare_bundle(json.dumps(world.config())), "a/b", says='container ID "a/b": not allowed')


def test_log_gets_the_error_in_runcs_formats(world):
    log = world.folder / "log"
    world.call("--log", log, "--log-format", "json", "run", world.folder / "missing")
    entry = json.loads(log.read_text())
    assert entry["level"] == "error" and "missing" in entry["msg"] and entry["time"].endswith("Z"), entry
    log.unlink()
    world.call("--log", log, "run", world.folder / "missing")
    assert log.read_text().startswith('time="') and " level=error msg=" in log.read_text(), log.read_text()


def test_no_kvm_says_what_to_do(world):
    bundle = world.bare_bundle(json.dumps(world.config()))
    refused(world, "--platform=kvm", "run", bundle, prefix=without_kvm(), says="cannot open /dev/kvm: No such file or directory; load the KVM module")
    refused(world, "--platform=kvm", "run", bundle, prefix=without_kvm(), says="or run with --platform=process")


def test_kvm_not_permitted_says_what_to_do(world):
    if os.stat("/dev/kvm").st_mode & 0o006:
        return  # everybody may use it here
    world.folder.chmod(0o777)
    bundle = world.bare_bundle(json.dumps(world.config()))
    refused(world, "--platform=kvm", "--root", world.folder / "their-state", "run", bundle, prefix=["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"],
            says="add your user to the group kvm")


def test_namespaces_are_private(world):
    """The helper above must not change the machine."""
    before = open("/proc/self/mounts").read()
    subprocess.run([*without_kvm(), "true"], check=True, timeout=10)
    assert open("/proc/self/mounts").read() == before
