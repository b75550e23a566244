"""Running applications: exit codes, streams, signals, terminals, state."""
import json
import os
import signal
import time

from support import LIMIT, OWN_FAILURE, Terminal, sandbox, wait_until


def shell(world, script, *arguments, **extra):
    return world.call(*arguments, "run", world.bundle(["/bin/sh", "-c", script]).path, **extra)


@sandbox
def test_output_and_exit_code(world):
    done = shell(world, "echo out; echo err >&2; exit 7")
    assert (done.code, done.out, done.err) == (7, "out\n", "err\n"), done


@sandbox
def test_exit_codes_of_signals(world):
    for name, code in (("KILL", 137), ("SEGV", 139), ("TERM", 143)):
        done = shell(world, f"sh -c 'kill -{name} $$'; exit $?")  # the first process itself is spared its own signals, as on Linux
        assert done.code == code, (name, done)


def changed(bundle, **process):
    """The bundle's path, with these fields of process in its config.json."""
    file = bundle.path / "config.json"
    document = json.loads(file.read_text())
    document["process"].update(process)
    file.write_text(json.dumps(document))
    return bundle.path


@sandbox
def test_missing_program_is_127(world):
    done = world.call("run", world.bundle(["/bin/missing"]).path)
    assert done.code == 127 and 'exec: "/bin/missing": stat /bin/missing: no such file or directory; ' in done.err, done
    done = world.call("run", world.bundle(["missing-too"]).path)
    assert done.code == 127 and 'exec: "missing-too": executable file not found in $PATH; ' in done.err, done
    done = world.call("run", changed(world.bundle(["true"]), env=["HOME=/"]))  # no PATH at all
    assert done.code == 127 and 'exec: "true": executable file not found in $PATH; ' in done.err, done


@sandbox
def test_not_executable_is_126(world):
    bundle = world.bundle(["/plain"])
    (bundle.root / "plain").write_text("#!/bin/sh\n")
    (bundle.root / "plain").chmod(0o644)
    done = world.call("run", bundle.path)
    assert done.code == 126 and 'exec: "/plain": permission denied; ' in done.err, done
    done = world.call("run", world.bundle(["/bin"]).path)
    assert done.code == 126 and 'exec: "/bin": permission denied; ' in done.err, done
    (bundle.root / "strange").write_bytes(b"\0\1\2")
    (bundle.root / "strange").chmod(0o755)
    done = world.call("run", world.bundle(["/strange"]).path)
    assert done.code == 126 and 'cannot run "/strange": Exec format error; ' in done.err, done
    (bundle.root / "orphan").write_text("#!/no/interpreter\n")
    (bundle.root / "orphan").chmod(0o755)
    done = world.call("run", world.bundle(["/orphan"]).path)
    assert done.code == 127 and 'cannot run "/orphan": No such file or directory; ' in done.err, done


@sandbox
def test_environment_of_the_first_process(world):
    bundle = world.bundle(["/bin/sh", "-c", "echo $HOME $A"])
    (bundle.root / "etc").mkdir(exist_ok=True)
    (bundle.root / "etc/passwd").write_text("root:x:0:0::/root:/bin/sh\n" + "# " + "x" * 5000 + "\nuser:x:1000:1000::/home/user:/bin/sh\n")
    for user, home in ((0, "/root"), (1000, "/home/user"), (1001, "/")):
        path = changed(bundle, env=["A=1", "PATH=/bin", "A=2"], user={"uid": user, "gid": user})
        done = world.call("run", path)
        assert (done.code, done.out) == (0, f"{home} 2\n"), (user, done)
    for env, what in ((["PATH=/bin", "WRONG"], 'invalid environment variable "WRONG": it has no "="'), (["=x"], 'invalid environment variable "=x": its name is empty')):
        done = world.call("run", changed(bundle, env=env))
        assert done.code == OWN_FAILURE and what in done.err, done


@sandbox
def test_working_directory_is_made(world):
    bundle = world.bundle(["/bin/sh", "-c", "pwd; stat -c '%a %u' . .."])
    done = world.call("run", changed(bundle, cwd="/made/for/it", user={"uid": 1000, "gid": 1000, "umask": 0o77}))
    assert (done.code, done.out) == (0, "/made/for/it\n755 0\n755 0\n"), done


