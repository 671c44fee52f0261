#!/bin/bash
# The Debian packages are made, twice with the same bytes, with an SBOM that tells
# the truth. Arguments as of deploy/debian/make.sh: BIN OUT VERSION. OUT gets the
# packages, and OUT/previous the same of an earlier version, to upgrade from.
set -euo pipefail
bin=$(realpath "$1")
mkdir -p "$2"
out=$(realpath "$2")
version=$3
cd "$(dirname "$(readlink -f "$0")")/../.."
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

fail() {
  echo "FAILED: $*" >&2
  exit 1
}

echo "== make"
deploy/debian/make.sh "$bin" "$out" "$version"

echo "== make again, elsewhere, at another time of another user's"
(
  umask 077
  export TZ=Asia/Kolkata LANG=tr_TR.UTF-8 TMPDIR=$work/elsewhere HOME=/nonexistent
  mkdir "$TMPDIR"
  deploy/debian/make.sh "$bin" "$work/again" "$version"
)
for file in "$work"/again/*; do
  case $file in
    # It says when and where it was made.
    *.buildinfo | *.changes) continue ;;
  esac
  cmp "$file" "$out/$(basename "$file")" || fail "$(basename "$file") differs"
done

echo "== the previous version"
DEB_BUILD_OPTIONS=noautodbgsym deploy/debian/make.sh "$bin" "$out/previous" \
  "0.0.1${version#"${version%%[~+]*}"}"
rm "$out"/previous/*.{buildinfo,changes,spdx.json}

echo "== SBOM"
/usr/bin/python3 -B tests/integration/package_sbom_test.py "$out"/*.spdx.json \
  "$out"/*.deb
echo "all passed"
