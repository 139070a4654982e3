#!/usr/bin/env bash
# Installs what `make build` has made below $DESTDIR: the program with the packages that it needs in $PREFIX/lib, its
# manual page, completion for shells, and in $VHOST_USER_DIR the description by which libvirt finds it.
set -euo pipefail
cd "$(dirname "$0")/.."
: "${PREFIX:=/usr/local}" "${DESTDIR:=}"

# libvirt looks nowhere else.
case $PREFIX in
  /usr) : "${VHOST_USER_DIR:=/usr/share/qemu/vhost-user}" ;;
  "${HOME:-/none}"/*) : "${VHOST_USER_DIR:=${XDG_CONFIG_HOME:-$HOME/.config}/qemu/vhost-user}" ;;
  *) : "${VHOST_USER_DIR:=/etc/qemu/vhost-user}" ;;
esac

lib=$DESTDIR$PREFIX/lib/virtiofsd-ts
data=$DESTDIR$PREFIX/share
program=$lib/dist/src/main.js
umask 022

packed=$(mktemp -d)
trap 'rm -rf "$packed"' EXIT
npm pack --silent --ignore-scripts --workspaces --include-workspace-root --pack-destination "$packed" > /dev/null

# unpack PACKAGE FOLDER
unpack() {
  mkdir -p "$2"
  tar -xzf "$packed/$1"-[0-9]*.tgz -C "$2" --strip-components=1 --no-same-owner
}
rm -rf "$lib"
unpack virtiofsd-ts "$lib"
unpack vhost-user-ts "$lib/node_modules/vhost-user-ts"
unpack virtio-fs-ts "$lib/node_modules/virtio-fs-ts"
unpack virtiofsd-ts-native "$lib/node_modules/virtiofsd-ts-native"
rm -rf "$lib/node_modules/virtiofsd-ts-native/prebuilds"
for built in native.node launcher; do
  install -D "native/build/$built" "$lib/node_modules/virtiofsd-ts-native/build/$built"
done
npm ls --omit=dev --all --parseable | sed -n "s#^$PWD/\(node_modules/.*\)#\1#p" \
  | grep -vxE 'node_modules/(vhost-user-ts|virtio-fs-ts|virtiofsd-ts-native|node-api-headers)' \
  | tar -cf - --files-from=- | tar -xf - -C "$lib" --no-same-owner

chmod 755 "$program"
mkdir -p "$DESTDIR$PREFIX/bin"
ln -sfn ../lib/virtiofsd-ts/dist/src/main.js "$DESTDIR$PREFIX/bin/virtiofsd-ts"

install -D -m 644 dist/virtiofsd-ts.1 "$data/man/man1/virtiofsd-ts.1"
# complete SHELL FILE
complete() {
  mkdir -p "$(dirname "$data/$2")"
  node "$program" completion "$1" > "$data/$2"
}
complete bash bash-completion/completions/virtiofsd-ts
complete zsh zsh/site-functions/_virtiofsd-ts
complete fish fish/vendor_completions.d/virtiofsd-ts.fish

mkdir -p "$DESTDIR$VHOST_USER_DIR"
sed "s#/usr/bin/virtiofsd-ts#$PREFIX/bin/virtiofsd-ts#" share/vhost-user/50-virtiofsd-ts.json \
  > "$DESTDIR$VHOST_USER_DIR/50-virtiofsd-ts.json"
