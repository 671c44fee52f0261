#!/bin/bash
# Makes Debian packages of what Bazel has built: make.sh BIN OUT [VERSION].
#
# BIN is Bazel's folder bazel-bin, in which //server:ramvold, //client/cli:ramvol,
# //nbd_bridge:ramvol-nbd, //csi:ramvol-csi and //deploy/debian:libramvol are built, on
# the release of Debian that the packages are for. OUT gets the packages, those with debugging
# symbols, and an SBOM. VERSION is what version.sh prints unless given. The same
# input makes the same bytes, whatever the time, the folder and the user.
set -euo pipefail
umask 022
export LC_ALL=C.UTF-8 TZ=UTC

bin=$(realpath "$1")
mkdir -p "$2"
out=$(realpath "$2")
cd "$(dirname "$(readlink -f "$0")")/../.."
# shellcheck source=/dev/null
release=$(. /etc/os-release && echo "$VERSION_ID")
# shellcheck source=/dev/null
codename=$(. /etc/os-release && echo "$VERSION_CODENAME")
version=${3:-$(deploy/debian/version.sh "$release")}
SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct)}
export SOURCE_DATE_EPOCH
triplet=$(dpkg-architecture -qDEB_HOST_MULTIARCH)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
# The folder's name is in nothing that is packed.
tree=$work/ramvol
files=$tree/files

put() { install -D -m "$1" "$2" "$files/$3"; }

put_programs() {
  put 755 "$bin/server/ramvold" usr/bin/ramvold
  put 755 "$bin/nbd_bridge/ramvol-nbd" usr/bin/ramvol-nbd
  put 755 "$bin/csi/ramvol-csi" usr/bin/ramvol-csi
  put 755 "$bin/client/cli/ramvol" usr/bin/ramvol
  put 644 docs/man/ramvold.8 usr/share/man/man8/ramvold.8
  put 644 docs/man/ramvol-nbd.8 usr/share/man/man8/ramvol-nbd.8
  put 644 docs/man/ramvol-csi.8 usr/share/man/man8/ramvol-csi.8
  put 644 docs/man/ramvol.1 usr/share/man/man1/ramvol.1
}

put_completions() {
  local shell
  for shell in bash zsh fish; do
    "$bin/client/cli/ramvol" completion "$shell" >"$work/$shell"
  done
  put 644 "$work/bash" usr/share/bash-completion/completions/ramvol
  put 644 "$work/zsh" usr/share/zsh/vendor-completions/_ramvol
  put 644 "$work/fish" usr/share/fish/vendor_completions.d/ramvol.fish
}

put_configuration() {
  local unit
  put 644 deploy/debian/ramvold.default etc/default/ramvold
  put 644 deploy/debian/needrestart.conf etc/needrestart/conf.d/ramvol.conf
  # Under the names by which debhelper finds them.
  for unit in deploy/systemd/*.{service,socket,mount}; do
    install -m 644 "$unit" "$tree/debian/ramvol-server.$(basename "$unit")"
  done
  install -m 644 deploy/systemd/ramvol.sysusers \
    "$tree/debian/ramvol-server.sysusers"
}

# fill TEMPLATE PLACE: a template of the SDK's files, filled in.
fill() {
  sed "s|@TRIPLET@|$triplet|; s|@VERSION@|${version%%[~+]*}|" \
    "deploy/debian/$1" >"$work/filled"
  put 644 "$work/filled" "$2"
}

# What users of the SDK include, and what that includes.
put_sdk() {
  local header proto
  for header in base/reason.h client/{client,client_connection,event_watch,extent}.h \
    client/{image_stream,options,remote_volume,volume_connection}.h \
    client/mocks/*.h; do
    put 644 "$header" "usr/include/ramvol/$header"
  done
  for proto in access_policy access_service block_service volume_service; do
    header=ramvol/v1/$proto.pb.h
    put 644 "$bin/proto/_virtual_includes/${proto}_proto/$header" \
      "usr/include/ramvol/$header"
  done
  put 644 "$bin/external/com_google_googleapis/google/rpc/status.pb.h" \
    usr/include/ramvol/google/rpc/status.pb.h
  put 644 "$bin/deploy/debian/libramvol.a" "usr/lib/$triplet/libramvol.a"
  fill ramvol.pc.in "usr/lib/$triplet/pkgconfig/ramvol.pc"
  put 644 deploy/debian/ramvolConfig.cmake \
    "usr/lib/$triplet/cmake/ramvol/ramvolConfig.cmake"
  fill ramvolConfigVersion.cmake.in \
    "usr/lib/$triplet/cmake/ramvol/ramvolConfigVersion.cmake"
  for proto in ramvol/v1/{access_policy,access_service,block_service,volume_service,volumes_file}.proto; do
    put 644 "proto/$proto" "usr/share/ramvol/proto/$proto"
  done
  put 644 third_party/googleapis/google/rpc/status.proto \
    usr/share/ramvol/proto/google/rpc/status.proto
  cp -r client/samples "$tree/samples"
}

put_changelog() {
  cp CHANGELOG.md "$tree/"
  cat >"$tree/debian/changelog" <<TEXT
ramvol ($version) $codename; urgency=medium

  * The file changelog.gz beside this one says what changed.

 -- $(sed -n 's/^Maintainer: //p' deploy/debian/debian/control)  $(date -uRd "@$SOURCE_DATE_EPOCH")
TEXT
}

mkdir -p "$tree"
cp -r deploy/debian/debian "$tree/"
put_programs
put_completions
put_configuration
put_sdk
put_changelog
(cd "$tree" && dpkg-buildpackage --build=binary --no-sign -uc -us) >"$work/log" 2>&1 || {
  cat "$work/log" >&2
  exit 1
}
/usr/bin/python3 -B deploy/debian/sbom.py "$work"/*.deb \
  >"$work/ramvol_${version}_$(dpkg --print-architecture).spdx.json"
mv "$work"/*.{deb,changes,buildinfo,spdx.json} "$out/"
