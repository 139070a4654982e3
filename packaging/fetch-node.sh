#!/usr/bin/env bash
# fetch-node.sh MAJOR ARCHITECTURE: prints a folder with Node from npm's package for it, which lies in the cache.
set -euo pipefail

declare -A versions=([22]=22.23.3 [24]=24.22.3)
declare -A sha512=(
  [22-x64]=a879f3e6d16c1e88ff58cfae4443558d638d8b9855be6c2b82af00e15efa2a9b95340738fa3c0af31e20c1ba1b13d06d1cd83f00a476e7cdde628acb17f73b9e
  [24-x64]=287b286fe16ff587ab013bd8ba331b8b226a9d10af2edadcaff79336a46a88e486a7dec43a244fd723f8efe9271a043fc677375d8f31ce45b9f3b76567336a44
  [24-arm64]=219c74279dbfd4d0f002c6368b2591f6794f218b98be24d67ad8e3f3e125bd8421dbe5d184b7c27e46c5105ff63b9bc623685c51bc8f34757e9f3df8d856c95f
)
version=${versions[$1]} digest=${sha512[$1-$2]}
cache=${VIRTIOFSD_TS_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/virtiofsd-ts}
folder=$cache/node-$version-$2

if [ ! -d "$folder" ]; then
  mkdir -p "$cache"
  work=$(mktemp -d "$cache/node.XXXXXX")
  trap 'rm -rf "$work"' EXIT
  npm pack --silent --pack-destination "$work" "node-linux-$2@$version" > /dev/null
  echo "$digest  $work/node-linux-$2-$version.tgz" | sha512sum --check --quiet >&2
  mkdir "$work/node"
  tar -xzf "$work"/*.tgz -C "$work/node" --strip-components=1 --no-same-owner
  # Another run may have been faster.
  mv -T "$work/node" "$folder" 2> /dev/null || true
fi
echo "$folder"
