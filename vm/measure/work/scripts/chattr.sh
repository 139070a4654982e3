# Flags of inodes, by which root protects itself.
refused() { if "$@"; then false; fi; }
trap 'chattr -R -ai .' EXIT
echo text > file
echo text > log
mkdir directory
chattr +Ad file
lsattr file | grep -q '^[^ ]*d[^ ]*A'
chattr -Ad file
chattr +i file
lsattr file | grep -q '^[^ ]*i'
refused rm -f file
refused sh -c 'echo more >> file'
refused mv file other
chattr -i file
chattr +a log
refused sh -c 'echo other > log'
echo more >> log
chattr -a log
chattr +d directory
lsattr -d directory | grep -q '^[^ ]*d'
test "$(cat file log)" = $'text\ntext\nmore'
rm file log
