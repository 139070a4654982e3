"""Adds N rows to the database `db`, each in a transaction of its own: sqlite-writer.py WHO N."""
import sqlite3, sys

db = sqlite3.connect("db", timeout=100)
db.execute("pragma journal_mode=wal")
db.execute("create table if not exists t (who int, n int, filler blob)")
for n in range(int(sys.argv[2])):
    db.execute("insert into t values (?, ?, zeroblob(?))", (int(sys.argv[1]), n, n % 5000))
    db.commit()
