#!/usr/bin/env bash
# Builds the Debian packages for amd64 and arm64 with Debian's tools, asks lintian about them, and puts them into release/.
set -euo pipefail
cd "$(dirname "$0")/.."

version=$(node -p "require('./package.json').version")
date=$(git log -1 --format=%cD 2> /dev/null || date -R)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir -p release
rm -f release/*.deb
native/prebuild.sh

# build DEBIAN_ARCHITECTURE NODE_ARCHITECTURE COMPILER
build() {
  local stage=$work/$1/virtiofsd-ts-$version
  mkdir -p "$stage"
  cp -r packaging/debian "$stage/debian"
  printf 'virtiofsd-ts (%s) unstable; urgency=medium\n\n  * See CHANGELOG.md.\n\n -- The virtiofsd-ts authors <maintainers@virtiofsd-ts.invalid>  %s\n' \
    "$version" "$date" > "$stage/debian/changelog"
  PREFIX=/usr DESTDIR="$stage/tree" PREBUILT="linux-$2" CC="$3" share/install.sh
  local lib=$stage/tree/usr/lib/virtiofsd-ts
  # Debian's Node, whatever PATH says; licenses stand in /usr/share/doc; no documents of ours or of packages, twice.
  sed -i '1s#.*#\#!/usr/bin/node#' "$lib/dist/program/main.js"
  rm -rf "$lib"/{LICENSE,README.md,share,dist/virtiofsd-ts.1}
  find "$lib/node_modules" -depth \( -name .github -o -name test -o -name tests -o -name benchmarks -o -name docs \) -exec rm -rf {} +
  find "$lib/node_modules" \( -name '.*' -o -name '*.md' -not -iname 'license*' -o -name '*.cc' -o -name binding.gyp \
    -o -name '*.html' -o -path '*/pino/bin.js' \) -type f -delete
  find "$lib" -name '*.ts' -delete
  mkdir -p "$stage/tree/usr/share/doc/virtiofsd-ts"
  mv "$lib/CHANGELOG.md" "$stage/tree/usr/share/doc/virtiofsd-ts/changelog.upstream"
  mkdir -p "$stage/tree/usr/share/lintian/overrides"
  mv "$stage/debian/lintian-overrides" "$stage/tree/usr/share/lintian/overrides/virtiofsd-ts"
  (cd "$stage" && dpkg-buildpackage --build=binary --host-arch="$1" --no-sign -d > "$work/$1.log" 2>&1) || { tail -30 "$work/$1.log" >&2; exit 1; }
  cp "$work/$1"/*.deb release/
}

build amd64 x64 x86_64-linux-gnu-gcc
build arm64 arm64 aarch64-linux-gnu-gcc
ls release/*.deb
# lintian says nothing on standard output when it has no complaint; what is overridden stands, with its reason, in the package.
lintian --fail-on=error,warning --allow-root release/*.deb