@sandbox
def test_ways_to_name_the_bundle(world):
    path = world.bundle(["/bin/echo", "here"]).path
    for arguments, cwd in ((["run", path], "/"), (["run", "--bundle", path], "/"), (["run", "--bundle", path, "an-id"], "/"),
                           (["run", path, "an-id"], "/"), (["run"], path), (["run", "an-id"], path)):
        done = world.call(*arguments, cwd=cwd)
        assert (done.code, done.out) == (0, "here\n"), (arguments, done)


@sandbox
def test_standard_input_to_its_end(world):
    data = os.urandom(3 << 20)
    done = shell(world, "wc -c; exit 3", stdin=data)
    assert (done.code, done.out.strip()) == (3, str(len(data))), done


@sandbox
def test_large_output(world):
    done = shell(world, "head -c 5000000 /dev/zero | tr '\\0' x")
    assert done.code == 0 and done.out == "x" * 5000000, (done.code, len(done.out), done.err)


@sandbox
def test_output_that_nobody_reads(world):
    bundle = world.bundle(["/bin/sh", "-c", "yes; exit 5"])
    running = world.start("run", bundle.path)
    running.stdout.read(10)
    running.stdout.close()
    code = running.wait(timeout=LIMIT)
    assert code in (141, 5), f"exit code {code}: yes should have got SIGPIPE or EPIPE"


@sandbox
def test_closed_standard_streams(world):
    bundle = world.bundle(["/bin/sh", "-c", "exit 4"])
    done = world.call("run", bundle.path, prefix=["sh", "-c", 'exec "$@" <&- >&- 2>&-', "sh"])
    assert done.code == 4, done


@sandbox
def test_warnings_for_what_is_not_applied(world):
    bundle = world.bundle(["/bin/true"])
    document = json.loads((bundle.path / "config.json").read_text())
    document["linux"]["intelRdt"] = {"closID": "guaranteed"}
    document["linux"]["memoryPolicy"] = {"mode": "MPOL_BIND", "nodes": "0"}
    (bundle.path / "config.json").write_text(json.dumps(document))
    done = world.call("run", bundle.path)
    assert done.code == 0, done
    assert done.err.count("\n") == 2 and "linux.intelRdt is not applied" in done.err and "linux.memoryPolicy is not applied" in done.err, done


@sandbox
def test_terminal_without_one_runs_with_a_warning(world):
    done = world.call("run", world.bundle(["/bin/sh", "-c", "[ -t 0 ] || echo plain"], terminal=True).path)
    assert (done.code, done.out) == (0, "plain\n"), done
    assert done.err.count("\n") == 1 and "standard input is no terminal" in done.err, done


@sandbox
def test_signals_reach_the_application(world):
    bundle = world.bundle(["/bin/sh", "-c", "trap 'echo got it; exit 9' INT TERM HUP USR1; echo ready; while :; do sleep 0.1; done"])
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1):
        running = world.start("run", bundle.path)
        assert running.stdout.readline() == b"ready\n", running.communicate(timeout=LIMIT)
        running.send_signal(number)
        out, err = running.communicate(timeout=LIMIT)
        assert (running.returncode, out) == (9, b"got it\n"), (number, running.returncode, out, err)


@sandbox
def test_signal_without_handler_ends_the_application(world):
    # As the first process of a pid namespace would on Linux, /bin/sleep ignores it; so a child is what the signal ends.
    bundle = world.bundle(["/bin/sh", "-c", "trap 'kill $child; wait $child; exit $?' TERM; sleep 100 & child=$!; echo ready; wait"])
    running = world.start("run", bundle.path)
    assert running.stdout.readline() == b"ready\n"
    running.terminate()
    out, err = running.communicate(timeout=LIMIT)
    assert running.returncode == 143, (running.returncode, out, err)


@sandbox
def test_state_while_it_runs(world):
    bundle = world.bundle(["/bin/sh", "-c", "echo ready; read line"])
    running = world.start("run", bundle.path, "my-box", stdin=-1)
    assert running.stdout.readline() == b"ready\n"
    state = json.loads(world.call("state", "my-box").out)
    assert (state["id"], state["status"], state["bundle"]) == ("my-box", "running", str(bundle.path)), state
    assert state["pid"] in world.processes()
    second = world.call("run", bundle.path, "my-box")
    assert second.code == OWN_FAILURE and 'the ID "my-box" exists already and is running' in second.err, second
    running.communicate(b"\n", timeout=LIMIT)
    assert running.returncode == 0
    assert list(world.state_root.iterdir()) == []


