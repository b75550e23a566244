"""oci_cli.py DIRECTORY RUNTIME [RUNTIME_ARG...]: the checks of oci-cli-acceptance; start them with that script.

Model: this process is a child subreaper, as containerd's shim and conmon are: the process named in a pid file becomes its child, and its
wait status is the container's. Every check is a function; it makes its own bundles and containers, and what it leaves is deleted after it.
A check fails by an assertion; `optional` ones say why a reference runtime may miss them, and then count as skipped.
"""
import contextlib, copy, ctypes, fcntl, fnmatch, glob, hashlib, json, os, pty, random, re, shutil, signal, socket, struct, subprocess, sys, termios
import threading, time

DIR, RUNTIME, *RUNTIME_ARGS = sys.argv[1:]
ROOT, LOG, GROUP = DIR + "/state", DIR + "/log.json", os.environ.get("KIT_CGROUP", "oci-kit")
PR_SET_CHILD_SUBREAPER = 36
ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
exit_codes, ours, forking = {}, set(), threading.Lock()   # of orphans; the children that subprocess waits for itself
class Child(subprocess.Popen):
    def __init__(self, *args, **more):
        with forking:
            super().__init__(*args, **more)
            ours.add(self.pid)
subprocess.Popen = Child

CAPS = ["CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_FOWNER", "CAP_KILL", "CAP_SETUID", "CAP_SETGID", "CAP_NET_BIND_SERVICE", "CAP_NET_RAW"]
LOOP = "while :; do sleep 0.05; done"
TEMPLATE = {
    "ociVersion": "1.0.2",
    "process": {"user": {"uid": 0, "gid": 0}, "args": ["true"], "env": ["PATH=/bin"], "cwd": "/",
                "capabilities": {"bounding": CAPS, "effective": CAPS, "permitted": CAPS}},
    "root": {"path": DIR + "/rootfs", "readonly": True},
    "hostname": "box",
    "mounts": [
        {"destination": "/proc", "type": "proc", "source": "proc"},
        {"destination": "/dev", "type": "tmpfs", "source": "tmpfs", "options": ["nosuid", "mode=755", "size=65536k"]},
        {"destination": "/dev/pts", "type": "devpts", "source": "devpts", "options": ["newinstance", "ptmxmode=0666", "mode=0620"]},
        {"destination": "/dev/shm", "type": "tmpfs", "source": "shm", "options": ["mode=1777"]},
        {"destination": "/sys", "type": "sysfs", "source": "sysfs", "options": ["ro"]},
        {"destination": "/tmp", "type": "tmpfs", "source": "tmpfs", "options": ["mode=1777"]}],
    "linux": {"namespaces": [{"type": t} for t in ("pid", "ipc", "uts", "mount", "network")]},
}

# --- the runtime, bundles, processes -------------------------------------------------------------------------------------------------
def command(*args):
    return [RUNTIME, *RUNTIME_ARGS, "--root", ROOT, "--log", LOG, "--log-format", "json", *args]
def spawn(*args, **streams):
    return subprocess.Popen(command(*args), **{"stdin": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, **streams})
def rt(*args, want=0, **more):
    """The runtime with these arguments; its streams are kept as text. want: the exit code, None for any, "fail" for any but 0."""
    more = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "timeout": 30, "text": True, **more}
    done = subprocess.run(command(*args), **more)
    if want == "fail":
        assert done.returncode != 0, f"'{args[0]}' succeeded"
    elif want is not None:
        assert done.returncode == want, f"'{args[0]}': exit code {done.returncode}, not {want}: {done.stderr or last_error()}"
    return done
def last_error():
    """The message that containerd's shim would show: the last one of level error in the log."""
    text, message = open(LOG).read().strip(), ""
    while text:
        entry, end = json.JSONDecoder().raw_decode(text)
        text, message = text[end:].lstrip(), entry["msg"] if entry.get("level") == "error" else message
    return message

class Bundle:
    """A directory with config.json. args: a list, or a text for the container's shell; /out in the container is .out on the host."""
    count = 0
    def __init__(self, args="true", change=None):
        Bundle.count += 1
        self.id = f"c{Bundle.count}"
        self.path, self.out = f"{DIR}/b/{self.id}", f"{DIR}/b/{self.id}/out"
        self.pid_file = self.path + "/pid"
        os.makedirs(self.out)
        os.chmod(self.out, 0o777)
        self.config = copy.deepcopy(TEMPLATE)
        self.config["process"]["args"] = ["sh", "-c", args] if isinstance(args, str) else args
        self.config["linux"]["cgroupsPath"] = f"/{GROUP}/{self.id}"
        self.mount({"destination": "/out", "type": "bind", "source": self.out, "options": ["rbind", "rw"]})
        if change:
            change(self.config)
        self.save()
        made.append(self)
    def mount(self, entry):
        self.config["mounts"].append(entry)
        self.save()
    def save(self):
        with open(self.path + "/config.json", "w") as file:
            json.dump(self.config, file)
    def run(self, *options, **more):
        return rt("run", *options, "--bundle", self.path, self.id, **more)
    def create(self, *options, want=0, **more):
        """create with stdio on files, since a container keeps them; the pid in the pid file (0: failed as wanted)."""
        with open(self.path + "/stdout", "ab") as out, open(self.path + "/stderr", "ab") as err:
            done = rt("create", "--bundle", self.path, "--pid-file", self.pid_file, *options, self.id,
                      want=want, **{"stdout": out, "stderr": err, **more})
        self.pid = int(open(self.pid_file).read()) if done.returncode == 0 else 0
        return self.pid
    def start(self, *options, **more):
        self.create(*options, **more)
        rt("start", self.id)
        return self.pid
    def state(self):
        return json.loads(rt("state", self.id).stdout)
    def status(self):
        return self.state()["status"]
    def exec(self, *args, **more):
        return rt("exec", self.id, *args, **more)
    def exec_file(self, text, *options, **fields):
        """exec --process; with --detach, as engines do it, its pid."""
        spec = {"user": {"uid": 0, "gid": 0}, "args": ["sh", "-c", text], "env": ["PATH=/bin", "W=w"], "cwd": "/", **fields}
        with open(self.path + "/process.json", "w") as file:
            json.dump(spec, file)
        options = ("--process", self.path + "/process.json", "--pid-file", self.path + "/exec.pid", *options, self.id)
        if "--detach" not in options:
            return rt("exec", *options)
        with open(self.path + "/exec.out", "w") as out:
            rt("exec", *options, stdout=out, stderr=out)
        return int(open(self.path + "/exec.pid").read())
    def kill(self, *args, **more):
        return rt("kill", self.id, *args, **more)
    def stop(self):
        self.kill("KILL")
        assert exit_of(self.pid) == 137
    def delete(self, *options, **more):
        return rt("delete", *options, self.id, **more)
    def printed(self, name="stdout"):
        return open(f"{self.path}/{name}").read()
    def told(self, name):
        return open(f"{self.out}/{name}").read().strip()
