#!/bin/bash
# The driver's image, confined as the chart's pods are: it mounts volumes where the node
# sees them, ramvold's volumes outlive its container, and ramvol-image gives the node
# an image. Arguments: ramvold's image and the driver's. Runs as root, with podman, below
# container_test.sh.
set -euo pipefail

readonly image=$1 csi_image=$2 most_bytes=350000000
cd "$(dirname "$(readlink -f "$0")")/../.."
repository=$PWD
# Short, for the sockets.
work=$(mktemp -d /tmp/csi-container.XXXXXX)
state=$(mktemp -d /dev/shm/csi-container.XXXXXX)
server=ramvol-csi-server-$$ driver=ramvol-csi-$$ importer=ramvol-image-$$
files=

# shellcheck disable=SC2317  # The trap calls it.
finish() {
  [ -z "$files" ] || kill "$files" 2>/dev/null || :
  podman rm --force --time=1 "$importer" "$driver" "$server" >/dev/null 2>&1 || :
  awk -v below="$work/" 'index($2, below) == 1 {print $2}' /proc/mounts | tac |
    while read -r target; do umount --lazy "$target" || :; done
  rm -rf "$work" "$state"
}
trap finish EXIT

fail() {
  echo "FAILED: $*" >&2
  for name in "$server" "$driver" "$importer"; do
    echo "-- $name" >&2
    podman logs "$name" 2>&1 | tail -n 20 >&2 || :
  done
  exit 1
}

# wait_for WHAT COMMAND...
wait_for() {
  local what=$1 i
  shift
  for ((i = 0; i < 300; i++)); do
    ! "$@" >/dev/null 2>&1 || return 0
    sleep 0.2
  done
  fail "$what"
}

ramvol() { podman exec "$server" /usr/bin/ramvol "$@"; }

start_server() {
  podman run --detach --name="$server" --no-healthcheck --network=none --memory=1g \
    --read-only --user=0:0 --cap-drop=all --security-opt=no-new-privileges \
    --env=RAMVOL_SERVER=unix:/run/ramvol/grpc.sock \
    --volume="$work/sockets:/run/ramvol" --volume="$state:/var/lib/ramvol" "$image" \
    --listen=unix:/run/ramvol/grpc.sock --nbd_listen=unix:/run/ramvol/nbd.sock \
    --state_dir=/var/lib/ramvol/state --metrics_listen= >/dev/null
  wait_for "ramvold" ramvol health
}

echo "== the driver's image"
bytes=$(podman image inspect --format='{{.Size}}' "$csi_image")
echo "it has $bytes bytes"
((bytes < most_bytes)) || fail "it has $bytes bytes"
labels=$(podman image inspect --format='{{json .Config.Labels}}' "$csi_image")
for label in title description licenses source version revision; do
  [[ $labels == *"\"org.opencontainers.image.$label\":"* ]] || fail "no label $label"
done
# shellcheck disable=SC2016  # The container's own.
podman run --rm --network=none --entrypoint=sh "$csi_image" -c '
  for program in btrfs curl e2fsck fstrim losetup mkfs.btrfs mkfs.ext4 \
    mkfs.xfs modprobe mount ramvol ramvol-image resize2fs setpriv setsid \
    sha256sum umount xfs_growfs; do
    command -v $program >/dev/null || { echo "no $program"; exit 1; }
  done
  ramvol-csi --version && ramvol --version' || fail "a program is missing"

echo "== volumes"
mkdir "$work"/{sockets,kubelet,files}
mount --bind "$work/kubelet" "$work/kubelet"
mount --make-shared "$work/kubelet"
start_server
podman run --detach --name="$driver" --privileged --read-only --network=none \
  --volume=/dev:/dev --volume="$work/sockets:/run/ramvol" \
  --volume="$work/kubelet:$work/kubelet:rshared" --tmpfs=/run/mount --tmpfs=/tmp \
  "$csi_image" --endpoint="unix:$work/kubelet/csi.sock" --node_id=node-1 \
  --ramvold=unix:/run/ramvol/grpc.sock --nbd=unix:/run/ramvol/nbd.sock \
  --state_dir="$work/kubelet/volumes" --attach=fuse >/dev/null
