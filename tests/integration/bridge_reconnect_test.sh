#!/bin/bash
# ramvol-nbd while its way to ramvold breaks again and again: fio writes and
# verifies through it, over a proxy that is killed and started. Then the proxy
# stays dead, then it leaves ramvold connections that nobody uses any more and
# that bring old writes late, and then ramvold is restarted, which loses the
# volumes.
# Arguments: the paths of ramvold, ramvol and ramvol-nbd.
set -u

ramvold=$(realpath "$1")
cli=$(realpath "$2")
bridge=$(realpath "$3")
work=$(mktemp -d "${TEST_TMPDIR:-/tmp}/bridge.XXXXXX")
cd "$work" || exit 1
# Short, because a socket's path may have 107 bytes at most.
sockets=$(mktemp -d /tmp/ramvol-bridge.XXXXXX)
export RAMVOL_SERVER=unix:$sockets/server
export uri="nbd+unix:///disk?socket=$sockets/nbd"
# Far longer than the cuts: the machine may be busy.
readonly reconnect_seconds=10
server_pid=
bridge_pid=

# shellcheck disable=SC2317  # The trap calls it.
finish() {
  local pid
  for pid in $bridge_pid $server_pid; do kill "$pid" && wait "$pid"; done
  [[ -x control ]] && ./control proxy down
  [[ -s server.pid ]] && kill "$(cat server.pid)"
  rm -rf "$work" "$sockets"
} 2>/dev/null
trap finish EXIT

