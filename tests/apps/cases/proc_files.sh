# Only what must not differ.
cat /proc/self/comm
tr '\0' ' ' < /proc/self/cmdline; echo
readlink /proc/self/exe
ls /proc/self/fd | head -n 3
grep -c processor /proc/cpuinfo > /dev/null && echo cpuinfo
awk '/^(MemTotal|MemFree|SwapTotal):/ { print $1, $3 }' /proc/meminfo
awk '{ print NF }' /proc/uptime
awk '$2 == "/proc" { print $1, $3 }' /proc/mounts
grep -E '^(Name|State|Threads|Uid|Gid):' /proc/self/status
ps -o comm= -p $$ 2>/dev/null || cat /proc/$$/comm
