tar cz -C / etc usr/share/perl5 2>/dev/null | tar tz | sort | sha256sum
tar c -C /usr/lib --sort=name python3* | sha256sum
mkdir /tmp/out && tar c -C /usr/share zoneinfo 2>/dev/null | tar x -C /tmp/out
diff -r /usr/share/zoneinfo /tmp/out/zoneinfo > /dev/null 2>&1; echo "same: $?"
gzip -c /bin/bash | gunzip | cmp - /bin/bash && echo "gzip ok"
