#!/bin/bash
# Sourced by scripts that run podman as root, also where there is no systemd and
# where Debian's images cannot be pulled. Sets CONTAINERS_CONF to a file in the
# folder $1, which the caller removes.

# runc and cgroupfs work with both versions of cgroups, and without systemd.
cat >"$1/containers.conf" <<'TEXT'
[containers]
default_ulimits = ["nofile=20000:20000", "nproc=30000:30000"]
[engine]
runtime = "runc"
cgroup_manager = "cgroupfs"
events_logger = "file"
TEXT
export CONTAINERS_CONF=$1/containers.conf

# Debian's image of the release $1, such as trixie: prints its name. What cannot
# be pulled is made by debootstrap, in the folder $2, and kept.
debian_image() {
  local debian=docker.io/library/debian:$1-slim root=$2/root
  local tarball=${XDG_CACHE_HOME:-$HOME/.cache}/ramvol/debian-$1.tar.zst
  echo "$debian"
  ! podman image exists "$debian" || return 0
  ! podman pull -q "$debian" >/dev/null 2>&1 || return 0
  if [ ! -e "$tarball" ]; then
    debootstrap --variant=minbase "$1" "$root" http://deb.debian.org/debian >&2
    mkdir -p "$(dirname "$tarball")"
    tar -C "$root" --exclude='./var/cache/apt/archives/*.deb' \
      --exclude='./var/lib/apt/lists/*' --exclude='./proc/*' \
      --exclude='./sys/*' --exclude='./dev/*' -c . |
      zstd -q -f -o "$tarball.new"
    mv "$tarball.new" "$tarball"
    rm -rf "$root"
  fi
  zstd -dc "$tarball" | podman import - "$debian" >/dev/null
}
