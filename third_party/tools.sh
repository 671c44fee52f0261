#!/bin/bash
# Programs and schemas that Debian does not package, or packages with a service
# that starts: installed below $tools, with links in $tools/bin. Sourced by ./dev,
# whose functions and variables it uses.
# shellcheck disable=SC2154

# In versions for Debian 12's Go and Node.js.
readonly grpcurl_version=1.8.9 buf_version=1.50.0 ghz_version=0.120.0
readonly helm_version=3.12.3 prometheus_operator_version=0.85.0
# Of Kubernetes, the oldest that the chart supports to the newest.
readonly kubernetes_versions=(1.27.16 1.30.14 1.34.4 1.37.2)
readonly csi_sanity_version=5.6.0 external_snapshotter_version=8.7.0
# The Go for what Debian's is too old for.
readonly go_version=1.26.0
readonly grafana_schema_version=13.2.3 typescript_version=5.8.3
readonly grpc_js_version=1.14.7 grpc_proto_loader_version=0.8.1
# The checksums are of PyPI's wheels for x86_64 and aarch64.
readonly ruff_version=0.17.6 ruff_sha256s=(
  aa3b08254a732acba246891089a152c47c5733dc36b8ecb76ce8602f8326e5e4
  435241c61af5909a022f76219d3d1bf24730dc1bf0acabb5ddf4b569ab3cbb30
)

# Puts a program of ours on the PATH.
link_tool() { mkdir -p "$tools/bin" && ln -sf "$1" "$tools/bin/"; }

# write_tool NAME LINE...: a shell script on the PATH.
write_tool() {
  local name=$1
  shift
  mkdir -p "$tools/bin"
  printf '%s\n' '#!/bin/sh' "$@" >"$tools/bin/$name"
  chmod +x "$tools/bin/$name"
}

install_grpcurl() {
  local dir=$tools/grpcurl-$grpcurl_version
  [ ! -x "$dir/grpcurl" ] || return 0
  command -v go >/dev/null || apt_install golang-go
  info "building grpcurl $grpcurl_version"
  GOBIN=$dir go install \
    "github.com/fullstorydev/grpcurl/cmd/grpcurl@v$grpcurl_version"
  link_tool "$dir/grpcurl"
}

# For benchmarks alone.
install_ghz() {
  local dir=$tools/ghz-$ghz_version
  [ ! -x "$dir/ghz" ] || return 0
  command -v go >/dev/null || apt_install golang-go
  info "building ghz $ghz_version"
  GOBIN=$dir go install "github.com/bojand/ghz/cmd/ghz@v$ghz_version"
  link_tool "$dir/ghz"
}

install_buf() {
  local dir=$tools/buf-$buf_version
  [ ! -x "$dir/node_modules/.bin/buf" ] || return 0
  command -v npm >/dev/null || apt_install npm
  info "installing buf $buf_version"
  npm install --silent --no-audit --no-fund --prefix "$dir" \
    "@bufbuild/buf@$buf_version"
  link_tool "$dir/node_modules/.bin/buf"
}

# A program in a wheel: any pip of Debian unpacks it.
install_ruff() {
  local dir=$tools/ruff-$ruff_version
  if [ ! -x "$dir/bin/ruff" ]; then
    apt_install python3-pip
    info "installing ruff $ruff_version"
    echo "ruff==$ruff_version" "${ruff_sha256s[@]/#/--hash=sha256:}" |
      /usr/bin/python3 -m pip install --quiet --root-user-action=ignore --no-deps \
        --only-binary=:all: --require-hashes --target "$dir" --requirement /dev/stdin
  fi
  link_tool "$dir/bin/ruff"
}

# Grafana's types of a dashboard, and the compiler that checks them.
install_grafana_schema() {
  local dir=$tools/grafana-schema-$grafana_schema_version
  [ ! -x "$dir/node_modules/.bin/tsc" ] || return 0
  command -v npm >/dev/null || apt_install npm
  info "installing @grafana/schema $grafana_schema_version"
  npm install --silent --no-audit --no-fund --ignore-scripts --prefix "$dir" \
    "@grafana/schema@$grafana_schema_version" "typescript@$typescript_version"
  link_tool "$dir/node_modules/.bin/tsc"
}

