"""For each line of input adds a row to what sqlite-writer.py made, and answers once that is committed and synced: sqlite-teller.py WHO."""
import sqlite3, sys

who = int(sys.argv[1])
db = sqlite3.connect("db", timeout=100)
db.execute("pragma synchronous=full")
for line in sys.stdin:
    n = int(line)
    db.execute("insert into t values (?, ?, zeroblob(?))", (who, n, n * 777 % 5000))
    db.commit()
    print(n, flush=True)