def reap_orphans():
    """As a shim does: whatever lands here is reaped at once, and the exit codes are kept."""
    while True:
        time.sleep(0.02)
        with forking, contextlib.suppress(OSError):             # a thread that ends takes its list away
            for list_of_pids in glob.glob("/proc/self/task/*/children"):
                for pid in set(map(int, open(list_of_pids).read().split())) - ours:
                    got, status = os.waitpid(pid, os.WNOHANG)
                    if got:
                        code = os.waitstatus_to_exitcode(status)
                        exit_codes[pid] = code if code >= 0 else 128 - code
def exit_of(pid, within=15):
    """The exit code of a process that must be our child; 128+N for signal N."""
    end = time.time() + within
    while pid not in exit_codes:
        if not exists(f"/proc/{pid}"):
            time.sleep(0.2)
            assert pid in exit_codes, f"process {pid} is not a child of the caller's subreaper"
            break
        assert time.time() < end, f"process {pid} does not end"
        time.sleep(0.02)
    return exit_codes.pop(pid)
def until(truth, what, within=10):
    end = time.time() + within
    while not truth():
        assert time.time() < end, f"not within {within} s: {what}"
        time.sleep(0.05)
def exists(*paths):
    return all(os.path.exists(p) for p in paths)
def in_container(args, change=None):
    """What a container with this shell text prints."""
    return Bundle(args, change).run().stdout.strip()
def process(**fields):
    return lambda config: config["process"].update(fields)
def linux(**fields):
    return lambda config: config["linux"].update(fields)
def group_file(bundle, controller, v1, v2):
    unified = exists("/sys/fs/cgroup/cgroup.controllers")
    return f"/sys/fs/cgroup/{GROUP}/{bundle.id}/{v2}" if unified else f"/sys/fs/cgroup/{controller}/{GROUP}/{bundle.id}/{v1}"
def group_value(*args):
    return open(group_file(*args)).read().split()[0]
def memory_limit(bundle):
    return int(group_value(bundle, "memory", "memory.limit_in_bytes", "memory.max")) >> 20
def shell(text):
    return subprocess.run(["sh", "-ec", text], check=True, stdout=subprocess.PIPE, text=True, timeout=20).stdout

class Console:
    """The receiving end of --console-socket: containerd's shim, conmon, recvtty."""
    def __init__(self):
        self.path = f"{DIR}/tmp/{random.randrange(10**9)}.sock"
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(self.path)
        self.listener.listen(1)
        self.listener.settimeout(15)
    def receive(self):
        peer, _ = self.listener.accept()
        message, fds, _, _ = socket.recv_fds(peer, 4096, 4)
        assert message, "the message on the console socket is empty"
        assert len(fds) == 1, f"{len(fds)} descriptors on the console socket"
        assert os.isatty(fds[0]), "what came over the console socket is no terminal"
        self.fd, self.seen = fds[0], b""
        return self
    def expect(self, pattern, within=15):
        end = time.time() + within
        os.set_blocking(self.fd, False)
        while not re.search(pattern.encode(), self.seen):
            assert time.time() < end, f"terminal: no {pattern!r} in {self.seen!r}"
            try:
                self.seen += os.read(self.fd, 4096)
            except (BlockingIOError, OSError):
                time.sleep(0.05)
        self.seen = b""
    def send(self, text):
        os.write(self.fd, text.encode())
    def resize(self, rows, columns):
        fcntl.ioctl(self.fd, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

made = []  # bundles whose containers are to be deleted after the check
def started(args=LOOP, change=None):
    bundle = Bundle(args, change)
    bundle.start()
    return bundle
def busy(change=None):
    """A container that is known to have come to its loop."""
    bundle = started(f"touch /out/up; {LOOP}", change)
    until(lambda: exists(bundle.out + "/up"), "the container runs")
    return bundle
def ended(args="true"):
    bundle = started(args)
    exit_of(bundle.pid)
    return bundle
def running_in_foreground(text):
    """A container under `run`, and that process."""
    bundle = Bundle(text.format(loop=LOOP))
    process = spawn("run", "--bundle", bundle.path, bundle.id)
    until(lambda: exists(bundle.out + "/up"), "the container runs")
    return bundle, process

# --- information
def check_version_names_spec():
    assert re.search(r"spec: \d+\.\d+", rt("--version").stdout)
def check_features_is_json():
    """optional: runc has it since 1.1, crun since 1.9, runsc since 2023"""
    features = json.loads(rt("features").stdout)
    assert features["ociVersionMin"] and features["ociVersionMax"]
    assert {"prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop"} <= set(features["hooks"])
    assert "pid" in features["linux"]["namespaces"] and "bind" in features["mountOptions"]
def check_spec_writes_config_once():
    where = DIR + "/spec"
    os.makedirs(where)
    rt("spec", cwd=where)
    assert json.load(open(where + "/config.json"))["process"]["args"]
    rt("spec", cwd=where, want="fail")
def check_unknown_command_and_flag_fail():
    rt("no-such-command", want="fail")
    rt("state", "--no-such-flag", "x", want="fail")

# --- run
def check_run_streams_and_code():
    bundle = Bundle("echo out; echo err >&2; exit 7")
    done = bundle.run(want=7)
    assert (done.stdout, done.stderr) == ("out\n", "err\n"), (done.stdout, done.stderr)
    rt("state", bundle.id, want="fail")
def check_run_stdin_10mb():
    data = os.urandom(10_000_000)
    with open(DIR + "/data10", "wb") as file:
        file.write(data)
    done = Bundle("cat").run(stdin=open(DIR + "/data10"), text=False)
    assert hashlib.sha1(done.stdout).digest() == hashlib.sha1(data).digest(), f"{len(done.stdout)} of {len(data)} bytes"
def check_run_appends_to_a_file():
    path = DIR + "/appended"
    with open(path, "w") as file:
        file.write("head\n")
        file.flush()
        Bundle("echo one; echo two").run(stdout=file)
    assert open(path).read() == "head\none\ntwo\n", open(path).read()
def check_run_forwards_sigterm():
    bundle, process = running_in_foreground("trap 'exit 9' TERM; touch /out/up; {loop}")
    process.terminate()
    assert process.wait(15) == 9, process.returncode
def check_run_killed_is_137():
    bundle, process = running_in_foreground("touch /out/up; {loop}")
    bundle.kill("KILL")
    assert process.wait(15) == 137, process.returncode
def check_run_detach_with_pid_file():
    bundle = Bundle("exit 6")
    with open(bundle.path + "/stdout", "w") as out:
        rt("run", "--detach", "--pid-file", bundle.pid_file, "--bundle", bundle.path, bundle.id, stdout=out, stderr=out)
    assert exit_of(int(open(bundle.pid_file).read())) == 6
def check_run_on_a_terminal():
    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 120, 0, 0))
    before = termios.tcgetattr(slave)
    bundle = Bundle("tty > /out/tty; sleep 0.3; stty size > /out/size; exit 4", process(terminal=True))
    running = spawn("run", "--bundle", bundle.path, bundle.id, stdin=slave, stdout=slave, stderr=slave)
    assert running.wait(20) == 4, (running.returncode, last_error())
    assert bundle.told("tty").startswith("/dev/") and bundle.told("size") == "40 120", (bundle.told("tty"), bundle.told("size"))
    assert termios.tcgetattr(slave) == before, "the terminal's modes were not put back"
    os.close(master), os.close(slave)

