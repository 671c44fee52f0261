#!/bin/bash
# libnbd's and nbd-client's tools against the NBD bridges: what they show, and
# copies in and out, bit for bit. Arguments: see nbd_common.sh.
# shellcheck source=tests/integration/nbd_common.sh
source "$(dirname "$0")/nbd_common.sh" "$@"
need nbdinfo nbdcopy nbd-client jq

start_nbd --default_export=disk

say "An empty server lists nothing, and says what is wrong"
works nbdinfo --list "$(unix_uri '')"
grep -q '^export=' out && fail "an empty server lists: $(cat out)"
refused "default export" nbdinfo "$(unix_uri "")"
refused "No such file" nbdinfo "$(unix_uri missing)"

say "Every volume is in the list the moment it is there"
make_volume disk 1G
make_volume second 123456789
make_volume greatest 9223372036854775807
for uri in "$(unix_uri '')" "$(tcp_uri '')"; do
  works nbdinfo --list "$uri"
  says 'export="disk":' 'export="second":' 'export="greatest":' \
    'export-size: 1073741824 (1G)' 'export-size: 123456789' \
    'export-size: 9223372036854775807'
done
works nbdinfo --list --json "$(tcp_uri '')"
[[ $(jq -c '[.exports[]."export-name"]' out) == '["disk","greatest","second"]' ]] ||
  fail "list as JSON: $(cat out)"
works nbd-client -l "${nbd_host_port%:*}" "${nbd_host_port#*:}"
says disk second greatest
works nbd-client -l -unix "$nbd_socket"
says disk second greatest
delete_volume second
works nbdinfo --list "$(unix_uri '')"
grep -q second out && fail "a deleted volume is listed: $(cat out)"

say "What nbdinfo tells people about a volume"
for uri in "$(unix_uri disk)" "$(tcp_uri disk)" "$(unix_uri '')"; do
  works nbdinfo "$uri"
  says 'protocol: newstyle-fixed without TLS' ' packets' \
    'export-size: 1073741824 (1G)' 'base:allocation' 'is_rotational: false' \
    'is_read_only: false' 'can_cache: true' 'can_df: true' \
    'can_fast_zero: true' 'can_flush: true' 'can_fua: true' \
    'can_multi_conn: true' 'can_trim: true' 'can_zero: true' \
    'block_size_minimum: 1' 'block_size_maximum: 33554432'
  works nbdinfo --size "$uri"
  [[ $(cat out) == 1073741824 ]] || fail "--size: $(cat out)"
done
for can in connect cache df fast-zero flush fua multi-conn structured-reply \
  trim zero write; do
  works nbdinfo --can "$can" "$(unix_uri disk)"
done
answers_no nbdinfo --is read-only "$(unix_uri disk)"
answers_no nbdinfo --is rotational "$(unix_uri disk)"
answers_no nbdinfo --is tls "$(unix_uri disk)"
works nbdinfo --json "$(tcp_uri disk)"
[[ $(jq -c '.exports[0] | [."export-name", ."export-size", .contexts]' out) == \
  '["disk",1073741824,["base:allocation"]]' ]] || fail "as JSON: $(cat out)"
works nbdinfo --size "$(unix_uri greatest)"
[[ $(cat out) == 9223372036854775807 ]] || fail "greatest: $(cat out)"

say "A volume that is read-only says so"
make_volume fixed 1M
printf kept | "$cli" write fixed 0 || fail "write"
"$cli" set fixed --read-only=true >/dev/null || fail "set"
works nbdinfo "$(unix_uri fixed)"
says 'is_read_only: true'
works nbdinfo --is read-only "$(unix_uri fixed)"
answers_no nbdinfo --can write "$(unix_uri fixed)"
works nbdcopy "$(unix_uri fixed)" fixed.out
[[ $(head -c 4 fixed.out) == kept ]] || fail "read-only: wrong bytes"
random_bytes 1048576 >mebibyte
refused nbdcopy nbdcopy mebibyte "$(unix_uri fixed)"
delete_volume fixed

# expect_map URI LINES: compares nbdinfo's map with "offset length type" lines.
expect_map() {
  works nbdinfo --map "$1"
  [[ $(awk '{print $1, $2, $3}' out) == "$2" ]] ||
    fail "map: $(cat out), not: $2"
}

