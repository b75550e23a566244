for i in $(seq 1 300); do /bin/true; done; echo "300 programs: $?"
seq 1 200 | xargs -n 1 -P 8 echo | sort -n | sha256sum
find /etc -type f | sort | head -n 100 | while read -r f; do basename "$f"; done | sha256sum
