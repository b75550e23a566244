# sqlite3: inserts with and without an index, range queries, updates, joins, deletes, vacuum, in rollback and WAL mode.
set -e
cd /tmp
for mode in delete wal; do
    sqlite3 speed-$mode.db <<SQL
PRAGMA journal_mode=$mode;
CREATE TABLE t1(a INTEGER, b INTEGER, c TEXT);
WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM n WHERE i < 5000) INSERT INTO t1 SELECT i, (i*7919)%10007, 'text ' || i FROM n;
BEGIN; WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM n WHERE i < 20000) INSERT INTO t1 SELECT i+5000, (i*104729)%10007, printf('%032d', i) FROM n; COMMIT;
SELECT count(*), avg(b) FROM t1 WHERE b >= 1000 AND b < 2000;
CREATE INDEX i1 ON t1(b);
SELECT count(*), sum(b) FROM t1 WHERE b >= 1000 AND b < 2000;
UPDATE t1 SET c = c || '!' WHERE b < 3000;
CREATE TABLE t2 AS SELECT b AS k, count(*) AS n FROM t1 GROUP BY b;
SELECT count(*), sum(t1.a * t2.n) FROM t1 JOIN t2 ON t1.b = t2.k;
DELETE FROM t1 WHERE c LIKE '%9%';
SELECT count(*), length(group_concat(c)) FROM t1;
VACUUM; PRAGMA integrity_check;
SQL
    sqlite3 speed-$mode.db .dump | sha256sum
done
for i in $(seq 10); do sqlite3 speed-delete.db "INSERT INTO t2 VALUES($i, $i)"; done & for i in $(seq 10); do sqlite3 -cmd '.timeout 20000' speed-delete.db "INSERT INTO t2 VALUES(-$i, $i)"; done; wait
sqlite3 speed-delete.db "SELECT count(*) FROM t2 WHERE k < 0"
