#!/bin/bash
# Attached clients as the control side sees them: counts, deleting with and
# without force, flags of the server, and its end while clients are attached.
# Arguments: see nbd_common.sh.
# shellcheck source=tests/integration/nbd_common.sh
source "$(dirname "$0")/nbd_common.sh" "$@"
need nbdinfo qemu-io fio

# A client that holds connections: `open_client VOLUME...` connects to each, and
# `ask LINE` runs a line of Python there (with a list `h` of handles) and gives
# what it printed.
open_client() {
  coproc CLIENT {
    exec /usr/bin/python3 -u -c '
import errno, sys, nbd
h = []
for name in sys.argv[2:]:
    h.append(nbd.NBD())
    h[-1].set_export_name(name)
    h[-1].connect_unix(sys.argv[1])
print("connected")
for line in sys.stdin:
    try:
        print(eval(line))
    except nbd.Error as error:
        print(errno.errorcode.get(error.errnum, error.errnum))
' "$nbd_socket" "$@"
  }
  read -r -t 30 answer <&"${CLIENT[0]}"
  [[ $answer == connected ]] || fail "the client says: $answer"
}

ask() {
  echo "$1" >&"${CLIENT[1]}"
  read -r -t 30 answer <&"${CLIENT[0]}"
  echo "$answer"
}

close_client() {
  local pid=$CLIENT_PID
  kill "$pid" 2>/dev/null
  wait "$pid" 2>/dev/null
}

start_nbd

say "StatVolume shows the connections"
make_volume busy 100M
make_volume idle 100M
await_attached busy 0
open_client busy busy busy
await_attached busy 3
await_attached idle 0
ask 'h[0].shutdown()' >/dev/null
await_attached busy 2
works nbdinfo --list "$(unix_uri '')"
await_attached busy 2

say "Deleting an attached volume is refused, and says how to do it"
refused "VOLUME_ATTACHED" "$cli" rm busy
says_err=$(cat err)
[[ $says_err == *force* ]] || fail "no way out is told: $says_err"
[[ $(ask 'h[1].pwrite(b"here", 0)') == None ]] || fail "it does not work any more"
[[ $(ask 'bytes(h[2].pread(4, 0))') == "b'here'" ]] || fail "the other one"

say "Killed clients count no more"
close_client
await_attached busy 0
works "$cli" rm busy

say "A forced delete ends its connections with ESHUTDOWN, and no others"
make_volume busy 100M
open_client busy busy idle
await_attached busy 2
works "$cli" rm --force busy
error=$(ask 'h[0].pread(4, 0)')
[[ $error == ESHUTDOWN ]] || fail "reading gets $error"
error=$(ask 'h[1].pwrite(b"x", 0)')
[[ $error == ESHUTDOWN ]] || fail "writing gets $error"
for client in 0 1; do
  for ((i = 0; i < 60; i++)); do
    state=$(ask "(h[$client].poll(1000), h[$client].connection_state())[1]")
    [[ ${state,,} == *closed* || ${state,,} == *dead* ]] && break
  done
  ((i < 60)) || fail "its connection is still there: $state"
done
[[ $(ask 'h[2].pwrite(b"mine", 0)') == None ]] || fail "the idle one is harmed"
await_attached idle 1

say "The name is free again; old connections do not see the new volume"
make_volume busy 1M
works nbdinfo --size "$(unix_uri busy)"
[[ $(cat out) == 1048576 ]] || fail "the new one has $(cat out) bytes"
close_client
await_attached idle 0

say "Clients at work while their volume is deleted"
make_volume copied 100M
random_bytes 100000000 | "$cli" write copied 0 || fail "write"
fio --name=reader --ioengine=nbd --uri="$(unix_uri copied)" --thread --numjobs=3 \
  --rw=randread --bs=4k --size=100M --iodepth=16 --time_based --runtime=60 \
  --eta=never >fio.out 2>&1 &
reader=$!
await_attached copied 3
"$cli" rm --force copied || fail "rm --force"
wait $reader && fail "fio succeeded over a deleted volume"
grep -q 'transport endpoint shutdown' fio.out || fail "fio says: $(cat fio.out)"

say "SIGTERM while clients are attached: a clean end"
open_client idle idle
await_attached idle 2
stop_nbd
[[ $(ask 'h[0].pread(1, 0)') == *[A-Z0-9]* ]] || fail "no error after the end"
close_client
[[ ! -S $nbd_socket ]] || echo "the socket's file is left"

say "Read-only exports by the server's flag"
start_nbd --read_only
make_volume volume 1M
printf kept | "$cli" write volume 0 || fail "gRPC may write"
works nbdinfo --is read-only "$(tcp_uri volume)"
refused "ermi" qemu-io -f raw -c "write 0 4k" "$(unix_uri volume)"
works qemu-io -r -f raw -c "read -P 0x6b 0 1" "$(unix_uri volume)"

say "The empty name without --default_export"
LIBNBD_DEBUG=1 nbdinfo "$(unix_uri '')" >out 2>err && fail "it means something"
grep -q 'default_export' err || fail "no hint at --default_export: $(cat err)"

finish_test
