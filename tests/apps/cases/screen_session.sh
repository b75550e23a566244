# GNU screen: a detached session that is typed into and looked at; its terminals are masters in packet mode.
export HOME=/tmp SCREENDIR=/tmp/screens TERM=xterm; mkdir -m 700 $SCREENDIR; cd /tmp
screen -dmS work bash --norc --noprofile
for i in $(seq 100); do screen -S work -Q windows >/dev/null 2>&1 && break; sleep 0.1; done
type_line() { screen -S work -X stuff "$1"$'\n'; }
type_line 'tty >/tmp/terminal; stty -a | grep -o "ixon" >>/tmp/terminal; echo $((6 * 7)) >>/tmp/terminal; touch /tmp/typed'
for i in $(seq 100); do [ -e typed ] && break; sleep 0.1; done; cat terminal
type_line 'clear; seq 3'; sleep 0.5; screen -S work -X hardcopy /tmp/copy; sleep 0.5; grep -x '[0-9]' copy
screen -S work -X screen sh -c 'echo second >/tmp/second'; for i in $(seq 100); do [ -s second ] && break; sleep 0.1; done; cat second
screen -S work -X quit; for i in $(seq 100); do pgrep -x screen >/dev/null || break; sleep 0.1; done; screen -ls | head -1
