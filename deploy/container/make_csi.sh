#!/bin/bash
# Fills the folder $1 with what the driver's image has beside Debian's packages: the
# programs $2..., stripped, ramvol-image, and the licence. $1.packages lists the packages
# of the libraries that they load.
set -euo pipefail
# shellcheck source=deploy/container/libraries.sh
source "$(dirname "$0")/libraries.sh"

root=$1
shift

mkdir -p "$root/usr/bin" "$root/usr/share/doc/ramvol"
for program; do
  strip -o "$root/usr/bin/$(basename "$program")" "$program"
done
install -m 755 "$(dirname "$0")/ramvol-image.sh" "$root/usr/bin/ramvol-image"
cp LICENSE "$root/usr/share/doc/ramvol/"
libraries "$@" | while read -r library; do
  package=$(package_of "$library")
  [ -n "$package" ] || { echo "no package owns $library" >&2; exit 1; }
  echo "$package"
done | sort -u >"$root.packages"