@sandbox
def test_tty_size_resize_and_restore(world):
    bundle = world.bundle(["/bin/sh", "-c", "stty size; trap 'stty size; exit 6' WINCH; echo ready; while :; do sleep 0.1; done"], terminal=True)
    terminal = Terminal(world, "run", bundle.path)
    try:
        terminal.expect("30 90")
        terminal.expect("ready")
        assert not terminal.is_restored(), "the host's terminal is not raw"
        terminal.set_size(40, 120)
        terminal.expect("40 120")
        assert terminal.wait() == 6
        assert terminal.is_restored()
    finally:
        terminal.close()


@sandbox
def test_tty_interrupt_and_line_editing(world):
    bundle = world.bundle(["/bin/sh"], terminal=True)
    terminal = Terminal(world, "run", bundle.path)
    try:
        terminal.expect("# ")
        terminal.send("echo one two\r")
        terminal.expect("\r\none two\r\n")
        terminal.expect("# ")
        terminal.send("sleep 100\r")
        time.sleep(0.5)
        terminal.send("\x03")
        terminal.expect("# ", 5)
        terminal.send("echo code $?\r")
        terminal.expect("\r\ncode 130\r\n")
        terminal.send("exit 5\r")
        assert terminal.wait() == 5
        assert terminal.is_restored()
    finally:
        terminal.close()


@sandbox
def test_tty_job_control(world):
    bundle = world.bundle(["/bin/sh"], terminal=True)
    terminal = Terminal(world, "run", bundle.path)
    try:
        terminal.expect("# ")
        terminal.send("sleep 100\r")
        time.sleep(0.5)
        terminal.send("\x1a")
        terminal.expect("Stopped")
        terminal.expect("# ")
        terminal.send("fg\r")
        time.sleep(0.3)
        terminal.send("\x03")
        terminal.expect("# ")
        terminal.send("\x04")
        terminal.wait()
        assert terminal.is_restored()
    finally:
        terminal.close()


@sandbox
def test_tty_full_screen_programs(world):
    bundle = world.bundle(["/bin/sh"], terminal=True)
    terminal = Terminal(world, "run", bundle.path)
    try:
        terminal.expect("# ")
        terminal.send("vi /root/note\r")
        terminal.expect("1/1 100%")
        for keys in ("i", "hello from vi", "\x1b", ":wq\r"):  # BusyBox's vi does not take them in one go, natively neither
            terminal.send(keys)
            time.sleep(0.3)
        terminal.expect("# ")
        terminal.send("top -d 1\r")
        terminal.expect("Mem:")
        terminal.expect("COMMAND")
        terminal.send("q")
        terminal.expect("# ")
        terminal.send("exit\r")
        assert terminal.wait() == 0
        assert (bundle.root / "root/note").read_text() == "hello from vi\n"
        assert terminal.is_restored()
    finally:
        terminal.close()


@sandbox
def test_tty_is_restored_after_sigterm(world):
    bundle = world.bundle(["/bin/sh", "-c", "trap 'exit 8' TERM; echo ready; while :; do sleep 0.1; done"], terminal=True)
    terminal = Terminal(world, "run", bundle.path)
    try:
        terminal.expect("ready")
        terminal.process.terminate()
        assert terminal.wait() == 8
        assert terminal.is_restored()
    finally:
        terminal.close()


@sandbox
def test_strace_and_debug_go_where_they_should(world):
    log = world.folder / "debug"
    done = shell(world, "echo hello", "--strace", "--debug-log", log)
    assert (done.code, done.out, done.err) == (0, "hello\n", ""), done
    assert "write(1" in log.read_text(), log.read_text()[-3000:]
    done = shell(world, "echo hello", "--debug")
    assert done.code == 0 and done.out == "hello\n", done
    told = any(word in done.err for word in ("privilege mode ring", "process platform"))
    assert told, f"--debug does not tell the platform: {done.err}"


@sandbox
def test_both_ids_at_the_same_time(world):
    bundle = world.bundle(["/bin/sh", "-c", "echo ready; read line; echo $line"])
    first, second = (world.start("run", bundle.path, stdin=-1) for _ in range(2))
    for running in (first, second):
        assert running.stdout.readline() == b"ready\n"
    wait_until(lambda: len(list(world.state_root.iterdir())) == 2, 5, "two states")
    for running, word in ((first, b"a\n"), (second, b"b\n")):
        assert running.communicate(word, timeout=LIMIT)[0] == word
