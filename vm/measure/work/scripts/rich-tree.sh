# make_tree DIR: a tree of everything that a copy can lose. describe_tree DIR: all of it, as text to be compared.

make_tree() {
  mkdir -p "$1"/{sub/deep/er,empty,sticky}
  (
    cd "$1"
    for n in $(seq 40); do head -c $((n * 997)) /dev/urandom > "sub/file-$n"; done
    : > nothing
    echo text > 'a name
of two lines'
    echo text > 'späces and — signs'
    echo text > "$(printf 'x%.0s' $(seq 255))"
    ln sub/file-1 sub/deep/hard-1 && ln sub/file-1 hard-1 && ln -s ../sub/file-2 sub/soft && ln -s "$(printf '/long%.0s' $(seq 200))" dangling
    ln dangling hard-link-of-a-soft-one
    truncate -s 8M holes && printf end | dd of=holes bs=1 seek=5M conv=notrunc status=none && printf begin | dd of=holes bs=1 conv=notrunc status=none
    truncate -s 3M only-a-hole
    mkfifo -m 640 fifo && mknod null c 1 3 && mknod disk b 7 250
    cp /usr/bin/true program && chown 1000:2000 program sub/file-3 sub/deep sub/soft -h && chmod 6755 program && chmod 2750 sub/deep && chmod 1777 sticky && chmod 0 nothing
    cp /usr/bin/true capable && setcap cap_net_raw+ep capable
    setfattr -n user.colour -v blue sub/file-4 && setfattr -n user.colour -v red sub && setfattr -n user.long -v "$(printf 'x%.0s' $(seq 2000))" sub/file-4 && setfattr -n user.empty sub/file-5
    setfacl -m u:1001:r,g:2000:rw sub/file-6 && setfacl -d -m u:1001:rwx sub/deep/er && setfacl -m u:1000:rwx sub/deep/er
    # Times last; a directory's after what is in it.
    touch -h -d '2001-02-03 04:05:06.789012345 UTC' dangling sub/file-7 fifo null && touch -d '1969-12-31 23:00:00 UTC' sub/file-8 && touch -d '2100-01-01 UTC' sub/file-9
    touch -d '2011-11-11 11:11:11.111111111 UTC' sub/deep/er sub/deep empty
  )
}

describe_tree() (
  cd "$1"
  # Type, mode, owner, size, time and target; sizes and times of links count as others do, sizes of directories differ.
  find . ! -type d -printf '%p %y %m %U %G %s %T@ %l %n\n' -o -printf '%p %y %m %U %G %T@\n' | LC_ALL=C sort
  find . -type c -o -type b | LC_ALL=C sort | xargs stat -c '%n is %t:%T'
  # Which names are one file.
  find . ! -type d -links +1 -printf '%i %p\n' | LC_ALL=C sort -k 2 | awk '!($1 in first) { first[$1] = $2 } { print $2, "is", first[$1] }'
  find . -type f -print0 | LC_ALL=C sort -z | xargs -0 sha256sum
  find . ! -type l -print0 | LC_ALL=C sort -z | xargs -0 getfacl -n
  find . -print0 | LC_ALL=C sort -z | xargs -0 getfattr -h -d -m '^(user|security)[.]'
  # Holes are holes still.
  for file in holes only-a-hole; do
    test "$(stat -c %b $file)" -lt 1000
  done
)

expect_same() {
  describe_tree "$1" > /tmp/one
  describe_tree "$2" > /tmp/other
  diff /tmp/one /tmp/other
}
