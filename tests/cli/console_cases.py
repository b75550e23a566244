"""What a user at a shell does to the terminal: keys that stop and end, jobs in the background."""
import time

from support import Terminal, sandbox


def shell_on_terminal(world):
    terminal = Terminal(world, "run", world.bundle(["/bin/sh"], terminal=True).path)
    terminal.expect("# ")
    return terminal


@sandbox
def test_tty_stop_and_end_of_file_keys(world):
    terminal = shell_on_terminal(world)
    try:
        terminal.send("stty -echo; cat; echo code $?\r")
        time.sleep(0.5)
        terminal.send("\x13line\r")
        time.sleep(0.3)
        terminal.read_more()
        assert "line" not in terminal.text, f"output goes on after ^S: {terminal.text!r}"
        terminal.send("\x11")
        terminal.expect("line\r\n")
        terminal.send("\x04")
        terminal.expect("code 0")
        terminal.send("exit\r")
        assert terminal.wait() == 0
    finally:
        terminal.close()


@sandbox
def test_tty_name_and_background(world):
    terminal = shell_on_terminal(world)
    try:
        terminal.send("tty; test -c /dev/console && echo is-there\r")
        terminal.expect("/dev/pts/0\r\n")
        terminal.expect("is-there")
        terminal.send("cat &\r")
        terminal.expect("# ")
        time.sleep(0.3)
        terminal.send("jobs\r")
        terminal.expect("Stopped (tty input)")
        terminal.send("kill -9 %1; sleep 0.3\r")
        terminal.expect("# ")
        terminal.send("\r")  # the shell notices the end of the job before a prompt
        terminal.expect("Killed")
        terminal.send("exit 4\r")
        assert terminal.wait() == 4
        assert terminal.is_restored()
    finally:
        terminal.close()


@sandbox
def test_tty_job_in_the_background_stops_before_it_starts_a_sandbox(world):
    bundle = world.bundle(["/bin/sh", "-c", "read line; echo got $line"], terminal=True).path
    terminal = Terminal(world, "run", bundle, command=lambda run: ["bash", "-i", "-c", f"set -m; {' '.join(run)} & sleep 2; jobs; stty size; read go; fg; echo code $?"])
    try:
        terminal.expect("Stopped")
        terminal.expect("30 90")
        assert len(world.processes()) == 1, f"more than the command itself: {world.processes()}"
        terminal.send("\r")
        world.pid_of("kvmsbx-gofer")
        terminal.send("text\r")
        terminal.expect("got text")
        terminal.expect("code 0")
        assert terminal.wait() == 0
        assert terminal.is_restored()
    finally:
        terminal.close()
