#!/bin/bash
# For the tests of the NBD bridges, which source it: starts and stops the
# programs, makes URIs and images, counts failures.
#
# A test's arguments are the way, and the paths of ramvold, ramvol and ramvol-nbd.
# The way is `inprocess` (ramvold listens for NBD itself) or `bridge` (ramvol-nbd
# does, beside it).
#
# Sets: way, ramvold, cli, bridge, work (the current folder), sockets, and in
# start_nbd: nbd_socket, nbd_host_port, nbd_pid (the process that serves NBD).
# Exports RAMVOL_SERVER.
# shellcheck disable=SC2034  # Those who source this use the variables.
set -u

way=$1 ramvold=$(realpath "$2") cli=$(realpath "$3") bridge=$(realpath "$4")
work=$(mktemp -d "${TEST_TMPDIR:-/tmp}/nbd.XXXXXX")
cd "$work" || exit 1
# Short, because a socket's path may have 107 bytes at most.
sockets=$(mktemp -d /tmp/ramvol-nbd.XXXXXX)
export RAMVOL_SERVER=unix:$sockets/grpc
# mkfs and nbd-client are there.
export PATH=$PATH:/usr/sbin:/sbin
memory_limit=${memory_limit:-512M}
server_pid='' bridge_pid='' nbd_pid='' nbd_socket='' nbd_host_port=''
failures=0

# shellcheck disable=SC2317  # The trap calls it.
finish() {
  local pid
  for pid in $bridge_pid $server_pid; do
    kill -KILL "$pid" 2>/dev/null
    wait "$pid" 2>/dev/null
  done
  cd / && rm -rf "$work" "$sockets"
}
trap finish EXIT

say() { echo "== $*"; }

fail() {
  echo "FAILED: $*" >&2
  failures=$((failures + 1))
}

die() {
  fail "$*"
  exit 1
}

# need PROGRAM...: each must be installed.
need() {
  local program
  for program; do
    command -v "$program" >/dev/null ||
      die "$program is missing; ./dev deps installs it"
  done
}

# works COMMAND...: must succeed; its output is in out and err.
works() {
  "$@" >out 2>err </dev/null || fail "$* failed ($?): $(cat out err)"
}

# refused WORDS COMMAND...: must fail, with the words in what it says.
refused() {
  local words=$1
  shift
  "$@" >out 2>err </dev/null && fail "$* succeeded: $(cat out err)"
  grep -qF -- "$words" out err ||
    fail "$*: no \"$words\" in: $(cat out err)"
}

# answers_no COMMAND...: must exit with 2, which is "no" where tools are asked.
answers_no() {
  local status=0
  "$@" >out 2>err </dev/null || status=$?
  [[ $status == 2 ]] || fail "$* exited with $status: $(cat out err)"
}

# says WORDS...: each of them stands in out.
says() {
  local words
  for words; do
    grep -qF -- "$words" out || fail "no \"$words\" in: $(cat out)"
  done
}

same() { cmp "$1" "$2" || fail "$1 and $2 differ"; }

# Blocks that a file has on its disk, in KiB.
disk_kib() { du -k "$1" | cut -f1; }

# --- The programs ---

# await_ready FILE PID: waits for the ready line in FILE.
await_ready() {
  local i
  for ((i = 0; i < 1200; i++)); do
    grep -qs ' ready: ' "$1" && return
    kill -0 "$2" 2>/dev/null || break
    sleep 0.05
  done
  die "no ready line: $(cat "$1" "${1%.out}.err")"
}

start_ramvold() {
  rm -f ramvold.out  # An older one's ready line is not to be found.
  "$ramvold" --listen="$RAMVOL_SERVER" --metrics_listen= \
    --memory_limit="$memory_limit" "$@" >ramvold.out 2>ramvold.err &
  server_pid=$!
  await_ready ramvold.out "$server_pid"
}

start_bridge() {
  rm -f bridge.out
  "$bridge" --server="$RAMVOL_SERVER" --metrics_listen= "$@" \
    >bridge.out 2>bridge.err &
  bridge_pid=$!
  await_ready bridge.out "$bridge_pid"
}