wait_for "the driver" test -S "$work/kubelet/csi.sock"
PYTHONPATH=$repository/tests/csi /usr/bin/python3 -B - "$work/kubelet" <<'TEXT' ||
import os
import sys
import types

import csi_client

node = types.SimpleNamespace(folder=sys.argv[1])
messages = csi_client.load(os.path.realpath("third_party/csi/csi.proto"))
client = csi_client.Client(f"unix:{node.folder}/csi.sock", messages)
assert client.Probe().ready.value
for fs_type in "ext4", "xfs", "btrfs":
    client.CreateVolume(
        name=fs_type,
        capacity_range={"required_bytes": 1 << 29},
        volume_capabilities=[client.capability(fs_type=fs_type)],
    )
    pod = csi_client.Pod(node, client, fs_type, fs_type=fs_type).start()
    # Outside of the container, as a kubelet and its pods have it.
    with open("/proc/self/mounts", encoding="utf-8") as mounts:
        assert any(line.split()[1:3] == [pod.target, fs_type] for line in mounts)
    with open(f"{pod.target}/file", "w", encoding="utf-8") as file:
        file.write(fs_type)
        os.fsync(file.fileno())
    pod.end()
    assert os.listdir(os.path.dirname(pod.target)) == []
TEXT
  fail "volumes"

echo "== another ramvold"
podman rm --force "$server" >/dev/null
start_server
[ "$(ramvol ls --quiet | tr '\n' ' ')" = "btrfs ext4 xfs " ] || fail "$(ramvol ls)"

echo "== an image on the node"
head -c 3000000 /dev/urandom >"$work/files/golden.img"
digest=$(sha256sum "$work/files/golden.img" | cut -d ' ' -f 1)
/usr/bin/python3 -u -m http.server --bind=127.0.0.1 --directory="$work/files" 0 \
  >"$work/http.log" 2>&1 &
files=$!
wait_for "files" grep -q 'port [0-9]' "$work/http.log"
port=$(sed -n 's/.* port \([0-9]*\) .*/\1/p' "$work/http.log")

# import NAME SHA256: as the chart's DaemonSet does.
import() {
  podman run --detach --name="$importer" --network=host --read-only --user=0:0 \
    --cap-drop=all --security-opt=no-new-privileges --tmpfs=/image \
    --volume="$work/sockets:/run/ramvol" --env=NAME="$1" --env=SHA256="$2" \
    --env=FORMAT=auto --env=URL="http://127.0.0.1:$port/golden.img" \
    --env=RAMVOL_SERVER=unix:/run/ramvol/grpc.sock \
    --entrypoint=/usr/bin/ramvol-image "$csi_image" >/dev/null
}

says() { podman logs "$importer" 2>&1 | grep "$1" >/dev/null; }

import wrong "$(printf '%064d' 0)"
wait_for "a wrong digest" says 'wrong could not be made'
! ramvol show wrong >/dev/null 2>&1 || fail "an image of a wrong digest is there"
podman rm --force --time=5 "$importer" >/dev/null
import golden "$digest"
wait_for "the image" ramvol show golden
[ "$(ramvol export golden - | head -c 3000000 | sha256sum)" = "$digest  -" ] ||
  fail "the image is another"
podman exec "$importer" /usr/bin/ramvol-image check || fail "the image is not ready"
# A node that lost its volumes.
podman rm --force "$server" >/dev/null
rm -rf "$state/state"
start_server
wait_for "the image, again" ramvol show golden
podman kill --signal=TERM "$importer" >/dev/null
[ "$(podman wait "$importer")" = 0 ] || fail "ramvol-image does not stop"
echo "the driver's image passed"
