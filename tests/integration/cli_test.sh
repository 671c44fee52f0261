#!/bin/bash
# The command line against the server, both as they are shipped, over a Unix
# socket. Arguments: the paths of ramvold and ramvol.
set -u

ramvold=$(realpath "$1")
cli=$(realpath "$2")
work=$(mktemp -d "${TEST_TMPDIR:-/tmp}/cli.XXXXXX")
cd "$work" || exit 1
# Short, because a socket's path may have 107 bytes at most.
sockets=$(mktemp -d /tmp/ramvol-cli.XXXXXX)
export RAMVOL_SERVER=unix:$sockets/s
server_pid=
failures=0

# shellcheck disable=SC2317  # The trap calls it.
finish() {
  [[ -n $server_pid ]] && kill "$server_pid" 2>/dev/null && wait "$server_pid"
  rm -rf "$work" "$sockets"
}
trap finish EXIT

fail() {
  echo "FAILED: $*" >&2
  failures=$((failures + 1))
}

# expect CODE ARGUMENT...: runs ramvol; its output is in out and err.
expect() {
  local wanted=$1 got
  shift
  "$cli" "$@" >out 2>err </dev/null
  got=$?
  [[ $got == "$wanted" ]] ||
    fail "ramvol $* exited with $got, not $wanted: $(cat err)"
  [[ $wanted == 0 || -s err ]] || fail "ramvol $* failed and said nothing"
  [[ $wanted != 0 || ! -s err ]] || fail "ramvol $* said: $(cat err)"
  # Errors have the words of the command line, not those of API and libraries.
  sed 's/"[^"]*"//g; s/--[a-z_]*//g' err |
    grep -E '[a-z]_[a-z]|[a-z]Volume|ALLOCATOR_|C-ares|UNKNOWN' &&
    fail "ramvol $* speaks of the API: $(cat err)"
}

expect_text() {
  grep -qF -- "$2" "$1" || fail "no \"$2\" in: $(cat "$1")"
}

same() {
  cmp "$1" "$2" || fail "$1 and $2 differ"
}

disk_kib() {
  du -k "$1" | cut -f1
}

# Nothing listens yet.
expect 5 health
expect 5 ls
expect_text err "$RAMVOL_SERVER"
expect_text err "ramvold --listen"

"$ramvold" --listen="$RAMVOL_SERVER" --metrics_listen=127.0.0.1:0 \
  --nbd_listen=127.0.0.1:0 --memory_limit=256M >server.out 2>server.err &
server_pid=$!
for ((i = 0; i < 1200; i++)); do
  grep -q ready server.out server.err && break
  sleep 0.05
done
nbd=$(sed -n 's/.*; nbd \([0-9.:]*\).*/\1/p' server.out)
expect 0 server
expect_text out "256 MiB"
expect 0 health
expect_text out SERVING

# What others wrote does nothing to a terminal; JSON has it as it is.
expect 0 create evil 4096 --label $'note=a\nb\e[2J\xe2\x80\xaeend'
for command in ls "show evil"; do
  # shellcheck disable=SC2086  # Words.
  expect 0 $command
  expect_text out 'note="a\nb\x1b[2J\u202eend"'
done
expect 0 show evil --output=json
expect_text out '"a\nb\u001b[2J'
expect 0 rm evil
expect 3 show $'no\e[2J'
expect_text err 'no\x1b[2J'

