#!/usr/bin/env bash
# Packs the program with Node and everything else that it needs, for x86-64 and arm64: release/*.tar.gz and SHA256SUMS.
set -euo pipefail
cd "$(dirname "$0")/.."

version=$(node -p "require('./package.json').version")
declare -A compiler=([x64]=x86_64-linux-gnu-gcc [arm64]=aarch64-linux-gnu-gcc)

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir -p release
rm -f release/*.tar.gz release/SHA256SUMS
native/prebuild.sh
# One time for all files, that of the last commit: the same sources give the same tarball.
time=$(git log -1 --format=@%ct 2> /dev/null || echo @0)

for architecture in ${ARCHITECTURES:-x64 arm64}; do
  name=virtiofsd-ts-$version-linux-$architecture
  node=$(packaging/fetch-node.sh 24 "$architecture")
  env PREFIX= DESTDIR="$work/$name" BINARY=/usr/local/bin/virtiofsd-ts PREBUILT="linux-$architecture" NODE_BINARY="$node/bin/node" \
    CC="${compiler[$architecture]}" VHOST_USER_DIR=/share/vhost-user UNIT_DIR=/share/systemd APPARMOR_DIR= share/install.sh
  cp LICENSE README.md "$work/$name"
  cp "$node/LICENSE" "$work/$name/LICENSE.node"
  tar -C "$work" --sort=name --mtime="$time" --owner=0 --group=0 --numeric-owner -cf - "$name" \
    | gzip -n "-${GZIP_LEVEL:-9}" > "release/$name.tar.gz"
done
(cd release && sha256sum ./*.tar.gz | sed 's#\./##' > SHA256SUMS)
cat release/SHA256SUMS
