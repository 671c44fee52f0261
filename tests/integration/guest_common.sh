#!/bin/bash
# For the tests that boot guests, which source it: QEMU boots Debian's cloud
# kernel with a small initramfs, and a guest tells its story on its serial
# console.
#
# Its arguments are the paths of ramvold and ramvol. Sets: ramvold, cli, work
# (the current folder), sockets, kernel, root (the folder of the guest's files).
# Exports RAMVOL_SERVER.
# shellcheck disable=SC2034  # Those who source this use the variables.
set -u

init_common=$(realpath "$(dirname "${BASH_SOURCE[0]}")/guest_init_common.sh")
ramvold=$(realpath "$1")
cli=$(realpath "$2")
work=$(mktemp -d "${TEST_TMPDIR:-/tmp}/guest.XXXXXX")
cd "$work" || exit 1
# Short, because a socket's path may have 107 bytes at most.
sockets=$(mktemp -d /tmp/ramvol-guest.XXXXXX)
export RAMVOL_SERVER=unix:$sockets/grpc
export PATH=$PATH:/usr/sbin:/sbin
readonly boot_seconds=800
root=$work/root
# Flags of `ramvol qemu` for a guest's disks.
disk_flags=()
server_pid='' guest_pid='' port_pids=()

# shellcheck disable=SC2317  # The trap calls it.
finish() {
  [[ -z $guest_pid ]] || kill -KILL "$guest_pid" 2>/dev/null
  [[ -z $server_pid ]] || kill "$server_pid" 2>/dev/null
  [[ ${#port_pids[@]} = 0 ]] || kill "${port_pids[@]}" 2>/dev/null
  wait
  rm -rf "$work" "$sockets"
}
trap finish EXIT

die() {
  echo "FAILED: $*" >&2
  exit 1
}

# need PROGRAM...: each must be installed.
need() {
  local program
  for program; do
    command -v "$program" >/dev/null ||
      die "no $program; ./dev deps installs it"
  done
}

need qemu-system-x86_64 busybox cpio ldd ramvol-guest-kernel
kernel=$(ramvol-guest-kernel)

# --- The guest's files ---

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

# install_system MODULE...: folders, busybox and modules.
install_system() {
  local applet module
  mkdir -p "$root"/{bin,sbin,proc,sys,dev,tmp,mnt,run,etc,lib/modules,usr/bin}
  install_program /bin/busybox /bin/busybox
  for applet in $(busybox --list); do
    [[ -e $root/bin/$applet ]] || ln -s busybox "$root/bin/$applet"
  done
  cp /etc/mke2fs.conf "$root/etc"
  echo root:x:0:0::/:/bin/sh >"$root/etc/passwd"
  install -m 644 "$init_common" "$root/lib/guest.sh"
  : >"$root/lib/modules/order"
  for module; do install_module "$module"; done
}

# pack_initramfs INIT: all of $root, and the script INIT as its first program.
pack_initramfs() {
  install -m 755 "$1" "$root/init"
  (cd "$root" && find . | cpio -o -H newc --quiet) >initramfs
}

# --- The host's side ---

# await_detached VOLUME: until the server has seen that its guest has ended.
await_detached() {
  local i
  for ((i = 0; i < 1200; i++)); do
    [[ $("$cli" stat "$1" --output=json) == *'"attachedClients": 0'* ]] && return
    sleep 0.05
  done
  die "$1 is still attached: $("$cli" stat "$1")"
}

# start_server [FLAG...]
start_server() {
  local i
  : >server.out
  "$ramvold" --memory_limit=512M --metrics_listen= \
    --nbd_listen="unix:$sockets/nbd" "$@" >server.out 2>server.err &
  server_pid=$!
  for ((i = 0; i < 1200; i++)); do
    grep -q ready server.out && return
    sleep 0.05
  done
  die "the server is not ready: $(cat server.err)"
}

# free_port NAME: sets it to a port that stays bound until the test ends, so that
# nobody else gets it. Servers bind it with SO_REUSEADDR, because nobody listens.
free_port() {
  exec {port_fd}< <(exec python3 -c '
import signal, socket
s = socket.socket()
s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
s.bind(("127.0.0.1", 0))
print(s.getsockname()[1], flush=True)
signal.pause()')
  port_pids+=($!)
  read -r "$1" <&"$port_fd"
}

stop_server() {
  kill -TERM "$server_pid"
  wait "$server_pid" || die "the server did not stop cleanly: $(cat server.err)"
  server_pid=
}

# start_guest NAME WORDS VOLUME... [-FLAG...]: its log is NAME.log; WORDS go to
# the kernel's command line. The CPU is an old one: QEMU 7.2 emulates newer ones
# in ways that Linux 6.12 dies of.
start_guest() {
  local name=$1 words=$2 disk disks=()
  shift 2
  while (($# > 0)) && [[ $1 != -* ]]; do
    disk=$("$cli" qemu "${disk_flags[@]}" "$1") || die "ramvol qemu"
    eval "disks+=($disk)"
    shift
  done
  : >"$name.log"
  qemu-system-x86_64 -nodefaults -no-user-config -M q35 \
    -accel tcg,thread=multi -cpu Nehalem -smp 2 -m 1024 -no-reboot -display none \
    -kernel "$kernel"/boot/vmlinuz-* -initrd initramfs -serial "file:$name.log" \
    -append "console=ttyS0 panic=-1 quiet loglevel=1 nokaslr mitigations=off no_timer_check $words" \
    "${disks[@]}" "$@" &
  guest_pid=$!
}

# follow_guest NAME: prints each "guest: " line and calls `heed` with it, until
# the guest ends. `heed` may end it.
follow_guest() {
  local seen=0 count line deadline running=true
  deadline=$((SECONDS + boot_seconds))
  while $running; do
    # Asked before reading, so that its last lines are read.
    kill -0 "$guest_pid" 2>/dev/null && ((SECONDS < deadline)) || running=false
    count=0
    while IFS= read -r line; do
      ((++count > seen)) || continue
      seen=$count line=${line%$'\r'}
      [[ $line == "guest: "* ]] || continue
      echo "$line"
      heed "${line#guest: }"
    done <"$1.log"
    sleep 0.2
  done
}

# await_passed NAME: follows the guest, which must say that it passed.
await_passed() {
  follow_guest "$1"
  if ! grep -aq '^guest: passed' "$1.log"; then
    grep -av "^guest: " "$1.log" | tail -n 100
    die "the guest did not pass part $1"
  fi
  wait "$guest_pid" || die "QEMU failed"
  guest_pid=
}
