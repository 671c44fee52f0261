#!/bin/bash
# QEMU's tools against the NBD bridges: images in and out, patterns at the byte,
# what they show. Arguments: see nbd_common.sh.
# shellcheck source=tests/integration/nbd_common.sh
source "$(dirname "$0")/nbd_common.sh" "$@"
need qemu-img qemu-io nbdinfo jq mke2fs e2fsck

start_nbd

say "A real image, a file system with holes"
make_ext4 image
size=$(stat -c %s image)
echo "$size bytes, of which $(disk_kib image) KiB are allocated"

# stat_of FIELD VOLUME
stat_of() { "$cli" stat "$2" --output=json | jq -r ".$1"; }

# convert_through URI_FUNCTION IN_FLAGS OUT_FLAGS: in, map, compare, out.
convert_through() {
  local uri in=$2 out=$3
  make_volume golden "$size"
  uri=$($1 golden)
  say "qemu-img convert -n $in -O raw image $uri, and $out back"
  # shellcheck disable=SC2086  # They are several words.
  works qemu-img convert -n $in -f raw -O raw image "$uri"
  works qemu-img compare -f raw -F raw image "$uri"
  says "Images are identical."
  # shellcheck disable=SC2086
  works qemu-img convert $out -f raw -O raw "$uri" exported
  same image exported
  (($(disk_kib exported) <= $(disk_kib image))) ||
    fail "exported takes $(disk_kib exported) KiB, image $(disk_kib image)"
  (($(stat_of logicalBytes golden) <= $(disk_kib image) * 1024)) ||
    fail "the volume holds $(stat_of logicalBytes golden) bytes, the image" \
      "$(disk_kib image) KiB"
}
convert_through unix_uri "" ""
works nbdinfo --map --totals "$(unix_uri golden)"
cat out
says "data" "hole,zero"
works qemu-img map -f raw --output=json "$(unix_uri golden)"
mapped=$(jq '[.[] | select(.data) | .length] | add' out)
[[ $mapped == "$(stat_of logicalBytes golden)" ]] ||
  fail "qemu-img maps $mapped bytes of data, ramvol $(stat_of logicalBytes golden)"
works qemu-img map -f raw "$(unix_uri golden)"
says "Offset"
works qemu-img info -f raw "$(tcp_uri golden)"
says "virtual size: 300 MiB (314572800 bytes)" "file format: raw"
delete_volume golden
convert_through tcp_uri "--target-is-zero -W -m 8" "-W -m 8"
delete_volume golden
convert_through unix_uri "-W -m 16" "-m 8"

say "qcow2 out, qcow2 in, and qcow2 on a volume"
works qemu-img convert -f raw -O qcow2 -W -m 8 "$(unix_uri golden)" golden.qcow2
works qemu-img check golden.qcow2
make_volume copy "$size"
works qemu-img convert -n -f qcow2 -O raw -W -m 8 golden.qcow2 "$(tcp_uri copy)"
works qemu-img compare -f qcow2 -F raw golden.qcow2 "$(unix_uri copy)"
says "Images are identical."
"$cli" export copy - | cmp - image || fail "gRPC reads something else"
make_volume layered 500M
works qemu-img create -f qcow2 "$(unix_uri layered)" "$size"
works qemu-img convert -n -f raw -O qcow2 image "$(unix_uri layered)"
works qemu-img check -f qcow2 "$(unix_uri layered)"
works qemu-img compare -f qcow2 -F raw "$(unix_uri layered)" image
works qemu-img convert -c -f raw -O qcow2 "$(unix_uri golden)" compressed.qcow2
works qemu-img compare -f qcow2 -F raw compressed.qcow2 "$(tcp_uri golden)"
delete_volume layered