# --- create, start, state, delete
def check_lifecycle():
    bundle = Bundle("touch /out/ran; exit 3")
    bundle.create()
    assert bundle.status() == "created" and not exists(bundle.out + "/ran")
    rt("start", bundle.id)
    assert exit_of(bundle.pid) == 3
    assert exists(bundle.out + "/ran") and bundle.status() == "stopped"
    bundle.delete()
    rt("state", bundle.id, want="fail")
    bundle.start()
    assert exit_of(bundle.pid) == 3, "the same id a second time"
def check_state_fields():
    bundle = Bundle(LOOP, lambda c: c.update(annotations={"org.kit.note": "yes"}))
    bundle.create()
    state = bundle.state()
    assert re.match(r"\d+\.\d+", state["ociVersion"]) and state["id"] == bundle.id and state["status"] == "created", state
    assert state["pid"] == bundle.pid and exists(f"/proc/{bundle.pid}"), state
    assert re.fullmatch(r"\d+\n?", open(bundle.pid_file).read())
    assert os.path.realpath(state["bundle"]) == os.path.realpath(bundle.path), state
    assert state["annotations"]["org.kit.note"] == "yes", state
    rt("start", bundle.id)
    assert bundle.status() == "running"
    bundle.stop()
    assert bundle.status() == "stopped" and bundle.state().get("pid", 0) <= 0, bundle.state()
def check_commands_print_nothing():
    bundle = Bundle(LOOP)
    bundle.create()
    assert bundle.printed() == bundle.printed("stderr") == "", bundle.printed("stderr")
    for done in (rt("start", bundle.id), bundle.kill("KILL")):
        assert done.stdout == done.stderr == "", (done.args, done.stdout, done.stderr)
    exit_of(bundle.pid)
    done = bundle.delete()
    assert done.stdout == done.stderr == ""
def check_stdout_pipe_closes_with_the_container():
    bundle = Bundle("echo x")
    reader, writer = os.pipe()
    bundle.create(stdout=writer)
    os.close(writer)
    rt("start", bundle.id)
    exit_of(bundle.pid)
    begun = time.time()
    with open(reader) as pipe:
        assert pipe.read() == "x\n"
    assert time.time() - begun < 2, "something keeps the container's stdout open after its end"
def check_create_same_id_twice():
    bundle, other = Bundle(LOOP), Bundle(LOOP)
    bundle.start()
    other.id = bundle.id
    other.create(want="fail")
    made.remove(other)
    assert bundle.status() == "running"
def check_bad_ids_are_refused():
    for bad in ("", "a/b", "../up", "..", "sp ace"):
        bundle = Bundle(LOOP)
        made.remove(bundle)
        bundle.id = bad
        bundle.create(want="fail")
    assert not exists(DIR + "/up")
def check_id_may_have_64_digits_dots_dashes():
    bundle = Bundle("exit 2")
    bundle.id = "0123456789abcdef" * 4
    bundle.run(want=2)
    bundle.id = "k8s_a.b-c+d"
    bundle.run(want=2)
def check_start_needs_a_created_container():
    bundle = started()
    rt("start", bundle.id, want="fail")
    assert bundle.status() == "running"
    bundle.stop()
    rt("start", bundle.id, want="fail")
    rt("start", "no-such-container", want="fail")
def check_delete_spares_a_running_container():
    bundle = started()
    bundle.delete(want="fail")
    assert bundle.status() == "running"
    bundle.delete("--force")
    assert exit_of(bundle.pid) == 137
    rt("state", bundle.id, want="fail")
def check_delete_of_an_unknown_id():
    rt("delete", "no-such-container", want="fail")
    assert "does not exist" in last_error() or "o such" in last_error(), last_error()
    rt("delete", "--force", "no-such-container")

# --- kill
def check_kill_by_number_and_names():
    for args, trap in ((["15"], "TERM"), (["TERM"], "TERM"), (["SIGUSR1"], "USR1"), ([], "TERM")):
        bundle = started(f"trap 'exit 11' {trap}; touch /out/up; {LOOP}")
        until(lambda: exists(bundle.out + "/up"), "the container runs")
        bundle.kill(*args)
        assert exit_of(bundle.pid) == 11, args
def check_kill_all():
    bundle = Bundle(f"sleep 1000 & {LOOP}")
    bundle.start()
    rt("kill", "--all", bundle.id, "KILL")
    assert exit_of(bundle.pid) == 137
def check_kill_bad_signal_fails():
    bundle = started()
    bundle.kill("NOSUCH", want="fail")
    bundle.kill("4711", want="fail")
    assert bundle.status() == "running"
def check_kill_of_a_created_container():
    bundle = Bundle(LOOP)
    bundle.create()
    bundle.kill("KILL")
    assert exit_of(bundle.pid) == 137 and bundle.status() == "stopped"
