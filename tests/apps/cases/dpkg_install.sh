# A local package is built, installed, listed, verified and removed.
set -e
mkdir -p /tmp/package/DEBIAN /tmp/package/usr/local/share/hello && cd /tmp
printf 'Package: hello-test\nVersion: 1.0\nArchitecture: all\nMaintainer: T <t@example.org>\nDescription: a test\n' >package/DEBIAN/control
printf '#!/bin/sh\necho "configured with $1"\n' >package/DEBIAN/postinst && chmod 755 package/DEBIAN/postinst
for i in $(seq 30); do echo "file $i" >package/usr/local/share/hello/$i; done
dpkg-deb --root-owner-group -b package hello.deb >/dev/null
cp -a /var/lib/dpkg /tmp/dpkg-before
touch -r /usr/local/share /tmp/share-before
dpkg -i hello.deb 2>&1 | grep -v 'Reading database'
dpkg -s hello-test | grep Status; dpkg -L hello-test | wc -l; dpkg -V hello-test; cat /usr/local/share/hello/7
dpkg -P hello-test 2>&1 | grep -v 'Reading database'; dpkg -s hello-test >/dev/null 2>&1 || echo gone
rm -rf /var/lib/dpkg && cp -a /tmp/dpkg-before /var/lib/dpkg
touch -r /tmp/share-before /usr/local/share  # ls_tree_hash sees it
