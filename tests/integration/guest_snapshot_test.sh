#!/bin/bash
# Snapshots of a real guest's root: an ext4 that it writes to meanwhile. Clones
# of them repeat their journals, by the kernel that boots from one and by fsck of
# twenty at once, are right, and hold what was synced before the snapshot.
# Arguments: the paths of ramvold, ramvol and guest_snapshot_init.sh.
init=$(realpath "$3")
# shellcheck source=tests/integration/guest_common.sh
source "$(dirname "$0")/guest_common.sh" "$1" "$2"
need mke2fs e2fsck
readonly clones=20

# The image of the root, and an initramfs that goes there.
make_files() {
  install_system
  install_program "$(command -v e2fsck)" /sbin/e2fsck
  mkdir "$root/data" "$root/churn"
  install -m 755 "$init" "$root/sbin/init"
  mke2fs -q -t ext4 -d "$root" -N 4096 root.img 160M >/dev/null || die "mke2fs"
  rm -r "$root"
  install_system virtio_pci virtio_blk
  pack_initramfs "$init"
}

# Takes three snapshots while the guest writes on, then kills it. kept[N] is how
# many files were synced when snapshot N was asked for.
kept=()
heed() {
  [[ $1 == "synced "* ]] || return
  local synced=${1#synced }
  ((synced >= 10 * (${#kept[@]} + 1))) || return
  if ((${#kept[@]} == 3)); then
    kill -KILL "$guest_pid"
    return
  fi
  "$cli" snapshot create disk "crash${#kept[@]}" >/dev/null || die "snapshot"
  echo "host: snapshot crash${#kept[@]} with at least $synced synced files"
  kept+=("$synced")
}

# own_bytes VOLUME: what the volume alone holds.
own_bytes() {
  "$cli" stat "$1" --output=json | sed -n 's/.*"ownBytes": "\([0-9]*\)".*/\1/p'
}

make_files
start_server --listen="$RAMVOL_SERVER"
"$cli" import root.img disk >/dev/null || die "import"
start_guest write ramvol.part=write disk
follow_guest write
wait "$guest_pid"
guest_pid=
((${#kept[@]} == 3)) || die "the guest ended early: $(tail -n 30 write.log)"
echo "host: the guest is killed"

# The first is the root of a guest.
counts='' names=() sum=0
for ((i = 0; i <= clones; i++)); do
  "$cli" clone "@crash$((i % 3))" "vm$i" >/dev/null || die "clone"
  counts+=,${kept[i % 3]} names+=("vm$i")
  sum=$((sum + $(own_bytes "vm$i")))
done
echo "host: $((clones + 1)) clones hold $sum bytes of their own"
((sum <= (clones + 1) * 65536)) || die "clones are not shared"
for i in 0 1 2; do "$cli" checksum "@crash$i"; done >before

start_guest check "ramvol.part=check ramvol.kept=${counts#,}" "${names[@]}"
await_passed check
echo "host: the checked clone holds $(own_bytes vm1) bytes of its own," \
  "the root $(own_bytes vm0)"

for i in 0 1 2; do "$cli" checksum "@crash$i"; done >after
cmp before after || die "a snapshot has changed"
"$cli" export vm0 vm0.img >/dev/null || die "export"
e2fsck -fn vm0.img || die "the root is not clean after it was shut down"
stop_server
echo "all passed, in $SECONDS s"