# Management.
expect 0 create scratch 1G --level 3 --label team=x
expect_text out "1073741824 bytes"
expect 4 create scratch 2G
expect_text err "(VOLUME_EXISTS)"
expect 1 create Bad_Name 1G
expect 0 create never 1G --dry-run
expect 3 show never
expect_text err "(VOLUME_NOT_FOUND)"
expect 0 ls --quiet
expect_text out scratch
expect 0 set scratch --level=-5 --memory-limit 100M --label a=b --unlabel team
expect_text out "a=b"
expect 0 rename scratch other
expect_text out "other"
expect 3 show scratch
expect 3 rename scratch other
expect 1 rename other Bad_Name
expect 0 create taken 4096
expect 4 rename other taken
expect_text err '"taken"'
expect 0 rename other scratch --output=name
expect_text out scratch
expect 0 rm taken
expect 0 create short 4096 --ttl=1s
expect_text out "1s after the last use"
expect 1 set short --ttl=0.5s
expect_text err "--ttl is"
expect 0 wait short --until=gone --within=60s
expect 0 set scratch --ttl=2h
expect 0 ls -o wide
expect_text out "in 1h59m"
expect 0 set scratch --ttl=0
expect_text out "none"
expect 0 resize scratch 2G
expect 1 resize scratch 1G
expect_text err "--shrink"
expect 0 resize scratch 1G --shrink
expect 1 create bad 0
expect 1 create bad 1G --level=20
expect_text err "--level is 20"
expect 1 create bad 1G --merge-level=-99
expect 1 create bad 1G --min-frame=5K
expect 1 create bad 1G --min-frame=64K --max-frame=4K
expect 1 create bad 1G --allocator=malloc --memory-limit=1G
expect 6 create bad 1T --allocator=malloc
expect 1 create bad 1G --label=-=x
expect 1 set scratch --level=20
expect_text err "--level is 20"
expect 1 resize scratch 0 --shrink
expect 3 show scartch
expect_text err 'did you mean "scratch"?'
expect 3 extents nothing-like-it
expect_text err '"ramvol ls" lists'
expect 5 ls --server=no-such-host.invalid --timeout=60s
expect_text err "no server answers at no-such-host.invalid:7420: the name is unknown"
expect 5 ls --server=unix:/no/such/socket
expect 3 show nothing -o json
python3 -c 'import json,sys; e=json.load(open("err"))["error"]; sys.exit(e["reason"] != "VOLUME_NOT_FOUND" or e["metadata"] != {"volume": "nothing"})' ||
  fail "an error as JSON: $(cat err)"
expect 0 set scratch --read-only=true
expect 1 trim scratch --all
expect_text err "(VOLUME_READ_ONLY)"
expect 0 set scratch --read-only=false
expect 2 set scratch
expect 2 trim scratch
expect 0 show scratch --output=json
python3 -c 'import json,sys; v=json.load(open("out")); sys.exit(v["sizeBytes"] != "1073741824" or v["zstdLevel"] != -5)' ||
  fail "show: $(cat out)"

# Snapshots, clones, what has changed.
expect 0 create gold 1M
printf before | "$cli" write gold 0 || fail "write"
expect 0 snapshot create gold monday --label team=x
expect_text out "Source:"
expect_text out "team=x"
expect 4 snapshot create gold monday
expect_text err "(SNAPSHOT_EXISTS)"
expect 3 snapshot create nothing x
expect 0 snapshot create gold -o name
grep -qE '^@gold-[0-9]{8}-[0-9]{6}$' out || fail "a chosen name: $(cat out)"
expect 0 create log 1M
expect 0 snapshot create gold@g log@l -o name
[[ $(cat out) == $'@g\n@l' ]] || fail "two at once: $(cat out)"
expect 4 snapshot create gold@g2 log@l
expect 3 snapshot show g2
expect 2 snapshot create gold log x
expect_text err VOLUME@NAME
expect 0 snapshot ls gold -o name
expect_text out @monday
expect 0 snapshot ls
expect_text out "SOURCE"
expect 0 snapshot show monday -o json
python3 -c 'import json,sys; v=json.load(open("out")); sys.exit(v["name"] != "monday" or v["source"] != "gold" or v["labels"] != {"team": "x"})' ||
  fail "snapshot show: $(cat out)"
expect 3 snapshot show @none
expect_text err '"ramvol snapshot ls" lists'
printf 'after!' | "$cli" write gold 0 || fail "write"
expect 0 read @monday 0 6
expect_text out before
expect 1 trim @monday --all
expect_text err "(READ_ONLY_SNAPSHOT)"
expect 1 rm @monday
expect_text err '"ramvol snapshot rm"'
for command in "show @monday" "stat @monday" "extents @monday" "checksum @monday" \
  "clients @monday"; do
  # shellcheck disable=SC2086
  expect 0 $command
done
expect 0 export @monday -
head -c 6 out | cmp - <(printf before) || fail "export @monday"
expect 0 diff @monday
expect_text out "changed"
expect 0 diff monday gold --totals -o json
python3 -c 'import json,sys; v=json.load(open("out")); sys.exit(v["changedBytes"] != "4096" or v["sameBytes"] != str((1 << 20) - 4096))' ||
  fail "diff: $(cat out)"
expect 0 diff @monday @monday --totals
expect_text out "Changed:  0 bytes"
expect 3 diff @none gold
expect 0 clone @monday vm --label a=b
expect_text out "@monday"
expect 0 read vm 0 6
expect_text out before
expect 0 clone gold vm2 --size=2M
expect 1 clone gold vm3 --size=4096
expect_text err "SIZE"
expect 0 cp gold vm4
expect 0 rm vm4
expect 0 ls
expect_text out "@monday"
expect 0 stat vm
expect_text out "Shared:"
expect 0 revert gold @monday
expect 0 cmp gold @monday
expect 3 revert gold @none
expect 2 snapshot create
expect 2 snapshot destroy monday
expect 2 snapshot ls --label a=b
expect 0 server
expect_text out "Snapshots:"
# shellcheck disable=SC2046
expect 0 snapshot rm $("$cli" snapshot ls -o name)
expect_text out "removed @monday"
expect 0 read vm 0 6
expect_text out before
expect 0 rm gold log vm vm2

