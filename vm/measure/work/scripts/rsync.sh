# A rich tree from the guest's own file system to the share and back; then rsync finds nothing to do.
. ../scripts/rich-tree.sh
# Without --modify-window a directory that changed under it less than a second ago keeps the time of that, on any file system.
copy() { rsync -aHAXS --numeric-ids --modify-window=-1 "$@"; }
make_tree /tmp/tree
copy /tmp/tree/ onto
expect_same /tmp/tree onto
copy onto/ /tmp/back
expect_same /tmp/tree /tmp/back
test -z "$(copy --delete --checksum --itemize-changes --dry-run /tmp/tree/ onto)"
# A change of each kind, and once more.
cd /tmp/tree
echo more >> sub/file-10
chmod 600 sub/file-11
setfattr -n user.new -v 1 sub/file-12
setfacl -b sub/file-6
rm -r empty sub/file-13
ln sub/file-14 another
touch -d 2020-02-02 sub/file-15
cd -
copy --delete /tmp/tree/ onto
expect_same /tmp/tree onto
rm -r /tmp/tree /tmp/back
