#!/bin/bash
# Other people's clients of vhost-user, which Debian has since 13: qemu-img, qemu-io,
# libblkio, and qemu-storage-daemon, which serves the disk again over NBD for the tools
# that speak that. Arguments: inprocess, the paths of ramvold and ramvol, ramvold's again,
# and blkio_load.
blkio_load=$(realpath "$5") # nbd_common.sh goes to another folder.
# shellcheck source=tests/integration/nbd_common.sh
source "$(dirname "$0")/nbd_common.sh" "$@"
cd "$work" || exit 1
need ramvol-vhost ramvol-libblkio fio jq mke2fs e2fsck nbdcopy nbdinfo
daemon_pid=''
# Short, because a socket's path may have 107 bytes at most.
daemon_dir=$(mktemp -d /tmp/ramvol-daemon.XXXXXX)

# shellcheck disable=SC2317  # The trap calls it.
finish_all() {
  [[ -z $daemon_pid ]] || kill -KILL "$daemon_pid" 2>/dev/null
  rm -rf "$daemon_dir"
  finish
}
trap finish_all EXIT

start_nbd --vhost_user_dir="$sockets"

# disk VOLUME: it, as QEMU's tools name it.
disk() {
  echo "driver=virtio-blk-vhost-user,path=$sockets/$1.sock,cache.direct=on,discard=unmap"
}

# stat_of FIELD VOLUME
stat_of() { "$cli" stat "$2" --output=json | jq -r ".$1"; }

say "A real image, in, compared, and out"
make_ext4 image
size=$(stat -c %s image)
make_volume golden "$size"
works ramvol-vhost qemu-img convert -n --target-image-opts -t none -W -m 8 \
  -f raw image "$(disk golden)"
"$cli" export golden - | cmp - image || fail "gRPC reads something else"
works nbdcopy "$(unix_uri golden)" - && same out image
works ramvol-vhost qemu-img convert -T none -W -m 16 --image-opts "$(disk golden)" \
  -O raw exported
same exported image
works ramvol-vhost qemu-img convert -T none --image-opts "$(disk golden)" -O qcow2 \
  golden.qcow2
works ramvol-vhost qemu-img compare -f qcow2 -F raw golden.qcow2 image
says "Images are identical."
works ramvol-vhost qemu-img info --image-opts "$(disk golden)"
says "virtual size: 300 MiB (314572800 bytes)"
# Zeroes go as such: the volume holds no more than the image has on its disk.
(($(stat_of logicalBytes golden) <= $(disk_kib image) * 1024)) ||
  fail "the volume holds $(stat_of logicalBytes golden) bytes, the image" \
    "$(disk_kib image) KiB"

say "A snapshot is read-only, and stays what it was"
"$cli" snapshot create golden kept >/dev/null || fail "snapshot"
random_bytes 1000000 | "$cli" write golden 100000000 || fail "write"
works ramvol-vhost qemu-img convert -T none -O raw --image-opts \
  "$(disk @kept),read-only=on" kept
same kept image
refused "" ramvol-vhost qemu-io --image-opts "$(disk @kept)" -c "write 0 4k"

# patterns COMMAND...: qemu-io's commands, all of which must succeed.
patterns() {
  local command arguments=()
  for command; do arguments+=(-c "$command"); done
  works ramvol-vhost qemu-io --image-opts "$(disk io)" "${arguments[@]}"
  grep -qiE 'failed|error' out err && fail "qemu-io $*: $(cat out err)"
}

say "qemu-io: patterns, zeroes, discards, many at once"
make_volume io 200M
patterns \
  "read -P 0 0 1M" "write -P 0xab 0 1M" "read -P 0xab 0 1M" \
  "write -P 0x11 4095 2" "read -P 0x11 4095 2" "read -P 0xab 4097 4095" \
  "write -z 65536 65536" "read -P 0 65536 65536" \
  "write -z -u 196608 131072" "read -P 0 196608 131072" \
  "discard 524288 262144" "read -P 0 524288 262144" \
  "write -f -P 0x77 900000 12345" "read -P 0x77 900000 12345" "flush" \
  "write -P 0x55 150M 16M" "read -P 0x55 150M 16M" \
  "aio_write -P 1 10M 1M" "aio_write -P 2 12M 64k" "aio_write -z 14M 1M" "aio_flush" \
  "aio_read -P 1 10M 1M" "aio_read -P 2 12M 64k" "aio_read -P 0 14M 1M" "aio_flush" \
  "writev -P 3 20M 4k 64k 512" "readv -P 3 20M 4k 64k 512" \
  "discard 0 200M" "read -P 0 0 200M" "length"