for command in "ls" "server" "stat scratch" "extents scratch"; do
  # shellcheck disable=SC2086
  expect 0 $command --output=json
  python3 -m json.tool out >/dev/null || fail "$command: not JSON"
done

# A server that takes its time to greet.
socat "UNIX-LISTEN:$sockets/slow,fork" \
  "SYSTEM:'sleep 0.5; exec socat - UNIX-CONNECT:$sockets/s'" &
socat_pid=$!
for ((i = 0; i < 1200; i++)); do
  socat -u OPEN:/dev/null "UNIX-CONNECT:$sockets/slow" 2>/dev/null && break
  sleep 0.05
done
expect 0 ls --quiet --server "unix:$sockets/slow"
expect_text out scratch
kill "$socat_pid"

# Bytes at odd places.
head -c 300001 /dev/urandom >bytes
"$cli" write scratch 12345 <bytes || fail "write"
expect 0 read scratch 12345 300001
same bytes out
expect 0 read scratch 12345 300001 --out copy
same bytes copy
expect 0 extents scratch --totals
expect_text out "Extents:  3"
expect 0 trim scratch 12345 300001
expect 0 trim scratch --all
expect 0 extents scratch --totals
expect_text out "Data:     0 bytes"
expect 1 read scratch 1G 1
expect_text err "(PAST_END)"
expect 1 write scratch 0 no-such-file
expect_text err "(ENOENT)"

# A sparse image: data, holes, zeroes that are no holes, an odd end.
truncate -s 200000001 image
tar -c /usr/include 2>/dev/null | head -c 20000000 |
  dd of=image bs=4k seek=10 conv=notrunc status=none
head -c 3000001 /dev/urandom |
  dd of=image bs=1M seek=100 conv=notrunc status=none
dd if=/dev/zero of=image bs=1M count=10 seek=150 conv=notrunc status=none
expect 0 import image golden --output=json
expect_text out '"sourceBytes": "200000001"'
expect 0 export golden exported
same image exported
(($(disk_kib exported) <= $(disk_kib image))) ||
  fail "exported takes $(disk_kib exported) KiB, image $(disk_kib image)"
"$cli" export golden - >piped || fail "export to standard output"
same image piped
"$cli" export golden - | cmp - image || fail "export into a pipe"
# shellcheck disable=SC2002  # A pipe is the point.
cat image | "$cli" import - from-pipe --read-only || fail "import from a pipe"
expect 0 export from-pipe exported
same image exported
"$cli" import - from-file <image || fail "import from a file as input"
expect 0 export from-file exported
same image exported
# Over another content; the rest stays.
expect 0 rm from-pipe from-file
expect 0 create over 210000000
head -c 10000000 /dev/urandom >noise
expect 0 write over 0 noise
expect 0 write over 200000000 noise
expect 0 import image over
expect 0 read over 0 200000001 --out over.head
same image over.head
expect 0 read over 200000001 9999999 --out over.tail
tail -c 9999999 noise >noise.tail
same over.tail noise.tail
expect 2 import image over --level 3
expect 4 import image over --create

# A client over NBD holds it: changing it has to be meant.
exec 4<>"/dev/tcp/${nbd%:*}/${nbd##*:}"
printf '\0\0\0\1IHAVEOPT\0\0\0\1\0\0\0\4over' >&4
head -c 152 <&4 >greeting
for slip in "write over 0 noise" "trim over --all" "trim over 0 4096" \
  "import image over" "resize over 1M --shrink" "rm over"; do
  # shellcheck disable=SC2086  # Words.
  expect 1 $slip
  expect_text err "(nbd 127.0.0.1:"
  expect_text err "(VOLUME_ATTACHED)"
done
expect 0 read over 0 200000001 --out over.head
same image over.head
expect 0 rename over held
expect 0 clients held
expect_text out "127.0.0.1:"
expect 0 rename held over
expect 0 resize over 220000000
expect 0 write over 0 noise --force
expect 0 trim over 0 4096 --force
expect 0 resize over 200000001 --shrink --force
expect 0 import image over --force
expect 0 read over 0 200000001 --out over.head
same image over.head
exec 4>&-