def check_kill_errors_that_engines_know():
    bundle = ended()
    bundle.kill("TERM", want="fail")
    known = ("os: process already finished", "container not running", "no such process")
    assert any(k in last_error().lower() for k in known), last_error()
    rt("kill", "no-such-container", "TERM", want="fail")
    assert "does not exist" in last_error(), last_error()

# --- exec
def check_exec_streams_and_code():
    done = busy().exec("sh", "-c", "echo out; echo err >&2; exit 5", want=5)
    assert (done.stdout, done.stderr) == ("out\n", "err\n"), (done.stdout, done.stderr)
def check_exec_stdin():
    reader, writer = os.pipe()
    os.write(writer, b"given")
    os.close(writer)
    assert busy().exec("cat", stdin=reader).stdout == "given"
def check_exec_env_cwd_user():
    bundle = busy()
    done = rt("exec", "--env", "V=1", "--cwd", "/tmp", "--user", "1000:1000", bundle.id, "sh", "-c", "echo $V $(pwd) $(id -u) $(id -g)")
    assert done.stdout == "1 /tmp 1000 1000\n", done.stdout
def check_exec_process_file():
    user = {"uid": 1000, "gid": 1000, "additionalGids": [2000]}
    assert busy().exec_file("id -G; pwd; echo $W", user=user, cwd="/home/app").stdout == "1000 2000\n/home/app\nw\n"
def check_exec_detach_is_our_child():
    assert exit_of(busy().exec_file("sleep 0.3; exit 5", "--detach")) == 5
def check_exec_tty_over_console_socket():
    console = Console()
    pid = busy().exec_file("tty; read x; echo got $x; exit 8", "--detach", "--tty", "--console-socket", console.path, terminal=True)
    console.receive().expect("/dev/pts")
    console.send("word\n")
    console.expect("got word")
    assert exit_of(pid) == 8
def check_exec_of_no_such_program():
    bundle = busy()
    bundle.exec("no-such-program", want="fail")
    assert "no-such-program" in last_error(), last_error()
    assert "executable file not found" in last_error() or "no such file or directory" in last_error(), last_error()
    assert bundle.status() == "running"
def check_exec_needs_a_running_container():
    bundle = ended()
    bundle.exec("true", want="fail")
    rt("exec", "no-such-container", "true", want="fail")
def check_exec_ends_with_the_container():
    bundle = busy()
    running = spawn("exec", bundle.id, "sleep", "1000", stdout=subprocess.DEVNULL)
    time.sleep(0.5)
    bundle.kill("KILL")
    assert running.wait(15) != 0
def check_exec_10_at_once():
    bundle = busy()
    running = [spawn("exec", bundle.id, "sh", "-c", f"exit {n}") for n in range(10)]
    assert [r.wait(30) for r in running] == list(range(10))

# --- terminals of create
def on_console(text, size=None, **fields):
    console, bundle = Console(), Bundle(text, process(terminal=True, **fields))
    bundle.create("--console-socket", console.path)
    console.receive()
    if size:
        console.resize(*size)
    rt("start", bundle.id)
    return bundle, console
def check_console_socket_of_create():
    bundle, console = on_console("tty; stty size; read x; echo got $x; exit 4", size=(31, 77))
    console.expect(r"/dev/pts/0\r\n31 77")
    console.send("word\n")
    console.expect("got word")
    assert exit_of(bundle.pid) == 4
def check_terminal_resize_and_interrupt():
    bundle, console = on_console(f"trap 'stty size' WINCH; trap 'exit 42' INT; echo ready; {LOOP}")
    console.expect("ready")
    console.resize(44, 111)
    console.expect("44 111")
    console.send("\x03")
    assert exit_of(bundle.pid) == 42
def check_console_size_of_the_config():
    """optional: runc honours it since 1.2"""
    on_console("stty size; sleep 1", consoleSize={"height": 33, "width": 99})[1].expect("33 99")
def check_terminal_without_a_socket_is_refused():
    bundle = Bundle(LOOP, process(terminal=True))
    bundle.create(want="fail")
    assert not rt("list", "-q").stdout.split().count(bundle.id)

# --- hooks
HOST_STAGES = ["prestart", "createRuntime", "createContainer", "poststart", "poststop"]
def hook(text, *args, **more):
    return {"path": "/bin/sh", "args": ["hook", "-c", text, *args], "env": ["PATH=/usr/sbin:/usr/bin:/sbin:/bin"], **more}
def hooked(args, **stages):
    return Bundle(args, lambda c: c.update(hooks={stage: [entry] for stage, entry in stages.items()}))
def without_poststart(bundle):
    return [stage for stage in bundle.told("order").split() if stage != "poststart"]
def check_poststart_hook_after_start():
    """optional: runc runs it at the end of create"""
    bundle = hooked(LOOP, poststart=hook('cat > "$1"', "x", DIR + "/b/poststart"))
    bundle.out = DIR + "/b"
    bundle.create()
    assert not exists(bundle.out + "/poststart"), "it ran in create"
    rt("start", bundle.id)
    until(lambda: exists(bundle.out + "/poststart") and bundle.told("poststart"), "poststart hook")
    assert json.loads(bundle.told("poststart"))["status"] == "running"
def check_hooks_order_and_state():
    bundle = Bundle(LOOP, lambda c: c.update(annotations={"org.kit.note": "yes"}))
    tell = "cat > {0}/{1}; readlink /proc/self/ns/mnt > {0}/{1}.mnt; echo {1} >> {0}/order"
    bundle.config["hooks"] = {stage: [hook(tell.format(bundle.out, stage))] for stage in HOST_STAGES}
    bundle.config["hooks"]["startContainer"] = [
        {"path": "/bin/sh", "args": ["sh", "-c", "cat > /out/startContainer; echo startContainer >> /out/order"], "env": ["PATH=/bin"]}]
    bundle.save()
    bundle.create()
    assert without_poststart(bundle) == HOST_STAGES[:3], bundle.told("order")
    rt("start", bundle.id)
    until(lambda: exists(bundle.out + "/poststart.mnt"), "poststart hook")
    bundle.stop()
    bundle.delete()
    assert without_poststart(bundle) == HOST_STAGES[:3] + ["startContainer", "poststop"], bundle.told("order")
    status = {"prestart": ("creating", "created"), "createRuntime": ("creating", "created"), "createContainer": ("creating", "created"),
              "startContainer": ("created", "creating"), "poststop": ("stopped",)}
    for stage, allowed in status.items():
        state = json.loads(bundle.told(stage))
        assert state["status"] in allowed, (stage, state)
        assert state["id"] == bundle.id and state["annotations"]["org.kit.note"] == "yes" and state["bundle"] and state["ociVersion"], (stage, state)
        if stage in ("prestart", "createRuntime"):
            assert state["pid"] == bundle.pid, (stage, state, bundle.pid)
            assert bundle.told(stage + ".mnt") == os.readlink("/proc/self/ns/mnt"), f"{stage} ran in another mount namespace"
