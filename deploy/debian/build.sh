#!/bin/bash
# Makes and checks packages for another release of Debian than this machine's, in
# a container, as root: build.sh RELEASE OUT. RELEASE is 12 or 13.
set -euo pipefail
declare -A codenames=([12]=bookworm [13]=trixie)
mkdir -p "$2"
out=$(realpath "$2")
cd "$(dirname "$(readlink -f "$0")")/../.."
codename=${codenames[$1]:?there are 12 and 13}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
# shellcheck source=deploy/container/podman.sh
source deploy/container/podman.sh "$work"

debian_image "$codename" "$work" >/dev/null
podman build --format=docker --network=host --file=deploy/debian/Containerfile \
  --ignorefile=deploy/debian/ignore --output="$out" \
  --build-arg=CODENAME="$codename" --build-arg=JOBS="$(nproc)" \
  --build-arg=VERSION="$(deploy/debian/version.sh "$1")" \
  --build-arg=SOURCE_DATE_EPOCH="$(git log -1 --format=%ct)" .
