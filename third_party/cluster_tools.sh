#!/bin/bash
# What ./dev cluster runs: Kubernetes, the sidecars of a CSI driver, and from Debian's
# packages etcd, containerd and the plugins of networks. Sourced by ./dev after tools.sh.
# shellcheck disable=SC2154

# Later ones want cgroup v2, which not every machine has.
readonly cluster_kubernetes_version=1.34.4
readonly cluster_packages=(containerd containernetworking-plugins etcd-server)
readonly cluster_kubernetes=$tools/kubernetes-$cluster_kubernetes_version
readonly cluster_sidecars=$tools/kubernetes-sidecars
readonly cluster_debian=$tools/cluster-packages

# go_build OUT FLAGS... PACKAGE: in the module of the current folder, beside others' work.
go_build() {
  local out=$1
  shift
  GOFLAGS=-mod=mod CGO_ENABLED=0 nice "$(new_go)" build -trimpath -o "$out" "$@"
}

# A module that depends on Kubernetes, with what Kubernetes' own says of its parts:
# `go install` refuses a module that replaces some.
write_kubernetes_module() {
  local version=$1 staging=v0.${1#v1.} go_mod
  printf '%s\n' 'module ramvol/cluster' '' 'go 1.24.0' '' \
    "require k8s.io/kubernetes $version" >go.mod
  go_mod=$("$(new_go)" mod download -json "k8s.io/kubernetes@$version" |
    jq -er .GoMod)
  sed -n "s@^[[:space:]]*\(replace \)\?\(k8s.io/[a-z-]*\) => ./staging/.*@replace \2 => \2 $staging@p" \
    "$go_mod" >>go.mod
  printf '%s\n' '//go:build tools' '' 'package tools' '' >tools.go
  printf 'import _ "k8s.io/kubernetes/cmd/%s"\n' "${@:2}" >>tools.go
}

install_cluster_kubernetes() {
  local dir=$cluster_kubernetes version=v$cluster_kubernetes_version module name flags
  local programs=(kube-apiserver kube-controller-manager kube-scheduler kubectl kubelet)
  [ ! -e "$dir/complete" ] || return 0
  info "building Kubernetes $cluster_kubernetes_version, for some minutes"
  flags="-s -w"
  for name in k8s.io/component-base k8s.io/client-go/pkg; do
    flags+=" -X $name/version.gitVersion=$version"
    flags+=" -X $name/version.gitMajor=1 -X $name/version.gitMinor=34"
  done
  module=$(mktemp -d)
  mkdir -p "$dir"
  (
    cd "$module" || exit
    write_kubernetes_module "$version" "${programs[@]}"
    for name in "${programs[@]}"; do
      go_build "$dir/" -ldflags "$flags" "k8s.io/kubernetes/cmd/$name"
    done
  )
  rm -rf "$module"
  touch "$dir/complete"
}

# Kubernetes' sidecars that are Go modules, and our stand-ins for the others.
install_cluster_sidecars() {
  local dir=$cluster_sidecars sum module package client
  sum=$(cat tests/kubernetes/sidecars/* | sha256sum)
  [ "$(cat "$dir/complete" 2>/dev/null)" != "$sum" ] || return 0
  info "building the sidecars"
  rm -rf "$dir" && mkdir -p "$dir/crds"
  module=$(mktemp -d)
  cp tests/kubernetes/sidecars/* "$module"
  (
    cd "$module" || exit
    for package in . $(sed -n 's/^\t_ "\(.*\)"$/\1/p' tools.go); do
      go_build "$dir/" -ldflags "-s -w" "$package"
    done
    client=github.com/kubernetes-csi/external-snapshotter/client/v8
    client=$(GOFLAGS=-mod=mod "$(new_go)" list -m -f '{{.Dir}}' "$client")
    install -m 644 -t "$dir/crds" "$client"/config/crd/*.k8s.io_*.yaml
  )
  rm -rf "$module"
  mv "$dir/sidecars" "$dir/stand_in"
  echo "$sum" >"$dir/complete"
}

install_cluster_packages() {
  local dir=$cluster_debian package
  [ ! -e "$dir/complete" ] || return 0
  info "unpacking ${cluster_packages[*]}"
  as_root apt-get update -q
  rm -rf "$dir" && mkdir -p "$dir"
  (cd "$dir" && apt-get download -q "${cluster_packages[@]}" &&
    for package in *.deb; do dpkg -x "$package" .; done && rm ./*.deb)
  touch "$dir/complete"
}

install_cluster() {
  command -v go >/dev/null || apt_install golang-go
  install_cluster_kubernetes
  install_cluster_sidecars
  install_cluster_packages
}
