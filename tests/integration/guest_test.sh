#!/bin/bash
# A real guest: QEMU boots Debian's cloud kernel with a small initramfs. Its
# disk is a volume over NBD in process; then its kernel's nbd driver attaches
# another through `ramvol attach`, over a network that is cut and restored.
# Arguments: the paths of ramvold, ramvol and guest_init.sh.
set -u

ramvold=$(realpath "$1")
cli=$(realpath "$2")
init=$(realpath "$3")
work=$(mktemp -d "${TEST_TMPDIR:-/tmp}/guest.XXXXXX")
cd "$work" || exit 1
# Short, because a socket's path may have 107 bytes at most.
sockets=$(mktemp -d /tmp/ramvol-guest.XXXXXX)
export RAMVOL_SERVER=unix:$sockets/grpc
export PATH=$PATH:/usr/sbin:/sbin
readonly boot_seconds=300
server_pid='' proxy_pid='' guest_pid=''

# shellcheck disable=SC2317  # The trap calls it.
finish() {
  [[ -z $guest_pid ]] || kill "$guest_pid" 2>/dev/null
  [[ -z $proxy_pid ]] || kill -- "-$proxy_pid" 2>/dev/null
  [[ -z $server_pid ]] || kill "$server_pid" 2>/dev/null
  wait
  rm -rf "$work" "$sockets"
}
trap finish EXIT

die() {
  echo "FAILED: $*" >&2
  exit 1
}

for tool in qemu-system-x86_64 busybox cpio mkfs.ext4 e2fsck fstrim socat \
  python3 strip ldd ramvol-guest-kernel; do
  command -v "$tool" >/dev/null || die "no $tool; ./dev deps installs it"
done

# --- The guest's files ---

kernel=$(ramvol-guest-kernel)
root=$work/root

# install_program FILE PATH: with the libraries that it needs.
install_program() {
  local library
  install -D -m 755 "$(readlink -f "$1")" "$root$2" || die "cannot copy $1"
  # What is linked statically has none.
  for library in $(ldd "$1" 2>/dev/null | grep -o '/[^ ]*'); do
    [[ -e $root$library ]] ||
      install -D -m 755 "$(readlink -f "$library")" "$root$library"
  done
}

# install_module NAME: with those that it needs, in the order of loading.
install_module() {
  local base line file files=() name
  base=$(echo "$kernel"/lib/modules/*)
  # Some kernels have it built in.
  ! grep -q "/$1\.ko$" "$base/modules.builtin" || return 0
  line=$(grep "/$1\.ko[.a-z]*:" "$base/modules.dep") || die "no module $1"
  for file in ${line/:/}; do files=("$file" "${files[@]}"); done
  for file in "${files[@]}"; do
    name=$(basename "${file%.ko*}").ko
    [[ ! -e $root/lib/modules/$name ]] || continue
    if [[ $file == *.xz ]]; then
      xz -dc "$base/$file" >"$root/lib/modules/$name"
    else
      cp "$base/$file" "$root/lib/modules/$name"
    fi
    [[ $1 == nbd ]] || echo "$name" >>"$root/lib/modules/order"
  done
}

make_initramfs() {
  local applet program
  mkdir -p "$root"/{bin,sbin,proc,sys,dev,tmp,mnt,run,etc,lib/modules,usr/bin}
  cp /bin/busybox "$root/bin/busybox"
  for applet in $(busybox --list); do
    [[ -e $root/bin/$applet ]] || ln -s busybox "$root/bin/$applet"
  done
  for program in mkfs.ext4 e2fsck fstrim; do
    rm -f "$root/bin/$program"
    install_program "$(command -v $program)" "/sbin/$program"
  done
  # Without its symbols: an initramfs is held in memory.
  strip -o ramvol.stripped "$cli"
  install_program "$cli" /bin/ramvol
  install -m 755 ramvol.stripped "$root/bin/ramvol"
  : >"$root/lib/modules/order"
  for module in virtio_pci virtio_blk virtio_net nbd; do
    install_module "$module"
  done
  cp /etc/mke2fs.conf "$root/etc"
  echo root:x:0:0::/:/bin/sh >"$root/etc/passwd"
  install -m 755 "$init" "$root/init"
  (cd "$root" && find . | cpio -o -H newc --quiet) >initramfs
}

# --- The host's side ---

start_server() {
  local i
  "$ramvold" --listen="$RAMVOL_SERVER,127.0.0.1:0" --memory_limit=512M \
    --metrics_listen= --nbd_listen="unix:$sockets/nbd" \
    >server.out 2>server.err &
  server_pid=$!
  for ((i = 0; i < 400; i++)); do
    grep -q ready server.out && return
    sleep 0.05
  done
  die "the server is not ready: $(cat server.err)"
}

free_port() {
  python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'
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

answer() {
  case $1 in
    cut) stop_proxy ;;
    restore) start_proxy ;;
    *) die "the guest asks for \"$1\"" ;;
  esac
  echo "host: $1"
}

# boot PART: runs one guest to its end and tells its story. The CPU is an old
# one: QEMU 7.2 emulates newer ones in ways that Linux 6.12 dies of.
boot() {
  local disk seen=0 count line log=$1.log deadline running=true
  disk=$("$cli" qemu disk) || die "ramvol qemu"
  eval "disk=($disk)"
  : >"$log"
  qemu-system-x86_64 -nodefaults -no-user-config -M q35 \
    -accel tcg,thread=multi -cpu Nehalem -smp 2 -m 1024 -no-reboot -display none \
    -kernel "$kernel"/boot/vmlinuz-* -initrd initramfs -serial "file:$log" \
    -append "console=ttyS0 panic=-1 quiet loglevel=1 nokaslr mitigations=off no_timer_check ramvol.part=$1 ramvol.grpc=$grpc_port ramvol.nbd=$nbd_port" \
    -netdev user,id=net -device virtio-net-pci,netdev=net,romfile= "${disk[@]}" &
  guest_pid=$!
  deadline=$((SECONDS + boot_seconds))
  while $running; do
    # Asked before reading, so that its last lines are read.
    kill -0 "$guest_pid" 2>/dev/null && ((SECONDS < deadline)) || running=false
    count=0
    while IFS= read -r line; do
      ((++count > seen)) || continue
      seen=$count line=${line%$'\r'}
      [[ $line != "guest: "* ]] || echo "$line"
      [[ $line != "guest: ask "* ]] || answer "${line#guest: ask }"
    done <"$log"
    sleep 0.2
  done
  if ! grep -aq '^guest: passed' "$log"; then
    grep -av "^guest: " "$log" | tail -n 100
    die "the guest did not pass part $1"
  fi
  wait "$guest_pid" || die "QEMU failed"
  guest_pid=
}

make_initramfs
start_server
grpc_port=$(sed -n 's/.*127\.0\.0\.1:\([0-9]*\).*/\1/p' server.out)
nbd_port=$(free_port)
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
[[ $("$cli" stat kdisk --output=json) == *'"attachedClients": 0'* ]] ||
  die "kdisk is still attached: $("$cli" stat kdisk)"

kill -TERM "$server_pid"
wait "$server_pid" || die "the server did not stop cleanly: $(cat server.err)"
server_pid=
echo "all passed, in $SECONDS s"
