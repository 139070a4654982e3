# A rich tree on the share, packed and unpacked there, and unpacked in the guest's own file system.
. ../scripts/rich-tree.sh
make_tree tree
options="--xattrs --xattrs-include=* --acls --numeric-owner"
tar $options --sparse -cf archive.tar tree
mkdir again /tmp/again
tar $options -xpf archive.tar -C again
expect_same tree again/tree
tar $options -xpf archive.tar -C /tmp/again
expect_same tree /tmp/again/tree
tar $options --compare -f archive.tar
rm -r /tmp/again