say "The map shows holes over empty regions at once"
expect_map "$(unix_uri disk)" "0 1073741824 3"
await_attached disk 0
random_bytes 1000000 | "$cli" write disk 1048576 || fail "write"
printf x | "$cli" write disk 600000000 || fail "write"
expect_map "$(tcp_uri disk)" "0 1048576 3
1048576 1003520 0
2052096 597946368 3
599998464 4096 0
600002560 473739264 3"
works nbdinfo --map --totals "$(unix_uri disk)"
[[ $(awk '{print $1, $3}' out) == "1007616 0
1072734208 3" ]] || fail "totals: $(cat out)"
says "data" "hole,zero" "99.9%"
works nbdinfo --map --totals --json "$(unix_uri disk)"
jq . out >/dev/null || fail "not JSON: $(cat out)"
make_volume large 4T
expect_map "$(unix_uri large)" "0 4398046511104 3"
delete_volume large
await_attached disk 0
"$cli" trim disk --all >/dev/null || fail "trim"

say "nbdcopy carries an image in and out, bit for bit"
make_image image
size=$(stat -c %s image)
# copy_through NAME IN_FLAGS OUT_FLAGS URI_FUNCTION
copy_through() {
  local uri in=$1 out=$2
  make_volume copy "$size"
  uri=$($3 copy)
  say "nbdcopy $in image $uri; nbdcopy $out $uri exported"
  rm -f exported
  # shellcheck disable=SC2086  # They are several words.
  works nbdcopy $in image "$uri"
  # shellcheck disable=SC2086
  works nbdcopy $out "$uri" exported
  same image exported
  "$cli" export copy - | cmp - image || fail "gRPC reads something else"
  if [[ $out != *--allocated* && $out != *--no-extents* ]]; then
    (($(disk_kib exported) <= $(disk_kib image))) ||
      fail "exported takes $(disk_kib exported) KiB, image $(disk_kib image)"
  fi
  "$cli" stat copy --output=json >stat.json
  delete_volume copy
}
logical() { jq -r '.logicalBytes' stat.json; }
copy_through "" "" unix_uri
sparse=$(logical)
((sparse < 30000000)) || fail "$sparse bytes are stored of a sparse image"
copy_through "--connections=4 --requests=32" "--connections=4 --requests=32" tcp_uri
copy_through "--synchronous" "--synchronous" unix_uri
copy_through "--destination-is-zero --flush" "--request-size=33554432" unix_uri
copy_through "--allocated" "--allocated" unix_uri
# Zeroes that are written as data become holes, those that NO_HOLE asks for not.
(($(logical) > 185000000)) ||
  fail "--allocated left $(logical) bytes; the holes should be allocated"
copy_through "--sparse=0 --no-extents" "--no-extents --sparse=512" tcp_uri
copy_through "--request-size=4096 --requests=64 --threads=2" "--queue-size=1M --request-size=65536" unix_uri

say "nbdcopy from one volume into another, and into nothing"
make_volume from "$size"
make_volume to "$size"
works nbdcopy image "$(unix_uri from)"
works nbdcopy "$(unix_uri from)" "$(tcp_uri to)"
"$cli" export to - | cmp - image || fail "volume to volume"
[[ $("$cli" extents to --totals --output=json | jq .dataBytes) == \
  "$("$cli" extents from --totals --output=json | jq .dataBytes)" ]] ||
  fail "the copy is less sparse: $("$cli" extents to --totals)"
works nbdcopy --connections=4 "$(unix_uri from)" null:
# Over content: what is zero in the image must be zero then.
await_attached to 0
random_bytes 200000001 | "$cli" write to 0 || fail "write"
works nbdcopy --connections=2 image "$(unix_uri to)"
"$cli" export to - | cmp - image || fail "over other content"
# Through pipes.
# shellcheck disable=SC2002  # Pipes are the point.
cat image | nbdcopy - "$(unix_uri to)" || fail "nbdcopy from a pipe"
nbdcopy "$(unix_uri to)" - | cmp - image || fail "nbdcopy into a pipe"

say "A server that the client starts, and passes a socket to as systemd does"
if [[ $way == bridge ]]; then
  works nbdinfo --size -- [ "$bridge" --default_export=to ]
  [[ $(cat out) == "$size" ]] || fail "it has $(cat out) bytes"
  nbdcopy -- [ "$bridge" --default_export=to ] - | cmp - image ||
    fail "nbdcopy from a server of its own"
else
  works nbdinfo --list --json -- [ "$ramvold" --listen="unix:$sockets/own" \
    --metrics_listen= --nbd_listen=systemd --memory_limit=64M ]
  [[ $(grep -v ^ramvold out | jq .protocol) == '"newstyle-fixed"' ]] || fail "it says: $(cat out)"
fi

finish_test