die() {
  echo "FAILED: $*" >&2
  tail -n 20 ./*.err control.log >&2
  exit 1
}

# await FILE TEXT: until the text is in the file.
await() {
  local i
  for ((i = 0; i < 200; i++)); do
    grep -q "$2" "$1" 2>/dev/null && return
    sleep 0.05
  done
  die "no \"$2\" in $1"
}

# What the last part, which is Python, does to the others, too.
port=$(/usr/bin/python3 -c '
import socket
s = socket.create_server(("127.0.0.1", 0))
print(s.getsockname()[1])')
cat >control <<TEXT
#!/bin/bash
# proxy up|down|freeze|thaw, server up|down. The proxy is two in a row, and each
# has children, one for a connection.
trap 'date "+%T.%N \$*" >>control.log' EXIT
case "\$1 \$2" in
  "proxy up")
    middle=\$(mktemp -u $sockets/XXXXXX)
    setsid socat UNIX-LISTEN:\$middle,fork UNIX-CONNECT:$sockets/server \
      >>proxy.out 2>>proxy.err &
    echo \$! >back.pid
    while [[ ! -e \$middle ]]; do sleep 0.01; done
    setsid socat TCP-LISTEN:$port,bind=127.0.0.1,reuseaddr,fork \
      UNIX-CONNECT:\$middle >>proxy.out 2>>proxy.err &
    echo \$! >front.pid
    ;;
  "proxy down")
    for end in front back; do
      [[ -s \$end.pid ]] && kill -KILL -- "-\$(cat \$end.pid)"
      : >\$end.pid
    done
    ;;
  "proxy freeze")
    # The server sees open connections; what is on its way to it stays there.
    kill -STOP -- "-\$(cat back.pid)"
    mv back.pid frozen.pid
    sleep 0.2
    kill -KILL -- "-\$(cat front.pid)"
    ;;
  "proxy thaw")
    kill -CONT -- "-\$(cat frozen.pid)"
    sleep 0.2
    kill -KILL -- "-\$(cat frozen.pid)"
    ;;
  "server up")
    : >server.out
    "$ramvold" --listen="$RAMVOL_SERVER" --metrics_listen= \
      --memory_limit=512M >>server.out 2>>server.err &
    echo \$! >server.pid
    for ((i = 0; i < 200; i++)); do
      grep -q ready server.out && exit 0
      sleep 0.05
    done
    exit 1
    ;;
  "server down")
    kill -KILL "\$(cat server.pid)"
    : >server.pid
    while socat -u OPEN:/dev/null UNIX-CONNECT:$sockets/server 2>/dev/null; do
      sleep 0.05
    done
    ;;
esac
TEXT
chmod +x control

./control server up || die "no server"
"$cli" create disk 256M >/dev/null || die "create"
./control proxy up
"$bridge" --server="127.0.0.1:$port" --listen="unix:$sockets/nbd" \
  --metrics_listen=127.0.0.1:0 --reconnect_timeout="${reconnect_seconds}s" \
  >bridge.out 2>bridge.err &
bridge_pid=$!
await bridge.out ready
metrics=$(sed -n 's/.*; metrics //p' bridge.out)

# Fresh writes, and reads of what was written before, go on all the time. The
# rate makes them last.
fio --name=verify --ioengine=nbd --uri="$uri" --size=192M --rw=randwrite \
  --bsrange=512-128k --iodepth=16 --verify=crc32c --verify_fatal=1 \
  --verify_backlog=500 --randseed="$RANDOM" --rate=10m \
  --output=fio.out --eta=never >fio.err 2>&1 &
fio_pid=$!
cuts=0
while sleep 1 && kill -0 "$fio_pid" 2>/dev/null; do
  ./control proxy down
  # Half of the time nothing is sent but what waits in buffers; else the way is
  # back before its absence was noticed.
  sleep "$((RANDOM % 2)).$((RANDOM % 9 + 1))"
  ./control proxy up
  kill -0 "$fio_pid" 2>/dev/null && cuts=$((cuts + 1))
done
wait "$fio_pid" || die "fio: $(cat fio.out fio.err)"
grep -q "err= 0" fio.out || die "fio: $(cat fio.out)"
((cuts >= 5)) || die "fio was over after $cuts cuts: $(cat fio.out)"
grep -E "err=|IO depths|READ:|WRITE:" fio.out
reconnects=$(curl -sf "$metrics" |
  sed -n 's/^ramvol_nbd_reconnects_total //p')
((reconnects >= cuts)) || die "$reconnects reconnections after $cuts cuts"
curl -sf "$metrics" | grep 'requests_total{command="write",error="eio"}' >/dev/null &&
  die "requests failed"
echo "fio verified its data across $cuts cuts, $reconnects reconnections"

cat >rest.py <<'TEXT'
import errno
import multiprocessing
import os
import random
import re
import subprocess
import sys
import time
import urllib.request

import nbd

TIMEOUT = float(sys.argv[1])


def control(*words):
    subprocess.run(["./control", *words], check=True)


def lost_streams():
    with urllib.request.urlopen(sys.argv[3], timeout=60) as answer:
        text = answer.read().decode()
    return int(re.search(r"^ramvol_nbd_lost_streams (\d+)$", text, re.M)[1])


def connect():
    handle = nbd.NBD()
    handle.connect_uri(os.environ["uri"])
    return handle


def expect_eio(what, call):
    start = time.monotonic()
    try:
        call()
    except nbd.Error as error:
        assert error.errnum == errno.EIO, f"{what}: {error}"
        return time.monotonic() - start
    raise AssertionError(f"{what} succeeded")


BLOCK = 16384
BLOCKS = 4


def write_versions(worker, stop, failed):
    """Writes its blocks again and again; each must hold what came last."""
    handle = connect()
    versions = {}

    def content(block):
        return b"%15d\n" % versions[block] * (BLOCK // 16)

    def offset(block):
        return (1 << 20) * (worker + 1) + block * BLOCK

    def check(block, when):
        if handle.pread(BLOCK, offset(block)) != content(block):
            failed.set()
            raise AssertionError(f"an old version is back {when}")

    version = 0
    try:
        while not stop.is_set():
            version += 1
            block = random.randrange(BLOCKS)
            versions[block] = version
            handle.pwrite(content(block), offset(block))
            if version % 10 == 0:
                check(random.choice(list(versions)), f"in version {version}")
        for block in versions:
            check(block, "in the end")
    except nbd.Error:
        failed.set()
        raise


def late_writes():
    stop = multiprocessing.Event()
    failed = multiprocessing.Event()
    workers = [multiprocessing.Process(target=write_versions,
                                       args=(i, stop, failed))
               for i in range(8)]
    for worker in workers:
        worker.start()
    for _ in range(8):
        time.sleep(0.3)
        control("proxy", "freeze")
        control("proxy", "up")
        time.sleep(0.7)  # They go on, over the old blocks too.
        control("proxy", "thaw")
    time.sleep(0.3)
    stop.set()
    for worker in workers:
        worker.join()
    assert not failed.is_set()
    print("writes that came late changed nothing")


late_writes()
h = connect()
h.pwrite(b"before" * 1000, 12345)

# The proxy stays dead.
control("proxy", "down")
took = expect_eio("write", lambda: h.pwrite(b"lost", 0))
print(f"EIO after {took:.1f} s without the proxy")
assert TIMEOUT - 1 <= took <= TIMEOUT + 10, took
expect_eio("read", lambda: h.pread(4096, 0))
assert lost_streams() > 0
control("proxy", "up")
assert h.pread(6000, 12345) == b"before" * 1000
h.pwrite(b"after", 0)
h.flush()
assert h.pread(5, 0) == b"after"
for _ in range(100):
    if lost_streams() == 0:
        break
    time.sleep(0.1)
assert lost_streams() == 0
print("the same connection goes on once the proxy is back")

# A restarted server has no such volume, and then an empty one.
control("server", "down")
control("server", "up")
expect_eio("read of a volume that is gone", lambda: h.pread(5, 0))
expect_eio("write to it", lambda: h.pwrite(b"after", 0))
subprocess.run([sys.argv[2], "create", "disk", "256M"], check=True,
               stdout=subprocess.DEVNULL)
for _ in range(3):
    expect_eio("read of a volume that was replaced", lambda: h.pread(5, 0))
    expect_eio("write to it", lambda: h.pwrite(b"after", 0))
    expect_eio("flush of it", h.flush)
again = connect()
assert again.pread(5, 0) == bytes(5)
again.pwrite(b"anew", 0)
assert again.pread(4, 0) == b"anew"
expect_eio("read over the old connection", lambda: h.pread(5, 0))

# The same while the connection knows of it and asks nothing meanwhile.
control("server", "down")
control("server", "up")
subprocess.run([sys.argv[2], "create", "disk", "256M"], check=True,
               stdout=subprocess.DEVNULL)
expect_eio("flush of a volume that was replaced", again.flush)
again = connect()
assert again.pread(4, 0) == bytes(4)
print("a restarted server's volumes are errors until the client reconnects")
TEXT
/usr/bin/python3 rest.py "$reconnect_seconds" "$cli" "$metrics" || die "rest"

kill -TERM "$bridge_pid"
wait "$bridge_pid" || die "the bridge did not stop cleanly"
bridge_pid=
echo "all passed"
