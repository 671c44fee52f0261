#!/bin/bash
# fio's nbd engine, which verifies what it reads, against the NBD bridges.
# Arguments: see nbd_common.sh. FIO_SEED replays the choices of a run.
# shellcheck source=tests/integration/nbd_common.sh
source "$(dirname "$0")/nbd_common.sh" "$@"
need fio jq
seed=${FIO_SEED:-$RANDOM$RANDOM}
echo "FIO_SEED=$seed"

start_nbd
make_volume fio 1G

# run URI FLAG...: four jobs, each in its own 64 MiB, which end without an error.
run() {
  local uri=$1
  shift
  say "fio $* over $uri"
  fio --name=job --ioengine=nbd --uri="$uri" --thread --numjobs=4 \
    --offset_increment=64M --size=64M --randseed="$seed" --iodepth=32 \
    --output-format=json+ --group_reporting --eta=never --exitall_on_error=1 \
    --max_latency=0 "$@" >fio.json 2>fio.err
  local status=$?
  # fio writes notes before its JSON.
  sed -n '/^{/,$p' fio.json >report.json
  [[ $status == 0 && $(jq '[.jobs[].error] | add' report.json) == 0 ]] ||
    fail "fio ended with $status: $(cat fio.err; grep -vE '^ *[]"{}]' fio.json | head -n 20)"
  jq -r '.jobs[] | [.read, .write, .trim] |
    "read \(.[0].total_ios) write \(.[1].total_ios) trim \(.[2].total_ios) ops; " +
    "read \(.[0].io_bytes) write \(.[1].io_bytes) trim \(.[2].io_bytes) bytes"' \
    report.json
}

# ops KIND: how many operations of a kind the last run did.
ops() { jq ".jobs[0].$1.total_ios" report.json; }

verify=(--verify=xxhash --verify_fatal=1 --do_verify=1 --serialize_overlap=1)

run "$(unix_uri fio)" --rw=randwrite --bs=4k "${verify[@]}" --io_size=32M
(($(ops read) == $(ops write) && $(ops write) > 1000)) ||
  fail "it verified $(ops read) of $(ops write) writes"
run "$(tcp_uri fio)" --rw=randwrite --bsrange=512-256k --blockalign=512 \
  "${verify[@]}" --refill_buffers
# Any byte. From 128, because what is left of smaller blocks is too small for the
# header by which fio verifies.
run "$(unix_uri fio)" --rw=randwrite --bs_unaligned=1 --bsrange=128-131072 \
  "${verify[@]}"
run "$(tcp_uri fio)" --rw=randrw --bs_unaligned=1 --bsrange=128-131072 \
  "${verify[@]}" --verify_backlog=64
run "$(tcp_uri fio)" --rw=write --bs=1M "${verify[@]}" \
  --buffer_compress_percentage=60 --refill_buffers
# Each block is trimmed and then written. (fio's --trim_percentage aborts.)
run "$(unix_uri fio)" --rw=randtrimwrite --bs=4k "${verify[@]}" --io_size=16M
(($(ops trim) > 1000 && $(ops read) > 1000)) ||
  fail "it trimmed $(ops trim) times and verified $(ops read)"
run "$(tcp_uri fio)" --rw=randtrim --bs_unaligned=1 --bsrange=1-300000
run "$(unix_uri fio)" --rw=randwrite --bs=4k --fsync=8 "${verify[@]}" --io_size=8M

say "What was trimmed is given back"
await_attached fio 0
"$cli" trim fio --all >/dev/null || fail "trim"
run "$(unix_uri fio)" --rw=write --bs=256k "${verify[@]}"
run "$(unix_uri fio)" --rw=trim --bs=256k
[[ $("$cli" stat fio --output=json | jq -r .logicalBytes) == 0 ]] ||
  fail "after a trim of all: $("$cli" stat fio)"

finish_test
