#!/bin/bash
# A volume as a file, by nbdfuse: a file system made in it, checked, filled and
# read back. Arguments: see nbd_common.sh.

# In a mount namespace of its own, where that is allowed: else a sandbox that is
# made meanwhile takes the mounts along, and they stay busy.
if [[ -z ${OWN_MOUNTS:-} ]]; then
  export OWN_MOUNTS=yes
  become=()
  [[ $(id -u) == 0 ]] || become=(--map-root-user)
  # The second is for a changed root.
  for how in "" --propagation=unchanged; do
    # shellcheck disable=SC2086  # Nothing when it is empty.
    if unshare --mount $how "${become[@]}" true 2>/dev/null; then
      # shellcheck disable=SC2086  # Nothing when it is empty.
      exec unshare --mount $how "${become[@]}" "$0" "$@"
    fi
  done
fi

# shellcheck source=tests/integration/nbd_common.sh
source "$(dirname "$0")/nbd_common.sh" "$@"
need nbdfuse fusermount3 mke2fs e2fsck debugfs dumpe2fs

start_nbd
make_volume disk 300M
mkdir fuse mnt
: >nbdfuse.err
loop=
fuse_pid=

# shellcheck disable=SC2317  # The trap calls it.
unmount_and_finish() {
  [[ -z $loop ]] || umount mnt
  [[ -z $fuse_pid ]] || fusermount3 -u -z fuse
  finish
}
trap unmount_and_finish EXIT

# attach URI [FLAG...]: the volume is the file fuse/nbd.
attach() {
  local i
  say "nbdfuse fuse $*"
  nbdfuse "${@:2}" fuse "$1" 2>nbdfuse.err &
  fuse_pid=$!
  for ((i = 0; i < 1200; i++)); do
    [[ -e fuse/nbd ]] && return
    kill -0 $fuse_pid 2>/dev/null || break
    sleep 0.05
  done
  die "nbdfuse: $(cat nbdfuse.err)"
}

# A loop device is let go of some time after umount.
detach() {
  local end=$((SECONDS + 60))
  until fusermount3 -u fuse 2>umount.err; do
    ((SECONDS < end)) || die "fusermount3: $(cat umount.err)"
    sleep 0.05
  done
  wait $fuse_pid || fail "nbdfuse ended with $?: $(cat nbdfuse.err)"
  fuse_pid=
}

# Without FUSE, as in most containers, the file is a copy of the volume.
if ! { [[ -e /dev/fuse ]] || mknod -m 666 /dev/fuse c 10 229; } ||
  ! : <>/dev/fuse; then
  echo "NO FUSE HERE: nbdfuse is not tried, but nbdcopy to a file and back"
  attach() {
    say "nbdcopy from $1"
    copied_from=$1
    mkdir -p fuse
    works nbdcopy "$1" fuse/nbd
    fuse_pid=
  }
  detach() { works nbdcopy fuse/nbd "$copied_from" && rm fuse/nbd; }
fi

attach "$(unix_uri disk)"
[[ $(stat -c %s fuse/nbd) == 314572800 ]] || fail "size: $(stat fuse/nbd)"

say "mkfs.ext4, with a file tree in it, and e2fsck"
make_tree 10000000
works mke2fs -q -t ext4 -F -d tree fuse/nbd
works e2fsck -f -n fuse/nbd
says "non-contiguous"
works dumpe2fs -h fuse/nbd
grep -E "Inode count|Free blocks|Block count" out
mkdir copy
works debugfs -R 'rdump / copy' fuse/nbd
same_tree copy
detach

say "The same, read over TCP with several connections"
attach "$(tcp_uri disk)" -C 4
works e2fsck -f -n fuse/nbd
rm -r copy && mkdir copy
works debugfs -R 'rdump / copy' fuse/nbd
same_tree copy

say "A file written by debugfs, at odd places by dd"
works debugfs -w -R 'write nbdfuse.err empty' fuse/nbd
works debugfs -w -R 'write tree/noise again' fuse/nbd
works debugfs -R 'dump again again' fuse/nbd
same tree/noise again
works e2fsck -f -n fuse/nbd
detach

say "A file system on a loop device over it, where that is allowed"
attach "$(unix_uri disk)"
if mount -o loop fuse/nbd mnt 2>mount.err; then
  loop=yes
  rm mnt/empty mnt/again
  same_tree mnt
  cp -r tree mnt/second || fail "cp"
  sync -f mnt
  rm -rf mnt/second/noise
  umount mnt || fail "umount"
  loop=
  works e2fsck -f -n fuse/nbd
  works debugfs -R "ls /second" fuse/nbd
else
  echo "not allowed: $(cat mount.err)"
fi
detach
await_attached disk 0

finish_test