# start_nbd [--read_only] [FLAG...]: starts ramvold, and ramvol-nbd where that is
# the way, which serve NBD on a Unix socket and on a free port of the loopback.
# shellcheck disable=SC2120  # Flags are for those who want them.
start_nbd() {
  local listen=unix:$sockets/nbd,127.0.0.1:0 ready flags=("$@")
  if [[ $way == inprocess ]]; then
    start_ramvold --nbd_listen="$listen" "${flags[@]/#--read_only/--nbd_read_only}"
    nbd_pid=$server_pid ready=ramvold.out
  else
    [[ -n $server_pid ]] || start_ramvold
    start_bridge --listen="$listen" "$@"
    nbd_pid=$bridge_pid ready=bridge.out
  fi
  nbd_socket=$sockets/nbd
  nbd_host_port=$(sed -nE 's/.*nbd [^;]*(127\.0\.0\.1:[0-9]+).*/\1/p' $ready)
  [[ -n $nbd_host_port ]] || die "no port in: $(cat $ready)"
  grep -q "nbd .*unix:$nbd_socket" $ready || fail "no socket in: $(cat $ready)"
}

# stop PID NAME: asks it to stop; it must do so cleanly.
stop() {
  local status
  kill -TERM "$1" || fail "$2 had ended: $(tail -n 5 "$2.err")"
  wait "$1"
  status=$?
  [[ $status == 0 ]] || fail "$2 ended with $status: $(tail -n 50 "$2.err")"
}

stop_nbd() {
  [[ -z $bridge_pid ]] || stop "$bridge_pid" bridge
  bridge_pid=
  stop "$server_pid" ramvold
  server_pid=
}

# The end of each test.
finish_test() {
  stop_nbd
  ((failures == 0)) && echo "all passed: $(basename "$0") $way"
  exit $((failures != 0))
}

# unix_uri and tcp_uri VOLUME: the two ways to reach it.
unix_uri() { echo "nbd+unix:///$1?socket=$nbd_socket"; }
tcp_uri() { echo "nbd://$nbd_host_port/$1"; }

# make_volume NAME SIZE
make_volume() {
  "$cli" create "$@" >/dev/null || die "ramvol create $*"
}

# How many clients a volume has.
attached() { "$cli" stat "$1" | sed -n 's/^Attached: *\([0-9]*\) client.*/\1/p'; }

# await_attached VOLUME COUNT: a count follows its clients at once, or nearly.
await_attached() {
  local i
  for ((i = 0; i < 1200; i++)); do
    [[ $(attached "$1") == "$2" ]] && return
    sleep 0.05
  done
  fail "$1: $(attached "$1") clients are attached, not $2"
}

# delete_volume NAME: one whose clients have ended.
delete_volume() {
  await_attached "$1" 0
  "$cli" rm "$1" >/dev/null || fail "ramvol rm $1"
}

# --- Images ---

# random_bytes COUNT [SEED]: always the same ones.
random_bytes() {
  /usr/bin/python3 -c 'import random, sys
sys.stdout.buffer.write(random.Random(sys.argv[2]).randbytes(int(sys.argv[1])))' \
    "$1" "${2:-0}"
}

# make_image FILE: 200 MB and a byte with data, holes, zeroes that are no holes,
# and odd ends.
make_image() {
  rm -f "$1"
  truncate -s 200000001 "$1"
  tar -c --sort=name /usr/include 2>/dev/null | head -c 20000000 |
    dd of="$1" bs=64k seek=3 conv=notrunc iflag=fullblock status=none
  random_bytes 3000001 |
    dd of="$1" bs=1M seek=100 conv=notrunc iflag=fullblock status=none
  dd if=/dev/zero of="$1" bs=1M count=10 seek=150 conv=notrunc status=none
}

# make_tree BYTES: the folder tree, with many small files and links, and
# incompressible ones.
make_tree() {
  mkdir -p tree
  tar -c --sort=name -C /usr/include . 2>/dev/null | head -c "$1" |
    tar -x -C tree 2>/dev/null
  random_bytes 5000000 7 >tree/noise
}

same_tree() {
  diff -r --no-dereference -x lost+found tree "$1" || fail "tree and $1 differ"
}

# make_ext4 FILE: 300 MiB of file system with the tree, in a file with holes.
make_ext4() {
  rm -f "$1"
  make_tree 50000000
  mke2fs -q -t ext4 -d tree -F "$1" 300M >/dev/null || die "mke2fs"
}
