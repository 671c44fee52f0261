#!/bin/bash
# ramvold and ramvol-nbd as systemd runs them: notification, passed sockets, and
# the units of deploy/systemd as systemd-analyze judges them. Arguments: the paths
# of ramvold, ramvol, ramvol-nbd, and of one of the units.
set -u

ramvold=$(realpath "$1")
cli=$(realpath "$2")
bridge=$(realpath "$3")
units=$(dirname "$(realpath "$4")")
# Most exposure that `systemd-analyze security` may find, in tenths of 10.
threshold=20
work=$(mktemp -d "${TEST_TMPDIR:-/tmp}/systemd.XXXXXX")
cd "$work" || exit 1
# Short, because a socket's path may have 107 bytes at most.
sockets=$(mktemp -d /tmp/ramvol-sd.XXXXXX)
pids=()

# shellcheck disable=SC2317  # The trap calls it.
finish() {
  kill "${pids[@]}" 2>/dev/null
  wait
  rm -rf "$work" "$sockets"
}
trap finish EXIT

fail() {
  echo "FAILED: $*" >&2
  exit 1
}

# await FILE PATTERN: waits for it, for a minute.
await() {
  local i
  for ((i = 0; i < 1200; i++)); do
    grep -qs -- "$2" "$1" && return
    sleep 0.05
  done
  fail "no \"$2\" in $1: $(cat "$1")"
}

# activate NAME FDNAMES PROGRAM ARGUMENT... -- LISTEN...: the program starts at the
# first connection to one of the LISTENs. Its pid is in $pid.
activate() {
  local name=$1 fdnames=$2 command=() listen=()
  shift 2
  while [[ $1 != -- ]]; do command+=("$1") && shift; done
  shift
  for address; do listen+=(-l "$address"); done
  NOTIFY_SOCKET=$sockets/notify systemd-socket-activate -E NOTIFY_SOCKET \
    "${listen[@]}" --fdname="$fdnames" "${command[@]}" \
    >"$name.out" 2>"$name.err" &
  pid=$!
  pids+=("$pid")
  await "$name.err" Listening
}

# ends NAME: SIGTERM to $pid, and 0 comes back.
ends() {
  kill -TERM "$pid"
  wait "$pid" || fail "$1 ended with $?: $(cat "$1.err")"
}

socat -u "UNIX-RECV:$sockets/notify" "CREATE:notified" &
pids+=($!)
await /proc/net/unix "$sockets/notify"