def check_hook_arguments_and_environment():
    bundle = Bundle()
    bundle.config["hooks"] = {"prestart": [{"path": "/bin/sh", "env": ["A=b", "PATH=/bin"], "args": [
        "my name", "-c", f"tr '\\0' '|' < /proc/$$/cmdline > {bundle.out}/args; env > {bundle.out}/env", "x y"]}]}
    bundle.save()
    bundle.run()
    assert bundle.told("args").startswith("my name|-c|") and bundle.told("args").endswith("|x y|"), bundle.told("args")
    names = {line.split("=")[0] for line in bundle.told("env").splitlines()} - {"PWD", "SHLVL", "_", "OLDPWD"}
    assert names == {"A", "PATH"}, names
def check_hook_that_fails_undoes_create():
    for stage in ("prestart", "createRuntime", "createContainer"):
        bundle = hooked(LOOP, **{stage: hook("echo sad >&2; exit 3")})
        bundle.create(want="fail")
        assert bundle.id not in rt("list", "-q").stdout.split(), stage
def check_hook_timeout():
    begun = time.time()
    hooked(LOOP, prestart=hook("exec sleep 60", timeout=1)).create(want="fail")
    assert time.time() - begun < 10
def check_poststop_hook_failure_is_no_error():
    bundle = hooked("true", poststop=hook("exit 3"))
    bundle.start()
    exit_of(bundle.pid)
    bundle.delete()

# --- networks
def tcp_server():
    server = socket.create_server(("0.0.0.0", 0))
    def serve():
        with contextlib.suppress(OSError):
            while True:
                peer, _ = server.accept()
                peer.sendall(b"from-host\n")
                peer.close()
    threading.Thread(target=serve, daemon=True).start()
    return server, server.getsockname()[1]

NO_NETWORK = [{"type": t} for t in ("pid", "ipc", "uts", "mount")]
VETH = """ip link add kit{n} type veth peer name eth0 netns {ns}
ip addr add 10.77.{n}.1/24 dev kit{n}; ip link set kit{n} up
nsenter --net=/proc/{pid}/ns/net sh -c 'ip addr add 10.77.{n}.2/24 dev eth0; ip link set lo up; ip link set eth0 up; ip route add default via 10.77.{n}.1'
"""
def talk(bundle, n):
    """The container sees its address and route, reaches us, and we reach it."""
    assert bundle.told("address") == f"10.77.{n}.2/24", bundle.told("address")
    assert f"default via 10.77.{n}.1" in bundle.told("route"), bundle.told("route")
    assert bundle.told("reached") == "from-host", bundle.told("reached")
    with socket.create_connection((f"10.77.{n}.2", 80), 10) as peer:
        assert peer.makefile().read() == "from-container\n"
def talker(n, port):
    return (f"ip -4 -o addr show eth0 | sed 's/.*inet \\([^ ]*\\).*/\\1/' > /out/address; ip route > /out/route; "
            f"nc -w 5 10.77.{n}.1 {port} > /out/reached; nc -ll -p 80 -e echo from-container & sleep 0.5; touch /out/up; {LOOP}")
def check_network_moved_in_by_a_prestart_hook():
    server, port = tcp_server()
    find_pid = "set -e; pid=$(grep -o '\"pid\": *[0-9]*' | grep -o '[0-9]*$'); "
    bundle = hooked(talker(1, port), prestart=hook(find_pid + VETH.format(n=1, ns="$pid", pid="$pid")))
    bundle.start()
    until(lambda: exists(bundle.out + "/up"), "the container's network", 20)
    talk(bundle, 1)
    server.close()
def check_network_namespace_by_path():
    server, port = tcp_server()
    shell("ip netns add kit; ip netns exec kit sleep 100 >/dev/null 2>&1 & echo $! > " + DIR + "/nspid; sleep 0.2")
    pid = int(open(DIR + "/nspid").read())
    shell(VETH.format(n=2, ns="kit", pid=pid))
    bundle = started(talker(2, port), linux(namespaces=[*NO_NETWORK, {"type": "network", "path": "/run/netns/kit"}]))
    until(lambda: exists(bundle.out + "/up"), "the container's network", 20)
    talk(bundle, 2)
    bundle.delete("--force")
    assert "10.77.2.2" in shell("ip netns exec kit ip addr"), "the pod's address is gone after one of its containers"
    os.kill(pid, signal.SIGKILL)
    server.close()
def check_network_of_the_caller_is_left_alone():
    before = shell("ip -o addr; ip route")
    bundle = Bundle("ls /sys/class/net", linux(namespaces=NO_NETWORK))
    bundle.run(want=None)
    bundle.delete("--force")
    assert shell("ip -o addr; ip route") == before

# --- list, ps, pause, update, events
def check_list_formats():
    assert rt("list", "-q").stdout == "" and json.loads(rt("list", "--format", "json").stdout or "null") in (None, [])
    bundle = busy()
    assert bundle.id in rt("list").stdout and "STATUS" in rt("list").stdout
    assert rt("list", "-q").stdout.split() == [bundle.id]
    entry, = json.loads(rt("list", "--format", "json").stdout)
    assert entry["id"] == bundle.id and entry["pid"] == bundle.pid and entry["status"] == "running" and entry["bundle"] and entry["created"]
def check_ps_formats():
    bundle = busy()
    pids = json.loads(rt("ps", "--format", "json", bundle.id).stdout)
    assert all(isinstance(p, int) for p in pids) and any(exists(f"/proc/{p}") for p in pids), pids   # short-lived ones may be gone
    assert "PID" in rt("ps", bundle.id).stdout
def check_pause_and_resume():
    bundle = Bundle("i=0; while :; do i=$((i+1)); echo $i > /out/.n; mv /out/.n /out/n; sleep 0.05; done")
    bundle.start()
    until(lambda: exists(bundle.out + "/n"), "the container runs")
    rt("pause", bundle.id)
    assert bundle.status() == "paused"
    seen = bundle.told("n")
    time.sleep(0.7)
    assert bundle.told("n") == seen, "it went on while paused"
    rt("resume", bundle.id)
    assert bundle.status() == "running"
    until(lambda: bundle.told("n") != seen, "it goes on")
    rt("pause", bundle.id)
    bundle.delete("--force")
    assert exit_of(bundle.pid) == 137
