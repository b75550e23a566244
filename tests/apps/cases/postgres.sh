# PostgreSQL: initdb, server, SQL, pgbench with several clients, fast shutdown, recovery after a crash.
bin=$(echo /usr/lib/postgresql/*/bin) && mkdir /tmp/pg && chown postgres /tmp/pg && cd /tmp/pg
as() { runuser -u postgres -- "$@"; }
as $bin/initdb -D /tmp/pg/data -A trust --no-locale -E UTF8 | grep -E '^(selecting|creating|fixing)' | grep -v 'max_conn\|shared_buffers\|time zone' | sed 's/ ... .*//'
start() { as $bin/pg_ctl -D /tmp/pg/data -o "-k /tmp/pg -c listen_addresses=127.0.0.1 -p 5499" -l /tmp/pg/log -w -t 300 start >/dev/null && echo started; }
start
sql() { as $bin/psql -h /tmp/pg -p 5499 -d postgres -At -c "$1"; }
sql "CREATE TABLE t AS SELECT i, md5(i::text) AS h FROM generate_series(1, 10000) i"; sql "CREATE INDEX ON t(h)"; sql "SELECT count(*), max(h) FROM t WHERE h > 'f'"
as $bin/pgbench -h 127.0.0.1 -p 5499 -i -s 1 -q postgres 2>&1 | tail -1 | sed 's/[0-9.]* s.*//'
as $bin/pgbench -h 127.0.0.1 -p 5499 -c 4 -j 2 -t 25 postgres 2>&1 | grep -E 'processed|failed'
sql "SELECT sum(abalance) = (SELECT sum(bbalance) FROM pgbench_branches) FROM pgbench_accounts"
kill -9 $(head -1 data/postmaster.pid); for i in $(seq 100); do pgrep -u postgres >/dev/null || break; sleep 0.1; done
rm -f data/postmaster.pid; start; sql "SELECT count(*) FROM pgbench_history"
as $bin/pg_ctl -D /tmp/pg/data -m fast -w -t 300 stop | tail -1
