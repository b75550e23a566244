find /usr/lib/python3.11 /usr/bin -type f | sort | xargs sha256sum | sha256sum
find /usr/bin -type f | sort | xargs -P 4 -n 20 md5sum | sort | sha256sum
cat /usr/lib/x86_64-linux-gnu/lib[a-c]*.so* | wc -c