def check_update_by_flags():
    bundle = busy(linux(resources={"memory": {"limit": 200 << 20}}))
    rt("update", "--memory", str(100 << 20), "--pids-limit", "55", bundle.id)
    assert memory_limit(bundle) == 100
    assert int(group_value(bundle, "pids", "pids.max", "pids.max")) >= 55   # a runtime may need threads of its own
def check_update_by_json_as_docker_does():
    bundle = busy(linux(resources={"memory": {"limit": 200 << 20}}))
    text = {"memory": {"limit": 150 << 20, "reservation": 0, "kernel": 0}, "cpu": {"shares": 0, "quota": 50000, "period": 100000},
            "blockIO": {"weight": 0}}
    json.dump(text, open(bundle.path + "/update.json", "w"))
    rt("update", "--resources", "-", bundle.id, stdin=open(bundle.path + "/update.json"))
    assert memory_limit(bundle) == 150
    assert group_value(bundle, "cpu", "cpu.cfs_quota_us", "cpu.max") == "50000"
    text["memory"]["limit"] = 120 << 20
    json.dump(text, open(bundle.path + "/update.json", "w"))
    rt("update", f"--resources={bundle.path}/update.json", bundle.id)
    assert memory_limit(bundle) == 120
def check_events_stats():
    event = json.loads(rt("events", "--stats", busy().id).stdout)
    assert event["type"] == "stats" and event["data"]["memory"]["usage"]["usage"] > 0, event
    assert event["data"]["cpu"]["usage"]["total"] > 0 and event["data"]["pids"]["current"] > 0, event
def check_events_stream_ends_with_the_container():
    bundle = busy()
    stream = spawn("events", "--interval", "1s", bundle.id, stdout=subprocess.PIPE, text=True)
    assert json.loads(stream.stdout.readline())["type"] == "stats"
    bundle.stop()
    bundle.delete()
    assert stream.wait(20) is not None

# --- descriptors, environment
def with_fds(text, *args):
    return subprocess.run(["bash", "-c", text + '; exec "$@"', "_", *command(*args)], stdin=subprocess.DEVNULL,
                          capture_output=True, text=True, timeout=30)
def check_preserve_fds():
    bundle = Bundle("cat <&3")
    done = with_fds(f"exec 3<{DIR}/rootfs/etc/group", "run", "--preserve-fds", "1", "--bundle", bundle.path, bundle.id)
    assert done.returncode == 0 and "app:x:1000" in done.stdout, (done.returncode, done.stdout, done.stderr)
def check_other_fds_stay_outside():
    bundle = Bundle("ls /proc/self/fd | wc -l")
    done = with_fds("exec 3</etc/passwd 4</ 9</etc", "run", "--bundle", bundle.path, bundle.id)
    assert done.stdout.strip() == "4", done.stdout                       # 0, 1, 2, and that of ls
def check_socket_activation():
    bundle = Bundle("cat <&3; echo $LISTEN_FDS")
    done = with_fds(f"exec 3<{DIR}/rootfs/etc/group; export LISTEN_FDS=1 LISTEN_PID=$$", "run", "--bundle", bundle.path, bundle.id)
    assert "app:x:1000" in done.stdout and done.stdout.endswith("\n1\n"), (done.stdout, done.stderr)
def check_environment_is_the_bundles():
    bundle = Bundle(["env"], process(env=["PATH=/bin", "A=b c"]))
    done = bundle.run(env={**os.environ, "LEAK": "1"})
    assert {line.split("=")[0] for line in done.stdout.splitlines()} <= {"PATH", "A", "HOME"} and "A=b c" in done.stdout, done.stdout
def check_umask_is_not_the_callers():
    bundle = Bundle("umask")
    done = subprocess.run(["sh", "-c", 'umask 077; exec "$@"', "_", *command("run", "--bundle", bundle.path, bundle.id)],
                          stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=30)
    assert done.stdout.strip() == "0022", done.stdout

# --- errors
def check_log_is_json_with_the_cause():
    open(LOG, "w").close()
    Bundle(["no-such-program"]).run(want="fail")
    for line in open(LOG):
        assert {"level", "msg", "time"} <= set(json.loads(line)), line
    error = last_error()
    assert "no-such-program" in error and ("executable file not found" in error or "no such file or directory" in error), error
def check_not_executable_is_permission_denied():
    Bundle(["/etc/passwd"]).run(want="fail")
    assert "permission denied" in last_error(), last_error()
def check_failed_start_leaves_nothing():
    bundle = Bundle(["/no/such"])
    if bundle.create(want=None):
        rt("start", bundle.id, want="fail")
        exit_of(bundle.pid)
    bundle.delete("--force")
def check_bad_bundles_are_refused():
    bad = {
        "no config": lambda b: os.unlink(b.path + "/config.json"),
        "no json": lambda b: open(b.path + "/config.json", "w").write("{ nonsense"),
        "no args": lambda b: (b.config["process"].update(args=[]), b.save()),
        "no rootfs": lambda b: (b.config["root"].update(path=b.path + "/nowhere"), b.save()),
        "namespace type": lambda b: (b.config["linux"]["namespaces"].append({"type": "nonsense"}), b.save()),
        "mount source": lambda b: b.mount({"destination": "/x", "type": "bind", "source": b.path + "/nowhere", "options": ["bind"]}),
        "netns path": lambda b: (b.config["linux"].update(namespaces=[{"type": "mount"}, {"type": "network", "path": "/no/where"}]), b.save()),
    }
    for name, spoil in bad.items():
        bundle = Bundle(LOOP)
        spoil(bundle)
        open(LOG, "w").close()
        bundle.create(want=None)
        assert not bundle.pid, f"{name}: accepted"
        assert last_error(), f"{name}: no error in the log"
        assert bundle.id not in rt("list", "-q").stdout.split(), f"{name}: left in the list"

# --- concurrency and crashes
def check_create_8_at_once():
    bundles = [Bundle(f"exit {n}") for n in range(8)]
    threads = [threading.Thread(target=b.start) for b in bundles]
    [t.start() for t in threads], [t.join() for t in threads]
    assert [exit_of(b.pid) for b in bundles] == list(range(8))
