# strace inside: calls of a program and its children, a filter by seccomp-bpf, counts, a running process that is attached to.
mkdir -p /tmp/strace && cd /tmp/strace || exit 1
calls() { sed -E 's/^[0-9]+ +//; s/0x[0-9a-f]+/ADDRESS/g; s/(si_pid|si_uid|pid|si_utime|si_stime)=[0-9]+/\1=N/g' "$1"; }
echo one >file
strace -o log -e trace=openat,read,write,close,exit_group cat file
calls log | grep -A4 '"file"'
strace -f -o log -e trace=execve,exit_group,kill,chdir sh -c 'cd / && (exit 3); kill -TERM $$ & wait; true' 2>/dev/null
# Two processes may end at the same time: one line then says "unfinished".
calls log | grep -v '^+++\|^---\|^<' | sed 's/^exit_group(\([0-9]*\).*/exit_group(\1)/' | sort | uniq -c | sed 's/kill([0-9]*/kill(PID/'
strace --seccomp-bpf -f -o log -e trace=mkdir,rmdir sh -c 'mkdir a; rmdir a; echo done'
calls log | grep -E '^(mkdir|rmdir)'
strace -c -o log -e trace=write sh -c 'for i in 1 2 3 4 5 6 7; do echo $i; done' >/dev/null
awk '$NF == "write" { print $(NF - 1), $NF }' log
strace -o log -e inject=getcwd:error=ENOENT:when=1+ -e trace=getcwd /bin/pwd -P 2>&1 | sed 's/.*: //'
strace -o log -e trace=none sh -c 'kill -SEGV $$'
echo "code $?"
calls log | sed 's/{si_signo=\([A-Z]*\).*/\1/'
sleep 1000 &
strace -o log -p $! -e trace=none 2>/dev/null &
for i in $(seq 50); do grep -q "TracerPid:[^0-9]*[1-9]" /proc/$!/status /proc/$(pgrep -n sleep)/status 2>/dev/null && break; sleep 0.1; done
kill %1
wait
calls log | sed 's/{si_signo=\([A-Z]*\).*/\1/'
