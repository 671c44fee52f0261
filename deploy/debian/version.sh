#!/bin/bash
# Prints the version of Debian packages of this tree, for the Debian release $1
# (12 or 13). With VERSION being what the programs say with --version:
#
#   VERSION~deb12             the commit that is tagged vVERSION
#   VERSION+N.gHASH~deb12     N commits after it
#   VERSION~N.gHASH~deb12     before it is tagged; N counts all commits
#
# So each is newer for apt than those of earlier commits and earlier Debians.
set -euo pipefail
cd "$(dirname "$(readlink -f "$0")")/../.."

version=$(sed -n 's/.*kVersion = "\(.*\)".*/\1/p' base/version.h)
if described=$(git describe --match="v$version" --long 2>/dev/null); then
  IFS=- read -r _ commits hash <<<"$described"
  [ "$commits" = 0 ] || version+=+$commits.$hash
else
  version+="~$(git rev-list --count HEAD).g$(git rev-parse --short=10 HEAD)"
fi
git diff --quiet HEAD || version+=.dirty
echo "$version~deb$1"
