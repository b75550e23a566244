# MariaDB: installation of its tables, server, SQL by several clients at once, recovery after a crash.
mkdir -p /tmp/my /run/mysqld && chown mysql /tmp/my /run/mysqld && cd /tmp
mysql_install_db --user=mysql --datadir=/tmp/my >install.log 2>&1 || tail -5 install.log
start() {
    mariadbd --user=mysql --datadir=/tmp/my --socket=/tmp/my.sock --bind-address=127.0.0.1 --port=3399 >>my.log 2>&1 &
    for i in $(seq 300); do mariadb-admin -S /tmp/my.sock ping 2>/dev/null && break; sleep 0.1; done
}
sql() { mariadb -S /tmp/my.sock -N -e "$1" test; }
start
sql "CREATE TABLE t (i INT PRIMARY KEY AUTO_INCREMENT, h CHAR(32)) ENGINE=InnoDB; INSERT INTO t (h) SELECT MD5(seq) FROM seq_1_to_5000; CREATE INDEX h ON t (h)"
sql "CREATE USER tester@localhost IDENTIFIED BY 'secret'; GRANT ALL ON test.* TO tester@localhost"
sql "SELECT COUNT(*), MAX(h) FROM t WHERE h > 'f'"
for client in 1 2 3 4; do for i in 1 2 3 4 5; do echo "BEGIN; UPDATE t SET h = CONCAT('x', $client) WHERE i = $client * 10 + $i; COMMIT;"; done | mariadb -h 127.0.0.1 -P 3399 -u tester -psecret test & clients="$clients $!"; done; wait $clients
sql "SELECT h, COUNT(*) FROM t WHERE h LIKE 'x%' GROUP BY h"
kill -9 $(pgrep mariadbd); wait 2>/dev/null; start
sql "SELECT COUNT(*) FROM t WHERE h LIKE 'x%'; CHECK TABLE t"
mariadb-admin -S /tmp/my.sock shutdown; wait; tail -1 my.log | sed 's/.*\[Note\] //'
