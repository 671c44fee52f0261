#!/bin/bash
# A server with --state_dir, killed under two guests: under one that writes a
# journaling file system on a disk that QEMU attached over NBD, and under one
# whose kernel attached a volume by `ramvol attach --monitor`. Each time a new
# server goes on with the same folder; the guests go on, too.
# Arguments: the paths of ramvold, ramvol and guest_state_init.sh.
init=$(realpath "$3")
# shellcheck source=tests/integration/guest_common.sh
source "$(dirname "$0")/guest_common.sh" "$1" "$2"
need mkfs.ext4 e2fsck socat python3 strip
state=$(mktemp -d /dev/shm/ramvol-guest.XXXXXX)
proxy_pid='' kills=0

# shellcheck disable=SC2317  # The trap calls it.
stop_all() {
  [[ -z $proxy_pid ]] || kill -- "-$proxy_pid" 2>/dev/null
  finish
  rm -rf "$state"
}
trap stop_all EXIT

make_initramfs() {
  local program
  install_system virtio_pci virtio_blk virtio_net nbd
  for program in mkfs.ext4 e2fsck; do
    rm -f "$root/bin/$program"
    install_program "$(command -v $program)" "/sbin/$program"
  done
  # Without its symbols: an initramfs is held in memory.
  strip -o ramvol.stripped "$cli"
  install_program "$cli" /bin/ramvol
  install -m 755 ramvol.stripped "$root/bin/ramvol"
  pack_initramfs "$init"
}

start() {
  start_server --listen="$RAMVOL_SERVER,127.0.0.1:$grpc_port" --state_dir="$state"
}

kill_server() {
  kill -KILL "$server_pid"
  wait "$server_pid" 2>/dev/null
  server_pid=
  ((++kills))
}

# Between the guest's network and the NBD listener, over all servers.
start_proxy() {
  setsid socat "TCP-LISTEN:$nbd_port,bind=127.0.0.1,reuseaddr,fork,backlog=64" \
    "UNIX-CONNECT:$sockets/nbd" &
  proxy_pid=$!
}

# shellcheck disable=SC2317  # follow_guest calls it.
heed() {
  case $1 in
    # Whoever uses it notices at some time; a guest's disk must not.
    "ask replace") kill_server && start ;;
    "ask kill") kill_server ;;
    "ask start") start ;;
    *) return ;;
  esac
  echo "host: ${1#ask }, $kills kills"
}

# boot PART: runs one guest to its end.
boot() {
  start_guest "$1" \
    "ramvol.part=$1 ramvol.grpc=$grpc_port ramvol.nbd=$nbd_port" disk \
    -netdev user,id=net -device virtio-net-pci,netdev=net,romfile=
  await_passed "$1"
}

make_initramfs
grpc_port='' nbd_port=''
free_port grpc_port
free_port nbd_port
start
start_proxy
"$cli" create disk 1G >/dev/null || die "create"
"$cli" create kdisk 512M >/dev/null || die "create"
boot disk
boot attach
stop_server
((kills >= 8)) || die "only $kills kills"
echo "all passed with $kills kills, in $SECONDS s"