says "200 MiB"
[[ $(stat_of logicalBytes io) == 0 ]] || fail "discard left $(stat_of logicalBytes io)"

say "What is refused: past the end of memory, and of the disk"
"$cli" set io --memory-limit=4M >/dev/null || fail "set"
random_bytes 16777216 >noise
refused "write failed" ramvol-vhost qemu-io --image-opts "$(disk io)" \
  -c "write -s noise 16M 16M"
patterns "discard 0 200M" "write -P 9 0 64k" "read -P 9 0 64k"

say "bench"
for flags in "-d 1" "-d 64" "-w -d 32 --flush-interval=32"; do
  # shellcheck disable=SC2086  # They are several words.
  works ramvol-vhost qemu-img bench -t none -c 20000 -s 4096 $flags --image-opts \
    "$(disk golden)"
  grep "Run completed" out
done

say "libblkio: every block, written and read in a random order, many at once"
make_volume blkio 64M
for flags in "--depth=1 --block=65536" "--depth=128 --block=4096" \
  "--depth=16 --block=1048576" "--depth=64 --block=512 --range=8388608"; do
  # shellcheck disable=SC2086
  works "$blkio_load" "$(ramvol-libblkio)" "$sockets/blkio.sock" --rw=verify $flags
  cat out
done

say "qemu-storage-daemon, which serves it over NBD"
make_volume again "$size"
ramvol-vhost qemu-storage-daemon \
  --blockdev "driver=virtio-blk-vhost-user,node-name=n,path=$sockets/again.sock,cache.direct=on,discard=unmap" \
  --nbd-server "addr.type=unix,addr.path=$daemon_dir/again.nbd,max-connections=8" \
  --export type=nbd,id=e,node-name=n,name=again,writable=on >daemon.out 2>&1 &
daemon_pid=$!
for ((i = 0; i < 1200; i++)); do
  [[ -S $daemon_dir/again.nbd ]] && break
  sleep 0.05
done
uri="nbd+unix:///again?socket=$daemon_dir/again.nbd"
works nbdcopy image "$uri"
works nbdcopy "$uri" exported
same exported image
"$cli" export again - | cmp - image || fail "gRPC reads something else"
e2fsck -fn exported >out 2>&1 || fail "e2fsck: $(cat out)"
for flags in "--rw=randwrite --bs=4k --io_size=32M" \
  "--rw=randwrite --bsrange=512-256k --blockalign=512 --refill_buffers" \
  "--rw=randrw --bsrange=512-128k --blockalign=512 --verify_backlog=64" \
  "--rw=randtrimwrite --bs=4k --io_size=8M"; do
  # shellcheck disable=SC2086
  works fio --name=job --ioengine=nbd --uri="$uri" --thread --numjobs=2 \
    --offset_increment=64M --size=64M --iodepth=32 --eta=never --group_reporting \
    --verify=xxhash --verify_fatal=1 --do_verify=1 --serialize_overlap=1 \
    --exitall_on_error=1 --max_latency=0 $flags
  grep -E "^ *(read|write):" out
done
kill -TERM "$daemon_pid"
wait "$daemon_pid" || fail "qemu-storage-daemon: $(cat daemon.out)"
daemon_pid=

say "Nobody is left, and the sockets go with their volumes"
for volume in golden io blkio again; do
  await_attached $volume 0
  [[ -S $sockets/$volume.sock ]] || fail "no $volume.sock"
  delete_volume $volume
  [[ ! -e $sockets/$volume.sock ]] || fail "$volume.sock is still there"
done

finish_test
