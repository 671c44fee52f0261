#!/bin/bash
# A guest whose disks are volumes by vhost-user, and a snapshot that it may only read:
# over a reboot, a growth under way, and servers that are killed under what it writes.
# Arguments: the paths of ramvold, ramvol and guest_vhost_init.sh.
init=$(realpath "$3")
# shellcheck source=tests/integration/guest_common.sh
source "$(dirname "$0")/guest_common.sh" "$1" "$2"
need mkfs.ext4 e2fsck fstrim resize2fs fio
state=$(mktemp -d /dev/shm/ramvol-guest.XXXXXX)
disk_flags=(--vhost-user)
kills=0

# shellcheck disable=SC2317  # The trap calls it.
stop_all() {
  finish
  rm -rf "$state"
}
trap stop_all EXIT

make_initramfs() {
  local program
  install_system virtio_pci virtio_blk
  for program in mkfs.ext4 e2fsck fstrim resize2fs fio; do
    rm -f "$root/bin/$program"
    install_program "$(command -v $program)" "/sbin/$program"
  done
  pack_initramfs "$init"
}

start() {
  start_server --listen="$RAMVOL_SERVER" --state_dir="$state" \
    --vhost_user_dir="$sockets"
}

stored_bytes() {
  "$cli" stat "$1" --output=json |
    sed -n '/"storedBytes"/{s/[^0-9]*\([0-9]*\).*/\1/p;q}'
}

# shellcheck disable=SC2317  # follow_guest calls it.
heed() {
  case $1 in
    "ask replace")
      kill -KILL "$server_pid"
      wait "$server_pid" 2>/dev/null
      server_pid=
      ((++kills))
      start
      ;;
    "ask grow")
      # Before the guest, which waits, writes again.
      kept=$(stored_bytes disk)
      "$cli" resize disk 2G >/dev/null || die "resize"
      ;;
    *) return ;;
  esac
  echo "host: ${1#ask }, $kills kills"
}

# boot PART VOLUME...: runs one guest to its end.
boot() {
  local part=$1
  shift
  start_guest "$part" "ramvol.part=$part" "$@"
  await_passed "$part"
}

make_initramfs
start
"$cli" create disk 1G >/dev/null || die "create"
boot make disk
written=$(stored_bytes disk)
echo "host: disk stores $written bytes"
((written > 56 << 20)) || die "too little was written"
"$cli" snapshot create disk gold >/dev/null || die "snapshot"

# QEMU's memory is said once.
second=$("$cli" qemu --vhost-user @gold --memory=0) || die "ramvol qemu"
eval "second=($second)"
kept=$written
boot check disk "${second[@]}"
echo "host: disk stores $kept bytes after fstrim in the guest"
((written - kept >= 46 << 20)) || die "fstrim in the guest freed too little"
((kills >= 5)) || die "only $kills kills"
await_detached disk

"$cli" create speed 64M >/dev/null || die "create"
by_nbd=$("$cli" qemu speed) || die "ramvol qemu"
eval "by_nbd=($by_nbd)"
boot speed speed "${by_nbd[@]}"
stop_server
echo "all passed with $kills kills, in $SECONDS s"
