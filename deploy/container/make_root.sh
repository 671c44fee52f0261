#!/bin/bash
# Fills the folder $1 with a root that holds the programs $2..., stripped, what
# ldd says that they load, and the copyright files of the packages that this
# comes from. Nothing else: no shell, no package manager.
set -euo pipefail

root=$1
shift

# shellcheck source=deploy/container/libraries.sh
source "$(dirname "$0")/libraries.sh"

mkdir -p "$root"/{etc,run/ramvol,tmp,usr/bin,usr/lib,usr/lib64} \
  "$root/usr/share/doc/ramvol"
chmod 1777 "$root/tmp"
chown 65532:65532 "$root/run/ramvol"
ln -s usr/bin usr/lib usr/lib64 "$root/"

for program; do
  strip -o "$root/usr/bin/$(basename "$program")" "$program"
done
libraries "$@" | while read -r library; do
  mkdir -p "$root/usr$(dirname "${library#/usr}")"
  cp -L "$library" "$root/usr${library#/usr}"
  package=$(package_of "$library")
  [ -n "$package" ] || { echo "no package owns $library" >&2; exit 1; }
  mkdir -p "$root/usr/share/doc/$package"
  cp -L "/usr/share/doc/$package/copyright" "$root/usr/share/doc/$package/"
done
cp LICENSE "$root/usr/share/doc/ramvol/"

cat >"$root/etc/passwd" <<'TEXT'
root:x:0:0:root:/:/sbin/nologin
ramvol:x:65532:65532:ramvol:/:/sbin/nologin
TEXT
cat >"$root/etc/group" <<'TEXT'
root:x:0:
ramvol:x:65532:
TEXT
echo 'hosts: files dns' >"$root/etc/nsswitch.conf"
