# One database, a write-ahead log, several processes that write and one that reads.
writers=${WRITERS:-3} rows=${ROWS:-100}
python3 ../scripts/sqlite-writer.py 0 1
for who in $(seq "$writers"); do
  python3 ../scripts/sqlite-writer.py "$who" "$rows" &
done
while sqlite3 -cmd '.timeout 100000' db 'select count(*) from t' > count; do
  test -n "$(jobs -r)" || break
done
wait
test "$(sqlite3 db 'pragma integrity_check')" = ok
test "$(sqlite3 db 'select count(*) from t')" = $((writers * rows + 1))
test "$(sqlite3 db 'pragma wal_checkpoint(truncate)')" = '0|0|0'
test "$(sqlite3 db 'vacuum; pragma integrity_check')" = ok
