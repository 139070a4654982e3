#!/usr/bin/env bash
# Installs what `make build` has made below $DESTDIR: the program with the packages that it needs in $PREFIX/lib, its
# manual page, completion for shells, in $VHOST_USER_DIR the description by which libvirt finds it, and, outside of a home
# directory, units for systemd and a profile for AppArmor.
#
#   BINARY       where the program will be found (default $PREFIX/bin/virtiofsd-ts)
#   PREBUILT     takes the addon and the launcher of native/prebuilds/$PREBUILT, which CC compiles for, not those made here
#   NODE_BINARY  a node binary that is brought along
set -euo pipefail
cd "$(dirname "$0")/.."
: "${PREFIX=/usr/local}" "${DESTDIR:=}" "${BINARY:=$PREFIX/bin/virtiofsd-ts}" "${PREBUILT:=}" "${NODE_BINARY:=}" "${CC:=cc}"

# libvirt looks nowhere else.
case $PREFIX in
  /usr) : "${VHOST_USER_DIR:=/usr/share/qemu/vhost-user}" ;;
  "${HOME:-/none}"/*) : "${VHOST_USER_DIR:=${XDG_CONFIG_HOME:-$HOME/.config}/qemu/vhost-user}" "${UNIT_DIR=}" "${APPARMOR_DIR=}" ;;
  *) : "${VHOST_USER_DIR:=/etc/qemu/vhost-user}" ;;
esac
: "${UNIT_DIR=$PREFIX/lib/systemd/system}" "${APPARMOR_DIR=/etc/apparmor.d}"

lib=$DESTDIR$PREFIX/lib/virtiofsd-ts
data=$DESTDIR$PREFIX/share
program=$lib/dist/program/main.js
umask 022

packed=$(mktemp -d)
trap 'rm -rf "$packed"' EXIT
npm pack --silent --ignore-scripts --workspaces --include-workspace-root --pack-destination "$packed" > /dev/null

# unpack PACKAGE FOLDER
unpack() {
  mkdir -p "$2"
  tar -xzf "$packed/$1"-[0-9]*.tgz -C "$2" --strip-components=1 --no-same-owner
}
ours=$(node -p "JSON.parse(require('fs').readFileSync('package.json')).workspaces.map((w) => require('./' + w + '/package.json').name).join(' ')")
rm -rf "$lib"
unpack virtiofsd-ts "$lib"
for package in $ours; do unpack "$package" "$lib/node_modules/$package"; done
npm ls --omit=dev --all --parseable | sed -n "s#^$PWD/\(node_modules/.*\)#\1#p" \
  | grep -vxE "node_modules/(${ours// /|}|node-api-headers)" \
  | tar -cf - --exclude=ioctl-napi/build --files-from=- | tar -xf - -C "$lib" --no-same-owner

# The addon comes compiled: its sources stay here.
native=$lib/node_modules/virtiofsd-ts-native
rm -rf "$native"/{prebuilds,src,launcher,Makefile}
if [ -n "$PREBUILT" ]; then
  install -D -t "$native/prebuilds/$PREBUILT" native/prebuilds/"$PREBUILT"/{native.glibc.node,launcher}
else
  install -D -t "$native/build" native/build/{native.node,launcher}
fi
make -s -C native ioctl-napi CC="$CC" LDFLAGS=-s IOCTL_NAPI="$lib/node_modules/ioctl-napi" \
  || echo 'ioctl-napi does not compile here: the addon does its work' >&2

chmod 755 "$program"
mkdir -p "$DESTDIR$PREFIX/bin"
if [ -n "$NODE_BINARY" ]; then
  install -m 755 "$NODE_BINARY" "$lib/node"
  rm -f "$DESTDIR$PREFIX/bin/virtiofsd-ts"
  cat > "$DESTDIR$PREFIX/bin/virtiofsd-ts" << 'WRAPPER'
#!/bin/sh
# Starts the Node that came along.
lib=$(dirname "$(readlink -f "$0")")/../lib/virtiofsd-ts
exec "$lib/node" "$lib/dist/program/main.js" "$@"
WRAPPER
  chmod 755 "$DESTDIR$PREFIX/bin/virtiofsd-ts"
else
  ln -sfn ../lib/virtiofsd-ts/dist/program/main.js "$DESTDIR$PREFIX/bin/virtiofsd-ts"
fi

install -D -m 644 dist/virtiofsd-ts.1 "$data/man/man1/virtiofsd-ts.1"
# complete SHELL FILE
complete() {
  mkdir -p "$(dirname "$data/$2")"
  node dist/program/main.js completion "$1" > "$data/$2"
}
complete bash bash-completion/completions/virtiofsd-ts
complete zsh zsh/site-functions/_virtiofsd-ts
complete fish fish/vendor_completions.d/virtiofsd-ts.fish

# Alerts and a dashboard for those who scrape --metrics.
install -D -m 644 -t "$data/virtiofsd-ts" share/prometheus/virtiofsd-ts.rules.yml share/grafana/virtiofsd-ts.json

# describe SOURCE FOLDER...: the same file, with the paths of this installation
describe() {
  [ -n "$2" ] || return 0
  mkdir -p "$DESTDIR$2"
  sed -e "s#/usr/bin/virtiofsd-ts#$BINARY#g" -e "s#/usr/lib/virtiofsd-ts#$PREFIX/lib/virtiofsd-ts#g" "$1" > "$DESTDIR$2/$(basename "$1")"
}
describe share/vhost-user/50-virtiofsd-ts.json "$VHOST_USER_DIR"
for unit in share/systemd/*; do describe "$unit" "$UNIT_DIR"; done
describe share/apparmor/virtiofsd-ts "$APPARMOR_DIR"