# gRPC for Node.js. ramvol-grpc-js, found on the PATH, is a node that has it.
install_grpc_js() {
  local dir=$tools/grpc-js-$grpc_js_version-$grpc_proto_loader_version
  if [ ! -e "$dir/complete" ]; then
    command -v npm >/dev/null || apt_install npm
    info "installing @grpc/grpc-js $grpc_js_version"
    npm install --silent --no-audit --no-fund --ignore-scripts --prefix "$dir" \
      "@grpc/grpc-js@$grpc_js_version" "@grpc/proto-loader@$grpc_proto_loader_version"
    touch "$dir/complete"
  fi
  mkdir -p "$tools/bin"
  printf '#!/bin/sh\nNODE_PATH=%q exec node "$@"\n' "$dir/node_modules" \
    >"$tools/bin/ramvol-grpc-js"
  chmod +x "$tools/bin/ramvol-grpc-js"
}

# Only the programs: the package would also start a service.
install_prometheus() {
  local program dir=$tools/prometheus
  if command -v prometheus && command -v promtool; then return; fi >/dev/null
  as_root apt-get update -q
  info "unpacking prometheus"
  rm -rf "$dir" && mkdir -p "$dir"
  (cd "$dir" && apt-get download -q prometheus && dpkg -x ./*.deb . && rm ./*.deb)
  for program in prometheus promtool; do link_tool "$dir/usr/bin/$program"; done
}

install_helm() {
  local dir=$tools/helm-$helm_version
  [ ! -x "$dir/helm" ] || return 0
  command -v go >/dev/null || apt_install golang-go
  info "building helm $helm_version"
  GOBIN=$dir go install "helm.sh/helm/v3/cmd/helm@v$helm_version"
  link_tool "$dir/helm"
}

# Prints where a Go module was unpacked below the folder $1.
download_module() {
  # Not in a module of the caller's.
  (cd / && GOMODCACHE=$1 go mod download -json "$2" | jq -er .Dir)
}

# Prints the path of a Go of $go_version or later: the machine's, or the toolchain
# that Go publishes as a module.
new_go() {
  local dir=$tools/go-$go_version modules
  if printf '%s\n' "go$go_version" "$(go env GOVERSION)" | sort -CV; then
    command -v go
    return
  fi
  if [ ! -x "$dir/bin/go" ]; then
    modules=$(mktemp -d)
    rm -rf "$dir"
    cp -rT "$(download_module "$modules" \
      "golang.org/toolchain@v0.0.1-go$go_version.linux-$(dpkg --print-architecture)")" \
      "$dir"
    GOMODCACHE=$modules go clean -modcache
    rm -rf "$modules"
    chmod -R u+w "$dir"
    # Modules have no executable files.
    chmod +x "$dir"/pkg/tool/*/* "$dir"/bin/*
  fi
  echo "$dir/bin/go"
}

# The tests that Kubernetes' own people have for drivers of storage.
install_csi_sanity() {
  local dir=$tools/csi-sanity-$csi_sanity_version
  if [ ! -x "$dir/csi-sanity" ]; then
    command -v go >/dev/null || apt_install golang-go
    info "building csi-sanity $csi_sanity_version"
    GOBIN=$dir "$(new_go)" install \
      "github.com/kubernetes-csi/csi-test/v5/cmd/csi-sanity@v$csi_sanity_version"
  fi
  link_tool "$dir/csi-sanity"
}

# Fills the folder $1 with the schemas that its name stands for. The modules are
# large, and go once their schemas are out.
fetch_kubernetes_schemas() {
  local modules version module
  command -v go >/dev/null || apt_install golang-go
  modules=$(mktemp -d)
  rm -rf "$1" && mkdir -p "$1/crds"
  for version in "${kubernetes_versions[@]}"; do
    info "fetching the schemas of Kubernetes $version"
    module=$(download_module "$modules" "k8s.io/kubernetes@v$version")
    install -m 644 "$module/api/openapi-spec/swagger.json" "$1/$version.json"
  done
  info "fetching the schemas of prometheus-operator $prometheus_operator_version"
  module=github.com/prometheus-operator/prometheus-operator
  module=$(download_module "$modules" "$module@v$prometheus_operator_version")
  install -m 644 -t "$1/crds" \
    "$module"/example/prometheus-operator-crd/*_{servicemonitors,prometheusrules}.yaml
  GOMODCACHE=$modules go clean -modcache
  rm -rf "$modules"
  touch "$1/complete"
}

# Adds the schemas of snapshots, of groups too, to the folder $1.
fetch_snapshot_schemas() {
  local modules module
  command -v go >/dev/null || apt_install golang-go
  modules=$(mktemp -d)
  info "fetching the schemas of external-snapshotter $external_snapshotter_version"
  module=github.com/kubernetes-csi/external-snapshotter/client/v8
  module=$(download_module "$modules" "$module@v$external_snapshotter_version")
  install -m 644 -t "$1/crds" "$module"/config/crd/*snapshot.storage.k8s.io_*.yaml
  GOMODCACHE=$modules go clean -modcache
  rm -rf "$modules"
  touch "$1/groups-$external_snapshotter_version"
}

# What deploy/kubernetes is validated against. ramvol-kubernetes-schemas, found
# on the PATH, prints the folder.
install_kubernetes_schemas() {
  local dir
  dir=$tools/kubernetes-schemas-$(IFS=- && echo "${kubernetes_versions[*]}")
  dir+=-$prometheus_operator_version
  [ -e "$dir/complete" ] || fetch_kubernetes_schemas "$dir"
  [ -e "$dir/groups-$external_snapshotter_version" ] || fetch_snapshot_schemas "$dir"
  write_tool ramvol-kubernetes-schemas "echo $(printf %q "$dir")"
}

# The package behind Debian's kernel for clouds, as apt knows it now.
guest_kernel_package() {
  LC_ALL=C apt-cache depends "linux-image-cloud-$(dpkg --print-architecture)" |
    sed -n 's/^ *Depends: //p' | head -n 1
}

# Unpacks that kernel into the folder $1, without installing it.
unpack_guest_kernel() {
  local package=$2
  info "unpacking $package"
  rm -rf "$1" && mkdir -p "$1"
  (cd "$1" && apt-get download -q "$package" && dpkg -x ./*.deb . && rm ./*.deb)
  # Debian 13 has its modules in /usr/lib.
  [ -e "$1/lib" ] || ln -s usr/lib "$1/lib"
  PATH=$PATH:/sbin:/usr/sbin depmod -b "$1" "${package#linux-image-}"
  touch "$1/complete"
}

# The kernel that the tests' guests boot. ramvol-guest-kernel, found on the
# PATH, prints its folder.
install_guest_kernel() {
  local package dir
  package=$(guest_kernel_package || :)
  dir=$tools/guest-kernel-${package#linux-image-}
  if [ -z "$package" ] || [ ! -e "$dir/complete" ]; then
    # What an old list names may be gone.
    as_root apt-get update -q
    package=$(guest_kernel_package)
    dir=$tools/guest-kernel-${package#linux-image-}
    [ -e "$dir/complete" ] || unpack_guest_kernel "$dir" "$package"
  fi
  write_tool ramvol-guest-kernel "echo $(printf %q "$dir")"
}

# The kernel of guests that are processes and see this machine's files; for x86_64 alone.
# ramvol-user-mode-linux, found on the PATH, prints its folder.
install_user_mode_linux() {
  local version dir
  [ "$(uname -m)" = x86_64 ] || return 0
  version=$(apt-cache show user-mode-linux | sed -n 's/^Version: //p' | head -n 1)
  dir=$tools/user-mode-linux-${version:-unknown}
  if [ ! -e "$dir/complete" ]; then
    as_root apt-get update -q
    info "unpacking user-mode-linux $version"
    rm -rf "$dir" && mkdir -p "$dir"
    (cd "$dir" && apt-get download -q user-mode-linux && dpkg -x ./*.deb . && rm ./*.deb)
    touch "$dir/complete"
  fi
  write_tool ramvol-user-mode-linux "echo $(printf %q "$dir")"
}

# Unpacks packages of Debian $2 and all that they need into the folder $1, by an apt
# that knows nothing of what this machine has; once, as long as they are the same.
unpack_release() {
  local dir=$1 codename=$2 apt package
  shift 2
  [ "$(cat "$dir/complete" 2>/dev/null)" != "$*" ] || return 0
  info "unpacking $* of Debian $codename"
  apt=$(mktemp -d)
  mkdir -p "$apt"/{lists,cache/archives}/partial
  touch "$apt/status"
  echo "deb http://deb.debian.org/debian $codename main" >"$apt/sources.list"
  cat >"$apt/apt.conf" <<TEXT
Acquire::Languages "none";
APT::Install-Recommends "0";
APT::Sandbox::User "root";
Dir::Cache "$apt/cache";
Dir::Etc::SourceList "$apt/sources.list";
Dir::Etc::SourceParts "-";
Dir::State::Lists "$apt/lists";
Dir::State::Status "$apt/status";
TEXT
  as_root env APT_CONFIG="$apt/apt.conf" apt-get update -q
  as_root env APT_CONFIG="$apt/apt.conf" apt-get install -q -y --download-only "$@"
  rm -rf "$dir" && mkdir -p "$dir"
  for package in "$apt"/cache/archives/*.deb; do dpkg -x "$package" "$dir"; done
  as_root rm -rf "$apt"
  echo "$*" >"$dir/complete"
}

# run_unpacked DIR PROGRAM: a command line that runs a program of an unpacked release,
# with the C library and the modules that it is made for.
run_unpacked() {
  local loader triplet
  loader=$(find "$1" -path '*-linux-gnu/ld-linux-*.so.?' -print -quit)
  triplet=$(basename "${loader%/*}")
  printf 'QEMU_MODULE_DIR=%q exec %q --library-path %q %q/%s "$@"' \
    "$1/usr/lib/$triplet/qemu" "$loader" "$1/lib/$triplet:$1/usr/lib/$triplet" \
    "$1/usr/bin" "$2"
}

# qemu-img of the other release, 12 or 13, as ramvol-other-qemu-img on the PATH.
install_other_qemu_img() {
  local dir=$tools/qemu-trixie
  if [ "$(debian_release)" = 12 ]; then
    unpack_trixie "$dir"
  else
    dir=$tools/qemu-bookworm
    unpack_release "$dir" bookworm qemu-utils
  fi
  write_tool ramvol-other-qemu-img "$(run_unpacked "$dir" qemu-img)"
}

unpack_trixie() {
  unpack_release "$1" trixie qemu-utils qemu-block-extra libblkio1
}

# Clients of vhost-user, which Debian has since 13: `ramvol-vhost qemu-img ...` runs a
# program of QEMU with the driver virtio-blk-vhost-user, `ramvol-libblkio` prints where
# libblkio's shared library is, for any release's programs.
install_vhost_clients() {
  local dir=$tools/qemu-trixie library
  if [ "$(debian_release)" = 12 ]; then
    unpack_trixie "$dir"
    # shellcheck disable=SC2016  # The script's own.
    write_tool ramvol-vhost 'program=$1 && shift' "$(run_unpacked "$dir" '"$program"')"
    library=$(find "$dir" -name libblkio.so.1)
  else
    apt_install qemu-utils qemu-block-extra libblkio1
    # shellcheck disable=SC2016
    write_tool ramvol-vhost 'exec "$@"'
    library=libblkio.so.1
  fi
  write_tool ramvol-libblkio "echo $(printf %q "$library")"
}
