#!/usr/bin/env bash
# Prints what the chart renders to with its defaults, release and namespace
# "ramvol": the plain manifest. To make it anew:
#
#   deploy/kubernetes/render.sh >deploy/kubernetes/ramvol.yaml
set -euo pipefail
here=$(dirname "${BASH_SOURCE[0]}")

PATH=${XDG_CACHE_HOME:-${HOME:-}/.cache}/ramvol/tools/bin:$PATH
command -v helm >/dev/null || {
  echo "helm is missing; ./dev deps installs it" >&2
  exit 1
}

cat <<'TEXT'
# The chart in this folder with its defaults, by render.sh; do not edit.
#
#   kubectl create namespace ramvol
#   kubectl label namespace ramvol pod-security.kubernetes.io/enforce=restricted
#   kubectl apply -f ramvol.yaml
#
# docs/kubernetes.md says more.
TEXT
helm template ramvol "$here/ramvol" --namespace ramvol --skip-tests \
  --kube-version 1.27.0
