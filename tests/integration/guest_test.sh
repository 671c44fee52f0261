#!/bin/bash
# A real guest. Its disk is a volume over NBD in process; then its kernel's nbd
# driver attaches another through `ramvol attach`, over a network that is cut and
# restored. Arguments: the paths of ramvold, ramvol and guest_init.sh.
init=$(realpath "$3")
# shellcheck source=tests/integration/guest_common.sh
source "$(dirname "$0")/guest_common.sh" "$1" "$2"
need mkfs.ext4 e2fsck fstrim socat python3 strip
proxy_pid=''

# shellcheck disable=SC2317  # The trap calls it.
stop_all() {
  [[ -z $proxy_pid ]] || kill -- "-$proxy_pid" 2>/dev/null
  finish
}
trap stop_all EXIT

make_initramfs() {
  local program
  install_system virtio_pci virtio_blk virtio_net nbd
  for program in mkfs.ext4 e2fsck fstrim; do
    rm -f "$root/bin/$program"
    install_program "$(command -v $program)" "/sbin/$program"
  done
  # Without its symbols: an initramfs is held in memory.
  strip -o ramvol.stripped "$cli"
  install_program "$cli" /bin/ramvol
  install -m 755 ramvol.stripped "$root/bin/ramvol"
  pack_initramfs "$init"
}

# Between the guest and the NBD listener; in a process group of its own, with
# its children.
start_proxy() {
  setsid socat "TCP-LISTEN:$nbd_port,bind=127.0.0.1,reuseaddr,fork,backlog=64" \
    "UNIX-CONNECT:$sockets/nbd" &
  proxy_pid=$!
}

stop_proxy() {
  kill -KILL -- "-$proxy_pid"
  wait "$proxy_pid" 2>/dev/null
  proxy_pid=
}

stored_bytes() {
  "$cli" stat "$1" --output=json |
    sed -n '/"storedBytes"/{s/[^0-9]*\([0-9]*\).*/\1/p;q}'
}

heed() {
  case $1 in
    "ask cut") stop_proxy ;;
    "ask restore") start_proxy ;;
    *) return ;;
  esac
  echo "host: ${1#ask }"
}

# boot PART: runs one guest to its end.
boot() {
  start_guest "$1" \
    "ramvol.part=$1 ramvol.grpc=$grpc_port ramvol.nbd=$nbd_port" disk \
    -netdev user,id=net -device virtio-net-pci,netdev=net,romfile=
  await_passed "$1"
}

make_initramfs
start_server --listen="$RAMVOL_SERVER,127.0.0.1:0"
grpc_port=$(sed -n 's/.*127\.0\.0\.1:\([0-9]*\).*/\1/p' server.out)
nbd_port=''
free_port nbd_port
start_proxy
"$cli" create disk 1G >/dev/null || die "create"
"$cli" create kdisk 512M >/dev/null || die "create"
"$cli" create other 1M >/dev/null || die "create"

boot make
written=$(stored_bytes disk)
echo "host: disk stores $written bytes"
((written > 56 << 20)) || die "too little was written"
boot check
kept=$(stored_bytes disk)
echo "host: disk stores $kept bytes after fstrim in the guest"
((written - kept >= 46 << 20)) || die "fstrim in the guest freed too little"
await_detached kdisk

stop_server
echo "all passed, in $SECONDS s"
