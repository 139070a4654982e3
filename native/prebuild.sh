#!/usr/bin/env bash
# Makes what the npm package brings for machines without a compiler, in prebuilds/linux-{x64,arm64}: the addon for glibc
# 2.28 or later and for musl, and a static launcher that serves both. Needs Debian's gcc for both architectures.
set -euo pipefail
cd "$(dirname "$0")"

cache=${VIRTIOFSD_TS_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/virtiofsd-ts}
flags='-O2 -g0 -ffile-prefix-map=.=native'
LDFLAGS='-s -Wl,-z,relro,-z,now'

# Prints the folder with musl and the kernel's headers for an architecture of Debian's. They come from this machine's
# mirror, by an apt with lists and state of its own.
fetch_musl() {
  local architecture=$1 folder=$cache/musl-$1 work
  if [ ! -d "$folder" ]; then
    mkdir -p "$cache"
    work=$(mktemp -d "$cache/musl.XXXXXX")
    mkdir -p "$work"/{lists,archives}/partial "$work/root"
    touch "$work/status"
    cat > "$work/apt.conf" << CONF
APT::Architecture "$architecture";
APT::Architectures { "$architecture"; };
APT::Sandbox::User "";
Acquire::Languages "none";
Dir::State "$work";
Dir::State::status "$work/status";
Dir::Cache "$work";
CONF
    export APT_CONFIG=$work/apt.conf
    apt-get -q update > "$work/log" 2>&1 || { cat "$work/log" >&2; exit 1; }
    (cd "$work" && apt-get -q download musl-dev musl linux-libc-dev >> log 2>&1) || { cat "$work/log" >&2; exit 1; }
    unset APT_CONFIG
    for package in "$work"/*.deb; do dpkg-deb -x "$package" "$work/root"; done
    # Another run may have been faster.
    mv -T "$work/root" "$folder" 2> /dev/null || true
    rm -rf "$work"
  fi
  echo "$folder"
}

# prebuild NODE_ARCHITECTURE DEBIAN_ARCHITECTURE MACHINE
prebuild() {
  local gcc=$3-linux-gnu-gcc out=prebuilds/linux-$1 made=build/prebuild-$1 musl
  command -v "$gcc" > /dev/null || { echo "$gcc is missing: install gcc-${3/_/-}-linux-gnu" >&2; exit 1; }
  "$gcc" -E -include stdint.h -x c /dev/null > /dev/null 2>&1 ||
    { echo "$gcc finds no C library: install libc6-dev-$2-cross" >&2; exit 1; }
  musl=$(fetch_musl "$2")
  mkdir -p "$made" "$out"
  sed "s# /usr/# $musl/usr/#g; s#-L/usr/#-L$musl/usr/#g" "$musl/usr/lib/$3-linux-musl/musl-gcc.specs" > "$made/specs"
  local headers="-idirafter $musl/usr/include -idirafter $musl/usr/include/$3-linux-gnu"

  make -s "$made/glibc/native.node" OUT="$made/glibc" CC="$gcc" CFLAGS="$flags -include src/old-glibc.h" LDFLAGS="$LDFLAGS"
  make -s OUT="$made/musl" CC="$gcc -specs=$made/specs $headers" CFLAGS="$flags" LDFLAGS="$LDFLAGS" LAUNCHER_LDFLAGS=-static
  install -m 755 "$made/glibc/native.node" "$out/native.glibc.node"
  install -m 755 "$made/musl/native.node" "$out/native.musl.node"
  install -m 755 "$made/musl/launcher" "$out/launcher"
}

prebuild x64 amd64 x86_64
prebuild arm64 arm64 aarch64
