# On the root file system itself, which is the gofer's.
mkdir /var/tmp/case && cd /var/tmp/case || exit 1
for i in $(seq 1 100); do echo "$i" > "file$i"; done
cat $(ls -v) | sha256sum
for i in $(seq 1 2 100); do rm "file$i"; done
ls | wc -l
for i in $(seq 2 2 100); do mv "file$i" "moved$i"; done
ls -v | head -n 3
dd if=/dev/zero of=big bs=1M count=20 status=none; sha256sum big; truncate -s 5 big; stat -c %s big
cp -a /etc etc; diff -r /etc etc && echo same; chown -R 5:6 etc; stat -c '%u:%g' etc/passwd
touch -d '2001-02-03 04:05:06 UTC' big; stat -c %Y big
cd /; rm -rf /var/tmp/case; ls -A /var/tmp
