#!/bin/bash
# Builds the container images with podman: deploy/container/build.sh [TAG]. The tag
# is localhost/ramvol:latest unless given; the driver for pods gets the same with -csi
# behind the name, localhost/ramvol-csi:latest. Further arguments go to podman. Prints
# id and size of each, ramvold's first.
set -euo pipefail
cd "$(dirname "$(readlink -f "$0")")/../.."

tag=${1:-localhost/ramvol:latest}
shift || :
# A colon before a slash is a registry's port.
csi_tag=$(sed -E 's|(:[^:/]*)?$|-csi\1|' <<<"$tag")
version=$(sed -n 's/.*kVersion = "\(.*\)".*/\1/p' base/version.h)
revision=$(git rev-parse HEAD 2>/dev/null || echo unknown)
git diff --quiet HEAD 2>/dev/null || revision+=-dirty
source=$(git config --get remote.origin.url | grep -E "^https://[^@]*$" || echo unknown)

build() {
  # Only Docker's format has a HEALTHCHECK.
  podman build --format=docker --file=deploy/container/Containerfile \
    --build-arg=VERSION="$version" --build-arg=REVISION="$revision" \
    --build-arg=SOURCE="$source" --build-arg=JOBS="$(nproc)" "$@" . >&2
}

build --tag="$tag" "$@"
build --tag="$csi_tag" --target=csi "$@"
podman image inspect --format='{{.Id}} {{.Size}}' "$tag"
podman image inspect --format='{{.Id}} {{.Size}}' "$csi_tag"
