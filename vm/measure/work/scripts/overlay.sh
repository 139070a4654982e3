# The upper directory of an overlay on the share: with trusted.* attributes, then with user.* ones.
layer() {
  mkdir "$1" "$1"/{upper,work}
  mkdir -p /tmp/lower/{dir,moved,gone}
  for name in file gone/file dir/one dir/two moved/file linked; do echo lower > /tmp/lower/$name; done
  mkdir -p /tmp/merged
  mount -t overlay overlay -o "$2lowerdir=/tmp/lower,upperdir=$1/upper,workdir=$1/work" /tmp/merged
}
look() {
  test "$(cat /tmp/merged/file)" = $'lower\nupper'
  test ! -e /tmp/merged/gone
  test "$(ls /tmp/merged/dir)" = new
  test "$(cat /tmp/merged/renamed/file)" = lower
  test "$(stat -c %h /tmp/merged/link)" = 2
  test "$(cat /tmp/merged/tmpfile)" = unnamed
  test "$(getfattr --only-values -n user.a /tmp/merged/file)" = 1
}
work() {
  echo upper >> /tmp/merged/file
  setfattr -n user.a -v 1 /tmp/merged/file
  rm -r /tmp/merged/gone
  rm -r /tmp/merged/dir
  mkdir /tmp/merged/dir
  echo new > /tmp/merged/dir/new
  mv /tmp/merged/moved /tmp/merged/renamed
  ln /tmp/merged/linked /tmp/merged/link
  python3 - <<'END'
import os
fd = os.open("/tmp/merged", os.O_TMPFILE | os.O_RDWR)
os.write(fd, b"unnamed")
# Python follows the link only when it is given a directory, which an absolute path does not need.
os.link(f"/proc/self/fd/{fd}", "/tmp/merged/tmpfile", src_dir_fd=fd)
END
}
for kind in trusted user; do
  options=
  test $kind = trusted || options=userxattr,
  dmesg -C
  layer $kind "$options"
  work
  look
  umount /tmp/merged
  # A whiteout, and a directory that hides the one below it.
  test "$(stat -c '%F %t:%T' $kind/upper/gone)" = 'character special file 0:0'
  getfattr -d -m - $kind/upper/dir | grep -q "^$kind.overlay.opaque="
  # As another boot finds it.
  mount -t overlay overlay -o "${options}lowerdir=/tmp/lower,upperdir=$kind/upper,workdir=$kind/work" /tmp/merged
  look
  umount /tmp/merged
  rm -r /tmp/lower
  # What an upper file system lacks is said there.
  test -z "$(dmesg | grep 'overlayfs:.*\(does not support\|failed\|falling back\)')"
done
