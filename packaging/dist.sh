#!/usr/bin/env bash
# Packs the program with Node and everything else that it needs, for x86-64 and arm64: release/*.tar.gz and SHA256SUMS.
set -euo pipefail
cd "$(dirname "$0")/.."

version=$(node -p "require('./package.json').version")
cache=${VIRTIOFSD_TS_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/virtiofsd-ts}
node_version=24.22.3
declare -A node_sha512=(
  [x64]=287b286fe16ff587ab013bd8ba331b8b226a9d10af2edadcaff79336a46a88e486a7dec43a244fd723f8efe9271a043fc677375d8f31ce45b9f3b76567336a44
  [arm64]=219c74279dbfd4d0f002c6368b2591f6794f218b98be24d67ad8e3f3e125bd8421dbe5d184b7c27e46c5105ff63b9bc623685c51bc8f34757e9f3df8d856c95f
)
declare -A compiler=([x64]=x86_64-linux-gnu-gcc [arm64]=aarch64-linux-gnu-gcc)

# Prints the folder of Node for an architecture, from npm's package for it.
fetch_node() {
  local folder=$cache/node-$node_version-$1 work
  if [ ! -d "$folder" ]; then
    mkdir -p "$cache"
    work=$(mktemp -d "$cache/node.XXXXXX")
    npm pack --silent --pack-destination "$work" "node-linux-$1@$node_version" > /dev/null
    echo "${node_sha512[$1]}  $work/node-linux-$1-$node_version.tgz" | sha512sum --check --quiet >&2
    mkdir "$work/node"
    tar -xzf "$work"/*.tgz -C "$work/node" --strip-components=1 --no-same-owner
    # Another run may have been faster.
    mv -T "$work/node" "$folder" 2> /dev/null || true
    rm -rf "$work"
  fi
  echo "$folder"
}

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir -p release
rm -f release/*.tar.gz release/SHA256SUMS
native/prebuild.sh
# One time for all files, that of the last commit: the same sources give the same tarball.
time=$(git log -1 --format=@%ct 2> /dev/null || echo @0)

for architecture in ${ARCHITECTURES:-x64 arm64}; do
  name=virtiofsd-ts-$version-linux-$architecture
  node=$(fetch_node "$architecture")
  env PREFIX= DESTDIR="$work/$name" BINARY=/usr/local/bin/virtiofsd-ts PREBUILT="linux-$architecture" NODE_BINARY="$node/bin/node" \
    CC="${compiler[$architecture]}" VHOST_USER_DIR=/share/vhost-user UNIT_DIR=/share/systemd APPARMOR_DIR= share/install.sh
  cp LICENSE README.md "$work/$name"
  cp "$node/LICENSE" "$work/$name/LICENSE.node"
  tar -C "$work" --sort=name --mtime="$time" --owner=0 --group=0 --numeric-owner -cf - "$name" \
    | gzip -n "-${GZIP_LEVEL:-9}" > "release/$name.tar.gz"
done
(cd release && sha256sum ./*.tar.gz | sed 's#\./##' > SHA256SUMS)
cat release/SHA256SUMS
