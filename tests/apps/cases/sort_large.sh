awk 'BEGIN { s = 1; for (i = 0; i < 200000; i++) { s = (s * 16807) % 2147483647; print s } }' > /tmp/numbers
sort -n /tmp/numbers | sha256sum
sort --parallel=2 -S 1M /tmp/numbers | uniq | wc -l
sort -R --random-source=/tmp/numbers /tmp/numbers | head -n 1000 | sha256sum