# What happened, and what happens.
expect 0 events
expect_text out "volume_created"
expect_text out "was scratch"
expect_text out "TTL_EXPIRED"
expect 0 events over -o json
expect_text out '"type":"attached"'
"$cli" events 'watched*' --follow --since=now -o json >events.out 2>events.err &
events_pid=$!
# It is subscribed once it tells something.
for ((i = 0; i < 1200; i++)); do
  "$cli" create "watched-$i" 4096 --label=note=x >out 2>err || fail "create: $(cat err)"
  [[ -s events.out ]] && break
  sleep 0.05
done
"$cli" rm 'watched-*' --yes >out || fail "rm of what is watched"
for ((i = 0; i < 1200; i++)); do
  grep -q volume_deleted events.out && break
  sleep 0.05
done
expect_text events.out '"type":"volume_created","volume":"watched-'
expect_text events.out '"type":"volume_deleted","volume":"watched-'
kill -INT "$events_pid"
wait "$events_pid"
code=$?
[[ $code == 130 ]] || fail "interrupted events exited with $code"

# What goes wrong.
expect 0 rm --force over
head -c 320000000 /dev/urandom >too-much
expect 6 import too-much full
expect_text err "(SERVER_MEMORY_LIMIT)"
expect 3 show full
expect 3 export missing nothing
[[ -e nothing ]] && fail "export of no volume made a file"
expect 1 export golden /dev/full
expect_text err "(ENOSPC)"
"$cli" export golden - 2>err | head -c 1000 >/dev/null
[[ ! -s err ]] || fail "a closed pipe is noise: $(cat err)"
mkfifo fifo
"$cli" import fifo interrupted >out 2>err &
import_pid=$!
exec 3>fifo
head -c 5000000 noise >&3
kill -INT "$import_pid"
wait "$import_pid"
code=$?
exec 3>&-
[[ $code == 130 ]] || fail "interrupted import exited with $code: $(cat err)"
expect 3 show interrupted

# The largest volume.
expect 0 create largest 9223372036854775807
printf x | "$cli" write largest 9223372036854775806 || fail "last byte"
expect 0 read largest 9223372036854775806 1
[[ $(cat out) == x ]] || fail "last byte: $(cat out)"
expect 0 extents largest --totals
expect_text out "Extents:  2"
expect 0 trim largest --all

expect 0 rm scratch golden largest
expect 0 ls --quiet
[[ ! -s out ]] || fail "left: $(cat out)"
for shell in bash zsh fish; do
  expect 0 completion $shell
done

# The same flags, with completion in bash itself.
"$cli" completion bash >completion.bash
# shellcheck disable=SC1091
source ./completion.bash || fail "bash does not take the completion"
COMP_WORDS=(ramvol cre) COMP_CWORD=1
_ramvol
[[ ${COMPREPLY[*]} == create ]] || fail "completion of cre: ${COMPREPLY[*]}"
COMP_WORDS=(ramvol create --allocator "=" sp) COMP_CWORD=4
_ramvol
[[ ${COMPREPLY[*]} == sparse ]] || fail "completion of sp: ${COMPREPLY[*]}"
# Volumes are those of the server that the line names, not of the default one. A server
# that does not answer in a second has none.
expect 0 create of-this-server 4096
# shellcheck disable=SC2317  # The completion calls it.
ramvol() { "$cli" "$@"; }
# complete_in_the_end WORD WHERE: what it completes to on a server that is not late.
complete_in_the_end() {
  local i
  for ((i = 0; i < 60; i++)); do
    _ramvol
    [[ ${#COMPREPLY[@]} == 0 ]] || break
  done
  [[ ${COMPREPLY[*]} == "$1" ]] || fail "completion $2: ${COMPREPLY[*]}"
}
here=$RAMVOL_SERVER
export RAMVOL_SERVER=unix:$sockets/nobody
for named in "--server=$here" "--server $here" "--server=x --server='$here'"; do
  COMP_LINE="ramvol $named rm of" COMP_WORDS=(ramvol rm of) COMP_CWORD=2
  complete_in_the_end of-this-server "with $named"
done
COMP_LINE="ramvol rm of --server=$here"
complete_in_the_end of-this-server "before --server"
export RAMVOL_SERVER=$here
COMP_LINE="ramvol --server=unix:$sockets/nobody rm of"
_ramvol
[[ ${#COMPREPLY[@]} == 0 ]] || fail "completion for rm: ${COMPREPLY[*]}"

kill -TERM "$server_pid"
wait "$server_pid" || fail "the server did not stop cleanly"
server_pid=
((failures == 0)) && echo "all passed"
exit $((failures > 0))