# Bound until the test ends, so that nobody else gets it. Who listens binds it with
# SO_REUSEADDR, too.
exec {port_fd}< <(exec /usr/bin/python3 -c 'import signal, socket
s = socket.socket()
s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
s.bind(("127.0.0.1", 0)); print(s.getsockname()[1], flush=True)
signal.pause()')
pids+=($!)
read -r port <&"$port_fd"
tcp=127.0.0.1:$port

# Both protocols, on sockets of both kinds, and what systemd is told.
activate ramvold grpc:nbd:grpc "$ramvold" --metrics_listen= --memory_limit=64M \
  -- "$sockets/grpc" "$sockets/nbd" "$tcp"
export RAMVOL_SERVER=unix:$sockets/grpc
"$cli" create disk 8M >/dev/null || fail "no gRPC: $(cat ramvold.err)"
await ramvold.out "ready: grpc unix:$sockets/grpc, $tcp; nbd unix:$sockets/nbd"
await notified READY=1
await notified "STATUS=Serving: grpc unix:$sockets/grpc"
"$cli" --server="$tcp" health >/dev/null || fail "no gRPC at $tcp"
[[ $("$cli" uri disk) == "nbd+unix:///disk?socket=$sockets/nbd" ]] ||
  fail "uri: $("$cli" uri disk)"
head -c 8388608 /dev/urandom >data
nbdcopy data "$("$cli" uri disk)" || fail "nbdcopy to a passed socket"
"$cli" export disk copy >/dev/null || fail "export"
cmp data copy || fail "export differs"
clients=()
for ((i = 0; i < 20; i++)); do
  "$cli" stat disk >/dev/null &
  clients+=($!)
done
for client in "${clients[@]}"; do wait "$client" || fail "a client of 20"; done
grep -q STOPPING notified && fail "stopping too early"
ends ramvold
await notified STOPPING=1
[[ -S $sockets/grpc ]] || fail "a socket that is systemd's was removed"

# Who connects while nobody listens waits in the socket.
rm "$sockets"/{grpc,nbd}
activate again grpc "$ramvold" --metrics_listen= --memory_limit=64M -- \
  "$sockets/grpc"
"$cli" server >/dev/null || fail "no gRPC alone: $(cat again.err)"
await again.out "ready: grpc unix:$sockets/grpc\$"
kill -STOP "$pid"
"$cli" create late 1M >late.out 2>&1 &
late=$!
kill -CONT "$pid"
wait "$late" || fail "a connection that had to wait: $(cat late.out)"

# The bridge.
activate bridge nbd "$bridge" --listen=systemd \
  --server="$RAMVOL_SERVER" -- "$sockets/bridge"
nbdinfo "nbd+unix:///late?socket=$sockets/bridge" >nbdinfo.out ||
  fail "no NBD from the bridge: $(cat bridge.err)"
await bridge.err "ready: nbd unix:$sockets/bridge"
[[ ! -s bridge.out ]] || fail "the bridge wrote to its standard output"
await notified "STATUS=Serving: nbd"
ends bridge

# Without sockets.
"$ramvold" --listen=systemd --metrics_listen= >none.out 2>none.err &&
  fail "--listen=systemd without sockets"
grep -q "FileDescriptorName=grpc" none.err || fail "$(cat none.err)"

# The units, with the programs where they are now.
mkdir units
for unit in "$units"/*.{service,socket,mount}; do
  sed -e "s|/usr/bin/ramvold|$ramvold|" -e "s|/usr/bin/ramvol-nbd|$bridge|" \
    "$unit" >"units/$(basename "$unit")"
done
systemd-analyze verify --man=no units/*.{service,socket,mount} >verified 2>&1 ||
  fail "systemd-analyze verify"
# It also talks about units of the system; ours must not be among them.
grep -E 'ramvol' verified && fail "systemd-analyze verify: see above"
for service in ramvold.service ramvol-nbd@.service; do
  systemd-analyze security --offline=true --no-pager \
    --threshold="$threshold" "$PWD/units/$service" >exposure 2>&1 ||
    fail "$service is too exposed: $(cat exposure)"
  grep Overall exposure || fail "no exposure: $(cat exposure)"
done

# Where the volumes live, as the mount makes it. Each part of the units names it.
state=$(sed -n 's/^Where=//p' units/run-ramvold.mount)
for line in "ReadWritePaths=$state" "Requires=run-ramvold.mount"; do
  grep -q "^$line\$" units/ramvold.service || fail "no $line in ramvold.service"
done
grep -q "^ExecStart=.* --state_dir=$state " units/ramvold.service || fail "no --state_dir"
options=$(sed -n 's/^Options=//p' units/run-ramvold.mount)
mkdir mounted
chmod 711 "$work"
# as_mounted COMMAND ARGUMENT...: on such a mount, as the user that it is for. The user
# ramvol is not there, daemon is; systemd's mount asks for it by name, as this does.
as_mounted() {
  # shellcheck disable=SC2016  # The other shell's.
  unshare --mount bash -euc '
    mount -t tmpfs -o "$1" tmpfs mounted && shift
    [[ $(stat -c %U:%G:%a mounted) = daemon:daemon:700 ]]
    cp "$ramvold" mounted/ramvold && mount -o remount,exec mounted && cd mounted
    exec setpriv --reuid=daemon --regid=daemon --clear-groups "$@"' _ \
    "${options//ramvol/daemon}" "$@"
}
export ramvold cli
if as_mounted true 2>/dev/null; then
  # shellcheck disable=SC2016
  as_mounted bash -euc '
    for volumes in "" first; do
      rm -f ready
      ./ramvold --state_dir="$PWD" --memory_limit=64M --metrics_listen= \
        --listen="unix:$PWD/grpc" >ready &
      until grep -q ready ready; do kill -0 $! && sleep 0.05; done
      [[ $("$cli" --server="unix:$PWD/grpc" ls -q) = "$volumes" ]]
      [[ $volumes ]] || "$cli" --server="unix:$PWD/grpc" create first 1M
      kill -KILL $!
      wait $! || true
    done' >mounted.out 2>&1 || fail "on the mount: $(cat mounted.out)"
else
  echo "may not mount here: volumes on $state are not tested"
fi

echo "all passed"
