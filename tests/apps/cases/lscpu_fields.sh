# lscpu: the parts that any x86-64 machine has.
[ -r /sys/devices/system/cpu/online ] || mount -t sysfs -o ro sysfs /sys 2>/dev/null
lscpu | grep -oE '^(Architecture|CPU op-mode\(s\)|Byte Order|CPU\(s\)|Vendor ID|Model name):'
lscpu | awk -F': +' '/^Architecture:/ || /^Byte Order:/ { print $2 }'
# Which one depends on the machine.
lscpu | sed -n 's/^Model name: *//p' | grep -q '[A-Za-z]' && echo "the processor has a name"
[ "$(lscpu -p=CPU | grep -vc '^#')" = "$(nproc --all)" ] && echo "a row for each CPU"
# Without a namespace of its own the tool says which it is in.
readlink /proc/self/ns/uts | sed 's/[0-9][0-9]*/N/'
[ "$(readlink /proc/self/ns/pid)" = "$(readlink /proc/1/ns/pid)" ] && echo "one pid namespace"