def check_create_race_for_one_id():
    """optional: runc 1.1 lets two of them through now and then"""
    bundles = [Bundle(LOOP) for _ in range(6)]
    for bundle in bundles[1:]:
        bundle.id = bundles[0].id
        made.remove(bundle)
    threads = [threading.Thread(target=b.create, kwargs={"want": None}) for b in bundles]
    [t.start() for t in threads], [t.join() for t in threads]
    winners = [b for b in bundles if b.pid]
    assert len(winners) == 1, f"{len(winners)} creates of one id succeeded"
    assert winners[0].state()["pid"] == winners[0].pid
def check_state_from_before_a_reboot():
    bundle = busy()
    special = lambda where, names: [n for n in names if not os.path.isfile(f"{where}/{n}") and not os.path.isdir(f"{where}/{n}")]
    shutil.copytree(ROOT, DIR + "/kept", symlinks=True, ignore=special)
    bundle.delete("--force")
    exit_of(bundle.pid)
    shutil.copytree(DIR + "/kept", ROOT, symlinks=True, dirs_exist_ok=True)
    assert bundle.status() == "stopped"
    bundle.delete("--force")
    bundle.start()
    assert bundle.status() == "running", "the same id after it"
def check_unreadable_state_can_be_deleted():
    """optional: runc's and crun's delete --force stop at a state file they cannot read"""
    bundle, other = busy(), busy()
    for path in glob.glob(f"{ROOT}/{bundle.id}*") + glob.glob(f"{ROOT}/{bundle.id}/**", recursive=True):
        if os.path.isfile(path):
            open(path, "w").close()
    assert other.id in rt("list", "-q", want=None).stdout.split()
    bundle.delete("--force")
def check_init_killed_behind_the_runtimes_back():
    bundle = busy()
    os.kill(bundle.pid, signal.SIGKILL)
    assert exit_of(bundle.pid) == 137 and bundle.status() == "stopped"
    bundle.delete()
def check_create_killed_at_any_moment():
    for n in range(12):
        bundle = Bundle(LOOP)
        with open(bundle.path + "/stdout", "w") as out:
            running = spawn("create", "--bundle", bundle.path, "--pid-file", bundle.pid_file, bundle.id, stdout=out, stderr=out)
        time.sleep(n * 0.012)
        running.kill()
        running.wait()
        bundle.delete("--force")
        bundle.start()
        assert bundle.status() == "running", f"after a kill at {n * 12} ms"
        bundle.delete("--force")
def check_exec_killed_spares_the_container():
    bundle = busy()
    for n in range(6):
        running = spawn("exec", bundle.id, "sleep", "100", stdout=subprocess.DEVNULL)
        time.sleep(0.02 + n * 0.03)
        running.kill()
        running.wait()
    assert bundle.status() == "running" and bundle.exec("echo", "alive").stdout == "alive\n"
def check_run_killed_can_be_deleted():
    bundle, process = running_in_foreground("touch /out/up; {loop}")
    process.kill()
    process.wait()
    bundle.delete("--force")
    rt("state", bundle.id, want="fail")

# --- the configuration, field by field
IDS = {"uid": 1000, "gid": 1000, "additionalGids": [2000], "umask": 0o027}
DENY_MKDIR = {"defaultAction": "SCMP_ACT_ALLOW", "architectures": ["SCMP_ARCH_X86_64"],
              "syscalls": [{"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO", "errnoRet": 38}]}
FEW_CAPS = {"bounding": ["CAP_KILL", "CAP_CHOWN"], "effective": ["CAP_KILL"], "permitted": ["CAP_KILL"]}
ZERO_DEVICE = {"path": "/dev/mine", "type": "c", "major": 1, "minor": 5, "fileMode": 0o640, "uid": 1000, "gid": 0}
FIELDS = [  # name, shell text, change of the template, what it prints (a pattern), why a runtime may lack it
    ("hostname", "hostname", None, "box"),
    ("user_and_umask", "id -u; id -G; umask", process(user=IDS), "1000 1000 2000 0027"),
    ("cwd", "pwd", process(cwd="/home/app"), "/home/app"),
    ("rlimits", "ulimit -Sn; ulimit -Hn", process(rlimits=[{"type": "RLIMIT_NOFILE", "soft": 300, "hard": 400}]), "300 400"),
    ("oom_score_adj", "cat /proc/self/oom_score_adj", process(oomScoreAdj=300), "300"),
    ("no_new_privileges", "grep NoNewPrivs /proc/self/status", process(noNewPrivileges=True), "NoNewPrivs: 1"),
    ("capabilities", "grep -e CapBnd -e CapEff /proc/self/status", process(capabilities=FEW_CAPS), "CapEff: 0000000000000021 CapBnd: 0000000000000021"),
    ("unknown_fields_are_ignored", "echo ok", lambda c: (c.update(fromTheFuture={"x": 1}), c["linux"].update(alsoNew=[1])), "ok"),
    ("root_readonly", "touch /x 2>&1 || true", None, ".*ead-only.*"),
    ("root_writable", "touch /data/x && echo ok; rm /data/x", lambda c: c["root"].update(readonly=False), "ok"),
    ("masked_paths", "cat /proc/uptime | wc -c; ls /proc/fs | wc -l", linux(maskedPaths=["/proc/uptime", "/proc/fs", "/proc/no-such"]), "0 0"),
    ("readonly_paths", "echo 1 2>&1 > /proc/sys/kernel/shmmni || echo refused", linux(readonlyPaths=["/proc/sys"]), ".*refused"),
    ("device", "head -c 3 /dev/mine | wc -c; stat -c '%a %u' /dev/mine", linux(devices=[ZERO_DEVICE]), "3 640 1000"),
    ("devices_by_default", "cd /dev; ls -d null zero full random urandom tty ptmx fd stdin | wc -l", None, "9"),
    ("sysctl", "cat /proc/sys/kernel/msgmax", linux(sysctl={"kernel.msgmax": "4321"}), "4321"),
    ("seccomp", "mkdir /tmp/x 2>&1 || true", linux(seccomp=DENY_MKDIR), ".*ot implemented.*"),
    ("domainname", "cat /proc/sys/kernel/domainname", lambda c: c.update(domainname="kit.example"), "kit.example", "spec 1.1: runc since 1.2"),
    ("time_namespace", "cut -c1-4 /proc/uptime", lambda c: (c["linux"]["namespaces"].append({"type": "time"}), c["linux"].update(
        timeOffsets={"boottime": {"secs": 900_000_000, "nanosecs": 0}})), "900.", "spec 1.1: runc since 1.2; Docker's default since 29.5"),
    ("scheduler", "set -- $(cat /proc/self/stat); echo ${41}", process(scheduler={"policy": "SCHED_BATCH"}), "3", "spec 1.1: runc since 1.2"),
    ("io_priority", "ionice -p $$", process(ioPriority={"class": "IOPRIO_CLASS_BE", "priority": 6}), ".*prio 6", "spec 1.1: runc since 1.2"),
    ("idmapped_mount", "stat -c %u /ids", lambda c: c["mounts"].append({"destination": "/ids", "type": "bind", "source": DIR + "/home",
        "options": ["rbind", "idmap"], "uidMappings": [{"containerID": 0, "hostID": 5000, "size": 10}],
        "gidMappings": [{"containerID": 0, "hostID": 5000, "size": 10}]}), "5000", "spec 1.2: runc since 1.2; a kernel with idmapped mounts"),
]
def field_check(text, change, pattern, why=""):
    def run():
        printed = " ".join(in_container(text, change).split())
        assert re.fullmatch(pattern, printed), printed or "printed nothing"
    run.__doc__ = "optional: " + why if why else None
    return run

