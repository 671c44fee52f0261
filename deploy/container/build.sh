#!/bin/bash
# Builds the container image with podman: deploy/container/build.sh [TAG]. The
# tag is localhost/ramvol:latest unless given; further arguments go to podman.
# Prints the image's id and size.
set -euo pipefail
cd "$(dirname "$(readlink -f "$0")")/../.."

tag=${1:-localhost/ramvol:latest}
shift || :
version=$(sed -n 's/.*kVersion = "\(.*\)".*/\1/p' base/version.h)
revision=$(git rev-parse HEAD 2>/dev/null || echo unknown)
git diff --quiet HEAD 2>/dev/null || revision+=-dirty
source=$(git config --get remote.origin.url | grep -E "^https://[^@]*$" || echo unknown)

# Only Docker's format has a HEALTHCHECK.
podman build --format=docker --file=deploy/container/Containerfile \
  --build-arg=VERSION="$version" --build-arg=REVISION="$revision" \
  --build-arg=SOURCE="$source" --build-arg=JOBS="$(nproc)" --tag="$tag" "$@" . >&2
podman image inspect --format='{{.Id}} {{.Size}}' "$tag"
