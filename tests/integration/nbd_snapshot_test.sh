#!/bin/bash
# Snapshots over NBD: exports "@NAME", what has changed since one, and backups of
# a volume that is being written to, with nothing but qemu-img and nbdcopy.
# docs/snapshots.md shows the same. Arguments: see nbd_common.sh.
# shellcheck source=tests/integration/nbd_common.sh
source "$(dirname "$0")/nbd_common.sh" "$@"
need nbdinfo nbdcopy qemu-img jq cmp

start_nbd

# keep NAME: a snapshot of disk.
keep() { "$cli" snapshot create disk "$1" >/dev/null || die "snapshot create $1"; }

# put OFFSET BYTES SEED: writes noise to disk.
put() {
  random_bytes "$2" "$3" >noise
  "$cli" write disk "$1" noise --force >/dev/null || die "ramvol write"
}

# bitmap EXPORT NAME: the ranges that changed since, as "OFFSET LENGTH" lines.
bitmap() {
  nbdinfo --json --map="qemu:dirty-bitmap:$2" "$(unix_uri "$1")" |
    jq -r '.[] | select(.type == 1) | "\(.offset) \(.length)"'
}

say "Snapshots are exports that nobody can write to"
make_volume disk 64M
make_volume other 1M
random_bytes 20000000 1 >base.img
truncate -s 64M base.img
nbdcopy base.img "$(unix_uri disk)" || fail "nbdcopy in"
keep monday
for uri in "$(unix_uri '')" "$(tcp_uri '')"; do
  works nbdinfo --list "$uri"
  says 'export="disk":' 'export="other":' 'export="@monday":'
done
works nbdinfo "$(unix_uri @monday)"
says 'is_read_only: true' 'export-size: 67108864 (64M)'
refused "read-only" nbdcopy base.img "$(tcp_uri @monday)"
works nbdcopy "$(unix_uri @monday)" monday.img
same base.img monday.img

say "Bitmaps say what has changed"
works nbdinfo --json "$(unix_uri disk)"
[[ $(jq -c '.exports[0].contexts' out) == \
  '["base:allocation","qemu:dirty-bitmap:monday"]' ]] || fail "contexts: $(cat out)"
works nbdinfo --json "$(unix_uri other)"
[[ $(jq -c '.exports[0].contexts' out) == '["base:allocation"]' ]] ||
  fail "contexts of another volume: $(cat out)"
[[ -z $(bitmap disk monday) ]] || fail "nothing changed, but $(bitmap disk monday)"
put 65536 65536 2
put 33554432 131072 3
[[ $(bitmap disk monday) == $'65536 65536\n33554432 131072' ]] ||
  fail "changed: $(bitmap disk monday)"
keep tuesday
[[ $(bitmap @tuesday monday) == $'65536 65536\n33554432 131072' ]] ||
  fail "changed between snapshots: $(bitmap @tuesday monday)"
works nbdinfo --json "$(unix_uri @tuesday)"
[[ $(jq -c '.exports[0].contexts' out) == \
  '["base:allocation","qemu:dirty-bitmap:monday"]' ]] ||
  fail "contexts of a snapshot: $(cat out)"
refused "qemu:dirty-bitmap:none" nbdinfo --map=qemu:dirty-bitmap:none \
  "$(unix_uri disk)"
# Both kinds of context at once.
works /usr/bin/python3 -c 'import nbd, sys
disk = nbd.NBD()
disk.add_meta_context("base:allocation")
disk.add_meta_context("qemu:dirty-bitmap:monday")
disk.connect_uri(sys.argv[1])
seen = {}
def note(name, offset, extents, error):
    seen[name] = list(extents)
disk.block_status(64 << 20, 0, note)
assert sorted(seen) == ["base:allocation", "qemu:dirty-bitmap:monday"], seen
assert seen["qemu:dirty-bitmap:monday"][:4] == [65536, 0, 65536, 1], seen
' "$(unix_uri disk)"

say "A bitmap's snapshot is never replaced by another one of its name"
cat >stale.py <<'PYTHON'
import errno, nbd, subprocess, sys

uri, ramvol = sys.argv[1:]
disk = nbd.NBD()
disk.add_meta_context("base:allocation")
disk.add_meta_context("qemu:dirty-bitmap:wednesday")
disk.connect_uri(uri)
disk.block_status(64 << 20, 0, lambda *seen: None)
subprocess.check_call([ramvol, "snapshot", "rm", "wednesday"], stdout=sys.stderr)
for again in (False, True):
    if again:
        subprocess.check_call(
            [ramvol, "snapshot", "create", "disk", "wednesday"], stdout=sys.stderr
        )
    try:
        disk.block_status(64 << 20, 0, lambda *seen: None)
        sys.exit(f"it told what has changed, {again=}")
    except nbd.Error as error:
        assert error.errnum == errno.EINVAL, error
    assert len(disk.pread(4096, 65536)) == 4096, "the volume is there"
anew = nbd.NBD()
anew.add_meta_context("qemu:dirty-bitmap:wednesday")
anew.connect_uri(uri)
anew.block_status(64 << 20, 0, lambda *seen: None)
PYTHON
keep wednesday
works /usr/bin/python3 stale.py "$(unix_uri disk)" "$cli"

say "Backup and increment while the volume is written to"
# Writes 50 blocks, again and again, until it is stopped.
/usr/bin/python3 -c 'import itertools, nbd, sys
disk = nbd.NBD()
disk.connect_uri(sys.argv[1])
for i in itertools.count():
    disk.pwrite(b"%4096d" % i, 40960000 + i % 50 * 4096)
    if i == 50:
        print("loaded", flush=True)' "$(unix_uri disk)" >load.out &
load_pid=$!
until grep -qs loaded load.out; do
  kill -0 "$load_pid" || die "no load"
done
keep full
nbdcopy "$(unix_uri @full)" backup.img || fail "full backup"
before=full
for day in 1 2 3; do
  put $((day * 1048576)) 8192 "$day"
  keep "day$day"
  source=driver=nbd,server.type=unix,server.path=$nbd_socket,export=@day$day
  qemu-img map --output=json --image-opts \
    "$source,x-dirty-bitmap=qemu:dirty-bitmap:$before" |
    jq -r '.[] | select(.data | not) | "\(.start) \(.length)"' >changed
  [[ -s changed ]] || fail "nothing changed on day $day"
  while read -r start length; do
    range=offset=$start,size=$length
    qemu-img convert -n --image-opts --target-image-opts \
      "driver=raw,$range,file.${source//,/,file.}" \
      "driver=raw,$range,file.driver=file,file.filename=backup.img" ||
      fail "copying $length bytes at $start"
  done <changed
  echo "day $day: $(wc -l <changed) ranges, $(awk '{ n += $2 } END { print n }' changed) bytes"
  nbdcopy "$(unix_uri "@day$day")" whole.img || fail "whole copy"
  same backup.img whole.img
  "$cli" snapshot rm "$before" >/dev/null || fail "snapshot rm $before"
  before=day$day
done
kill "$load_pid"
wait "$load_pid" 2>/dev/null

finish_test
