# Tools that read /proc: that they understand it, not which numbers they find.
export HOME=/tmp  # top makes a folder there, and other cases list the root
fields() { awk -v row="$1" 'NR == row { print NF }'; }
echo "== top"
top -b -n 1 | sed -n '1p' | grep -cE '^top - [0-9:]+ up .*load average: [0-9.]+, [0-9.]+, [0-9.]+$'
top -b -n 1 | grep -cE '^Tasks: +[0-9]+ total, +[0-9]+ running, +[0-9]+ sleeping'
top -b -n 1 | grep -cE '^%Cpu\(s\): *[0-9.]+ us, *[0-9.]+ sy, .* id,'
top -b -n 1 | grep -cE '^MiB Mem : +[0-9.]+ total, +[0-9.]+ free, +[0-9.]+ used'
top -b -n 1 -p $$ | tail -n 1 | awk '{ print NF, $2, $NF }'
echo "== ps"
ps -o pid,ppid,user,stat,comm -p $$ | tail -n 1 | awk -v pid=$$ '{ print ($1 == pid), $3, $5 }'
ps aux | head -n 1
ps -o rss=,vsz=,nlwp=,ni=,pri=,cls= -p $$ | awk '{ print ($1 > 0), ($2 > $1), $3, $4, $5, $6 }'
ps -eo pid= | grep -cw $$
ps -o min_flt=,maj_flt=,etimes=,time= -p $$ | awk '{ print ($1 > 0), NF }'
sleep 60 &
until [ "$(cat /proc/$!/comm)" = sleep ]; do :; done  # bash until its execve
ps -o comm=,args= -p $! | awk '{ print $1, $2, $3 }'
pgrep -P $$ -x sleep | grep -cx $!
pgrep -f 'sleep 60' | grep -cx $!
kill $!
wait $! 2>/dev/null
echo "== free"
free -b | awk 'NR == 1 { print } NR > 1 { print $1, NF } /^Mem:/ { print ($2 >= $3), ($2 >= $7) }'
echo "== vmstat"
vmstat | sed -n '1,2p' | tr -s ' -' | head -c 16; echo
vmstat | fields 3
vmstat -s | grep -cE 'K total memory|context switches|boot time|forks'
echo "== uptime"
uptime -p | cut -d' ' -f1
uptime | grep -cE 'load average: [0-9.]+, [0-9.]+, [0-9.]+$'
echo "== cpus"
[ "$(nproc)" = "$(grep -c '^processor' /proc/cpuinfo)" ] && echo "nproc agrees with cpuinfo"
[ "$(nproc --all)" = "$(getconf _NPROCESSORS_CONF)" ] && echo "nproc agrees with getconf"
echo "== sysctl"
sysctl -n kernel.ostype kernel.ngroups_max kernel.overflowuid vm.overcommit_ratio
echo "== limits"
prlimit --pid $$ --nofile --output=SOFT --noheadings | tr -d ' '
grep -c '^Max ' /proc/$$/limits
echo "== pmap"
pmap $$ | tail -n 1 | awk '{ print $1 }'