for field, *rest in FIELDS:
    globals()["check_field_" + field] = field_check(*rest)
def check_program_by_relative_path_and_path_variable():
    assert Bundle(["echo", "x"], process(env=["PATH=/no:/bin"])).run().stdout == "x\n"
    assert Bundle(["bin/echo", "y"]).run().stdout == "y\n"
def check_mounts():
    with open(DIR + "/single", "w") as file:
        file.write("one\n")
    bundle = Bundle("cat /etc/group2; touch /ro/x 2>&1 | grep -o Read-only; df -k /small | awk 'NR==2 {print $2}'; "
                    "echo '#!/bin/sh' > /small/x; chmod +x /small/x; /small/x 2>&1 | grep -o denied; echo ok > /made/new/x; cat /made/new/x",
                    lambda c: c["root"].update(readonly=False))
    bundle.mount({"destination": "/etc/group2", "type": "bind", "source": DIR + "/single", "options": ["bind", "ro"]})
    bundle.mount({"destination": "/ro", "type": "bind", "source": bundle.out, "options": ["rbind", "ro"]})
    bundle.mount({"destination": "/small", "type": "tmpfs", "source": "tmpfs", "options": ["size=4096k", "noexec", "nosuid"]})
    bundle.mount({"destination": "/made/new", "type": "bind", "source": bundle.out, "options": ["rbind"]})
    assert bundle.run().stdout.split() == ["one", "Read-only", "4096", "denied", "ok"], bundle.run(want=None).stdout
def check_cgroup_is_made_filled_and_removed():
    bundle = busy(linux(resources={"memory": {"limit": 64 << 20}, "pids": {"limit": 44}, "cpu": {"quota": 20000, "period": 100000}}))
    assert memory_limit(bundle) == 64
    assert int(group_value(bundle, "pids", "pids.max", "pids.max")) >= 44
    assert group_value(bundle, "cpu", "cpu.cfs_quota_us", "cpu.max") == "20000"
    assert str(bundle.pid) in open(group_file(bundle, "memory", "cgroup.procs", "cgroup.procs")).read().split()
    bundle.delete("--force")
    assert not exists(os.path.dirname(group_file(bundle, "memory", "x", "x"))), "the cgroup is still there"
def check_memory_limit_kills():
    assert Bundle(["tail", "/dev/zero"], linux(resources={"memory": {"limit": 32 << 20, "swap": 32 << 20}})).run(want=None).returncode == 137
def check_pids_limit_stops_forks():
    assert "fork" in Bundle("for i in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15; do sleep 1 & done",
                            linux(resources={"pids": {"limit": 8}})).run(want=None).stderr
def check_exec_cpu_affinity():
    """optional: runtime-spec 1.3: runc since 1.3 or 1.4"""
    bundle = busy(process(execCPUAffinity={"initial": "0", "final": "0"}))
    assert bundle.exec("grep", "Cpus_allowed_list", "/proc/self/status").stdout.split()[-1] == "0"

# --- all of them, one by one
def tidy():
    for bundle in made:
        subprocess.run(command("delete", "--force", bundle.id), stdin=subprocess.DEVNULL, capture_output=True, timeout=30)
    made.clear()
def matches(name, pattern):
    """pattern: as bash's, but of @(a|b) only around the whole."""
    inner = re.fullmatch(r"@\((.*)\)", pattern)
    return any(fnmatch.fnmatch(name, one) for one in (inner[1].split("|") if inner else [pattern]))
def out_of_time(*_):
    raise AssertionError("not done within its time")
def main():
    counts = {"ok": 0, "not ok": 0, "skip": 0}
    signal.signal(signal.SIGALRM, out_of_time)
    os.chdir(DIR)
    threading.Thread(target=reap_orphans, daemon=True).start()
    for name, function in [(n[6:].replace("_", "-"), f) for n, f in globals().items() if n.startswith("check_")]:
        why = (function.__doc__ or "").removeprefix("optional: ")
        if not matches(name, os.environ.get("KIT_ONLY") or "*") or matches(name, os.environ.get("KIT_SKIP") or "-"):
            continue
        verdict, reason = "ok", ""
        signal.alarm(int(os.environ.get("KIT_STEP") or 120))
        try:
            function()
        except Exception as error:  # whatever a runtime makes a check stumble over is that check's failure
            text = str(error) or f"line {error.__traceback__.tb_next.tb_lineno}"
            verdict, reason = ("skip" if why else "not ok"), f": {why + ': ' if why else ''}{type(error).__name__} {text}"
        signal.alarm(0)
        with contextlib.suppress(subprocess.TimeoutExpired):
            tidy()
        counts[verdict] += 1
        print(f"{verdict} {name}" + " ".join(reason.split())[:500].replace(":", ": ", 1).replace("  ", " "), flush=True)
    null = os.stat("/dev/null")
    kept = null.st_uid == 0 and null.st_mode & 0o777 == 0o666
    counts["ok" if kept else "not ok"] += 1
    print("ok dev-null-kept" if kept else f"not ok dev-null-kept: owner {null.st_uid}, mode {null.st_mode:o}")
    print(f"{counts['ok']} passed, {counts['not ok']} failed, {counts['skip']} skipped")
    sys.exit(counts["not ok"] != 0)

main()
