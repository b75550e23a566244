"""Programs that take the whole terminal, and what a shell user does to them."""
import time

from support import Terminal, sandbox


def shell_on_terminal(world):
    terminal = Terminal(world, "run", world.bundle(["/bin/sh"], terminal=True).path)
    terminal.expect("# ")
    return terminal


@sandbox
def test_tty_vi(world):
    terminal = shell_on_terminal(world)
    try:
        terminal.send("vi /tmp/file\r")
        terminal.expect("~")
        terminal.send("ihello from vi")
        terminal.expect("hello from vi")
        terminal.send("\x1b")
        time.sleep(0.5)  # else vi takes what follows for a function key
        terminal.send(":wq\r")
        terminal.expect("# ")
        terminal.send("cat /tmp/file\r")
        terminal.expect("\r\nhello from vi\r\n")
        terminal.send("exit 3\r")
        assert terminal.wait() == 3
        assert terminal.is_restored()
    finally:
        terminal.close()


@sandbox
def test_tty_top(world):
    terminal = shell_on_terminal(world)
    try:
        terminal.send("top -d 1\r")
        terminal.expect("Load average")
        terminal.expect("top -d 1")
        terminal.expect("Load average", 5)  # the next screen
        terminal.send("q")
        terminal.expect("# ")
        terminal.send("exit\r")
        assert terminal.wait() == 0
    finally:
        terminal.close()


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
