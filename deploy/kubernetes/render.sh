#!/usr/bin/env bash
# Prints a plain manifest that the chart renders, release and namespace "ramvol": with
# its defaults, or with "csi" the driver for pods alone. To make them anew:
#
#   deploy/kubernetes/render.sh >deploy/kubernetes/ramvol.yaml
#   deploy/kubernetes/render.sh csi >deploy/kubernetes/ramvol-csi.yaml
set -euo pipefail
here=$(dirname "${BASH_SOURCE[0]}")

PATH=${XDG_CACHE_HOME:-${HOME:-}/.cache}/ramvol/tools/bin:$PATH
command -v helm >/dev/null || {
  echo "helm is missing; ./dev deps installs it" >&2
  exit 1
}

file=ramvol.yaml values="its defaults" level=restricted
arguments=(--skip-tests)
if [ "${1:-}" = csi ]; then
  file=ramvol-csi.yaml values="csi.enabled" level=privileged
  arguments=(--set=csi.enabled=true --show-only='templates/csi/*')
fi
cat <<TEXT
# The chart in this folder with $values, by render.sh; do not edit.
#
#   kubectl create namespace ramvol
#   kubectl label namespace ramvol pod-security.kubernetes.io/enforce=$level
#   sed 's|image: "localhost/|image: "registry.example/|' $file | kubectl apply -f -
#
# docs/kubernetes.md says more.
TEXT
helm template ramvol "$here/ramvol" --namespace ramvol "${arguments[@]}" \
  --kube-version 1.27.0