say "Over content, and differences are found"
await_attached copy 0
random_bytes 50000000 | "$cli" write copy 100000000 || fail "write"
refused "Content mismatch" qemu-img compare -f raw -F raw image "$(unix_uri copy)"
works qemu-img convert -n -f raw -O raw image "$(unix_uri copy)"
works qemu-img compare -f raw -F raw image "$(unix_uri copy)"
refused "smaller than" qemu-img convert -n --target-is-zero -O raw -f raw image \
  "$(make_volume small 1M && unix_uri small)"

say "dd"
works qemu-img dd -f raw -O raw bs=1M count=20 skip=3 \
  "if=$(unix_uri golden)" of=part
# (QEMU before 9.1 counts the skipped blocks, too.)
cmp --ignore-initial=0:3145728 --bytes="$(stat -c %s part)" part image ||
  fail "dd read something else"

say "bench"
works qemu-img bench -f raw -c 4000 -d 32 -s 4096 "$(unix_uri golden)"
says "Run completed"
works qemu-img bench -f raw -w -c 2000 -d 64 -s 8192 --flush-interval=64 \
  --pattern=85 "$(tcp_uri copy)"
says "Run completed"
works qemu-img bench -f raw -c 16 -d 4 -s 16M "$(tcp_uri copy)"

# patterns URI COMMAND...: qemu-io's commands, all of which must succeed.
patterns() {
  local uri=$1 command arguments=()
  shift
  for command; do arguments+=(-c "$command"); done
  works qemu-io -f raw -d unmap -t writeback "${arguments[@]}" "$uri"
  grep -qiE 'failed|error' out err && fail "qemu-io $*: $(cat out err)"
}

say "qemu-io: patterns, zeroes, discards, FUA, aio"
make_volume io 200M
for uri in "$(unix_uri io)" "$(tcp_uri io)"; do
  patterns "$uri" \
    "read -P 0 0 1M" \
    "write -P 0xab 0 1M" "read -P 0xab 0 1M" \
    "write -P 0x11 4095 2" "read -P 0x11 4095 2" "read -P 0xab 0 4095" \
    "read -P 0xab 4097 4095" \
    "write -z 65536 65536" "read -P 0 65536 65536" \
    "write -z -u 196608 131072" "read -P 0 196608 131072" \
    "write -z 500001 77777" "read -P 0 500001 77777" "read -P 0xab 577778 512" \
    "write -z -u -n 700000 100000" "read -P 0 700000 100000" \
    "discard 800000 100000" \
    "write -f -P 0x77 900000 12345" "read -P 0x77 900000 12345" \
    "flush" \
    "write -P 0x55 150M 16M" "read -P 0x55 150M 16M" \
    "write -z 120M 80M" "read -P 0 120M 80M" \
    "aio_write -P 1 10M 1M" "aio_write -P 2 12M 64k" "aio_write -z 14M 1M" \
    "aio_flush" \
    "aio_read -P 1 10M 1M" "aio_read -P 2 12M 64k" "aio_read -P 0 14M 1M" \
    "aio_flush" \
    "writev -P 3 20M 4k 64k 512" "readv -P 3 20M 4k 64k 512" \
    "discard 0 200M" "read -P 0 0 200M" "length" "map"
  says "200 MiB"
done
[[ $(stat_of logicalBytes io) == 0 ]] || fail "discard left $(stat_of logicalBytes io)"
patterns "$(unix_uri io)" "write -z 0 1M" "write -z -u 1M 1M"
[[ $(stat_of logicalBytes io) == 1048576 ]] ||
  fail "write -z keeps 1 MiB, -u none; here are $(stat_of logicalBytes io)"

say "qemu-io: what it says when memory is short, and past the end"
"$cli" set io --memory-limit=4M >/dev/null || fail "set"
random_bytes 16777216 >noise
refused "No space left" qemu-io -f raw -c "write -s noise 16M 16M" "$(unix_uri io)"
patterns "$(unix_uri io)" "discard 0 200M" "write -P 9 0 64k" "read -P 9 0 64k"

finish_test
