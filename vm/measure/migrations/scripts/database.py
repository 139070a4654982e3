"""
Two writers and a reader of one database with a write-ahead log, until STOP is there: database.py STOP. The reader finds
every row that was committed, and each as it was written.
"""
import os, sqlite3, sys, time, zlib

stop = sys.argv[1]
WRITERS = 2


def connect():
    return sqlite3.connect("db", timeout=300)


def write(who):
    db = connect()
    n = 0
    while n == 0 or not os.path.exists(stop):
        n += 1
        body = os.urandom(n * 777 % 5000)
        db.execute("insert into t values (?, ?, ?, ?)", (who, n, body, zlib.crc32(body)))
        db.commit()
    os._exit(0)


def check(db, least):
    """Returns the rows of each writer; all of them are there, from 1 on."""
    counts = {}
    for who, count, last in db.execute("select who, count(*), max(n) from t group by who"):
        assert count == last >= least.get(who, 0), (who, count, last, least)
        counts[who] = count
    return counts


db = connect()
assert db.execute("pragma journal_mode=wal").fetchone() == ("wal",)
db.execute("create table t (who int, n int, body blob, sum int)")
db.commit()
writers = []
for who in range(WRITERS):
    pid = os.fork()
    if pid == 0:
        write(who)
    writers.append(pid)
# A connection does not survive a fork.
db = connect()
seen = {}
while not os.path.exists(stop):
    seen = check(db, seen)
    for body, crc in db.execute("select body, sum from t order by rowid desc limit 20"):
        assert zlib.crc32(body) == crc
    time.sleep(0.2)
for pid in writers:
    assert os.waitpid(pid, 0)[1] == 0
counts = check(db, seen)
assert len(counts) == WRITERS
for body, crc in db.execute("select body, sum from t"):
    assert zlib.crc32(body) == crc
assert db.execute("pragma integrity_check").fetchone() == ("ok",)
print(f"{sum(counts.values())} rows")
