# A database server: made, filled, loaded, crashed, recovered; its sums and the checksums of its pages are right.
bin=$(echo /usr/lib/postgresql/*/bin)
mkdir -p /dev/shm
mount -t tmpfs none /dev/shm
mkdir data
chown 1000:1000 data
as_user() { setpriv --reuid 1000 --regid 1000 --clear-groups "$@"; }
server() { as_user "$bin/pg_ctl" -D data -l /tmp/server.log -w -t 300 -o '-k /tmp -c listen_addresses=' "$@" || { cat /tmp/server.log >&2; false; }; }
ask() { as_user "$bin/psql" -h /tmp -d postgres -Atc "$1"; }
sums() {
  test "$(ask 'select (select sum(abalance) from pgbench_accounts) = (select sum(delta) from pgbench_history)
    and (select sum(tbalance) from pgbench_tellers) = (select sum(delta) from pgbench_history)
    and (select sum(bbalance) from pgbench_branches) = (select sum(delta) from pgbench_history)')" = t
}
as_user "$bin/initdb" -D data -A trust --locale=C -E UTF8 --data-checksums > /tmp/initdb.log
server start
as_user "$bin/pgbench" -h /tmp -q -i -s 1 postgres
as_user "$bin/pgbench" -h /tmp -n -c 4 -t "${TRANSACTIONS:-100}" postgres
test "$(ask 'select count(*) from pgbench_history')" = $((4 * ${TRANSACTIONS:-100}))
sums
server -m immediate stop
server start
test "$(ask 'select count(*) from pgbench_history')" = $((4 * ${TRANSACTIONS:-100}))
sums
server -m fast stop
as_user "$bin/pg_checksums" --check -D data
umount /dev/shm
