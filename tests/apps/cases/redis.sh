# redis-server asked by redis-cli and redis-benchmark, persistence and restart included.
cd /tmp && mkdir redis && cd redis
redis-server --port 6390 --dir /tmp/redis --daemonize yes --save '' --appendonly yes --logfile log >/dev/null
cli() { redis-cli -p 6390 "$@"; }
for i in $(seq 100); do [ "$(cli ping 2>/dev/null)" = PONG ] && break; sleep 0.1; done
cli set key value; cli get key; cli incrby counter 41; cli incr counter; cli lpush list a b c; cli lrange list 0 -1; cli hset h f 1 g 2; cli hgetall h
cli eval 'local s = 0; for i = 1, 1000 do s = s + i end; return s' 0
redis-benchmark -p 6390 -n 2000 -c 20 -t set,get,lpush -q 2>&1 | tr '\r' '\n' | sed -n 's/^\([A-Z]*\): [0-9.]* requests per second.*/\1 done/p' | sort -u
cli bgsave >/dev/null; for i in $(seq 100); do cli info persistence | grep -q rdb_bgsave_in_progress:0 && break; sleep 0.1; done; cli info persistence | grep -a rdb_last_bgsave_status | tr -d '\r'
cli shutdown; for i in $(seq 100); do pgrep redis-server >/dev/null || break; sleep 0.1; done
redis-server --port 6390 --dir /tmp/redis --daemonize yes --save '' --appendonly yes --logfile log >/dev/null
for i in $(seq 100); do [ "$(cli ping 2>/dev/null)" = PONG ] && break; sleep 0.1; done
cli get key; cli get counter; cli shutdown
