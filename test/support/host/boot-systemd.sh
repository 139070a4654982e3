#!/usr/bin/env bash
# boot-systemd.sh ROOT CGROUP: systemd as process 1 of namespaces of its own, in the control group CGROUP of cgroup2's root.
# Ends when its standard input does.
set -euo pipefail
root=$1 cgroup=$2

# in_cgroups COMMAND...: with the tree of control groups in $tree
in_cgroups() {
  tree=$(mktemp -d)
  mount -t cgroup2 none "$tree"
  "$@" || true
  umount "$tree"
  rmdir "$tree"
}
join() { mkdir -p "$tree/$cgroup" && echo $$ > "$tree/$cgroup/cgroup.procs"; }
# What was killed takes a moment to go.
leave() {
  echo $$ > "$tree/cgroup.procs"
  for _ in {1..50}; do
    find "$tree/$cgroup" -depth -type d -exec rmdir {} + 2> /dev/null && return
    sleep 0.1
  done
  echo "the control group $cgroup stays" >&2
}

boot() {
  mount -t proc proc "$root/proc"
  mount -t sysfs -o ro sysfs "$root/sys"
  mount -t cgroup2 none "$root/sys/fs/cgroup"
  mount -t tmpfs -o mode=755 tmpfs "$root/run"
  mount -t tmpfs -o mode=755 tmpfs "$root/dev"
  local device
  for device in null zero full random urandom tty; do
    touch "$root/dev/$device"
    mount --bind "/dev/$device" "$root/dev/$device"
  done
  mkdir -p "$root/dev/pts" "$root/dev/shm"
  mount -t devpts devpts "$root/dev/pts"
  ln -s /proc/self/fd "$root/dev/fd"
  exec env -i PATH=/usr/sbin:/usr/bin container=other chroot "$root" /lib/systemd/systemd --unit=basic.target < /dev/null
}
export -f boot
export root

in_cgroups join
unshare --mount --pid --fork --kill-child --cgroup --uts --ipc --net --propagation private bash -c boot &
systemd=$!
cat > /dev/null || true
kill -KILL "$systemd" 2> /dev/null || true
wait "$systemd" 2> /dev/null || true
in_cgroups leave
