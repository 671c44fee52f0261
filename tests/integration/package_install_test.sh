#!/bin/bash
# The Debian packages in a container of their release: installed, used, upgraded
# while the server runs, built against, removed and purged. Arguments: the release,
# 12 or 13, and the folder that package_make_test.sh filled. Runs as root, with
# podman; where Debian's image cannot be pulled, debootstrap makes it.
set -euo pipefail
declare -A codenames=([12]=bookworm [13]=trixie)
release=$1
packages=$(realpath "$2")
cd "$(dirname "$(readlink -f "$0")")/../.."
work=$(mktemp -d "${TEST_TMPDIR:-/tmp}/package.XXXXXX")
name=ramvol-package-test-$$
# What apt fetches, kept.
cache=${XDG_CACHE_HOME:-$HOME/.cache}/ramvol/apt-$release

# shellcheck disable=SC2317  # The trap calls it.
finish() {
  podman rm --force --time=1 "$name" >/dev/null 2>&1 || :
  rm -rf "$work"
}
trap finish EXIT
# shellcheck source=deploy/container/podman.sh
source deploy/container/podman.sh "$work"

echo "== lintian"
lintian --allow-root --fail-on=error,warning "$packages"/*.changes

echo "== Debian $release"
image=$(debian_image "${codenames[$release]}" "$work")
mkdir -p "$cache/partial"
# The host's network is for apt alone: all servers are on Unix sockets.
podman run --rm --name="$name" --network=host --volume="$packages:/packages:ro" \
  --volume="$cache:/var/cache/apt/archives" \
  --volume="$PWD/tests/integration:/test:ro" \
  "$image" /test/package_install_steps.sh "$release" </dev/null
echo "all passed"
