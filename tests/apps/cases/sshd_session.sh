# sshd on loopback: a command, its exit code, a terminal, and a file copied through it. PAM's login modules are part of it.
mkdir -p /run/sshd /tmp/home/.ssh && chmod 700 /tmp/home/.ssh
ssh-keygen -q -t ed25519 -N '' -f /tmp/host_key && ssh-keygen -q -t ed25519 -N '' -f /tmp/key && cp /tmp/key.pub /tmp/home/.ssh/authorized_keys
/usr/sbin/sshd -f /dev/null -p 2222 -h /tmp/host_key -o ListenAddress=127.0.0.1 -o AuthorizedKeysFile=/tmp/home/.ssh/authorized_keys -o StrictModes=no -o PidFile=/tmp/sshd.pid -o PermitRootLogin=yes -o UsePAM=yes \
    -o Subsystem='sftp internal-sftp'
echo "sshd $?"
options="-i /tmp/key -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null -o LogLevel=ERROR"
remote() { ssh -p 2222 $options "$@"; }
remote root@127.0.0.1 'echo command; cat /proc/self/loginuid; echo; exit 5'
echo "code $?"
echo input | remote root@127.0.0.1 'tr a-z A-Z'
remote -tt root@127.0.0.1 'tty >/dev/null && echo on a terminal; stty size >/dev/null && echo with a size' | tr -d '\r'
scp -q -P 2222 $options /usr/bin/perl root@127.0.0.1:/tmp/copy && cmp /usr/bin/perl /tmp/copy && echo copied
remote -N -L 127.0.0.1:2223:127.0.0.1:2222 root@127.0.0.1 & tunnel=$!
for i in $(seq 50); do ssh-keyscan -p 2223 127.0.0.1 >/dev/null 2>&1 && break; sleep 0.1; done
ssh -p 2223 $options root@127.0.0.1 'echo through a tunnel'
kill $tunnel; wait $tunnel 2>/dev/null
kill "$(cat /tmp/sshd.pid)"; for i in $(seq 100); do [ -e /tmp/sshd.pid ] || break; sleep 0.1; done; [ -e /tmp/sshd.pid ] || echo ended
rmdir /run/sshd; rm -f /run/motd.dynamic  # the root stays as it was
