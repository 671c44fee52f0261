#!/bin/busybox sh
# shellcheck shell=dash
# The first program of the guests that guest_snapshot_test.sh boots: first of the
# initramfs, then of the ext4 on the volume /dev/vda, which becomes the root. The
# kernel's command line says which part of the story it plays: ramvol.part=write,
# until it is killed, or =check, with ramvol.kept=A,B,...: how many files were
# synced on /dev/vda, /dev/vdb and so on.
# shellcheck source=tests/integration/guest_init_common.sh
. /lib/guest.sh

# --- In the initramfs ---

enter_volume() {
  mount -t proc proc /proc
  mount -t sysfs sysfs /sys
  mount -t devtmpfs dev /dev
  load_modules
  mount -t ext4 /dev/vda /mnt || fail "mount /dev/vda"
  for folder in proc sys dev; do
    mount --move "/$folder" "/mnt/$folder"
  done
  exec switch_root /mnt /sbin/init
}

# --- On the volume ---

# What the file of this number holds; no other one holds the same.
content() { seq "$1" $(($1 + 2000)); }

# Changes without an end that nobody syncs: files come, get another name, and go.
churn() {
  i=0
  while :; do
    folder=/churn/$((i % 20))
    mkdir -p $folder
    dd if=/dev/urandom of=$folder/new bs=64k count=8 2>/dev/null
    mv $folder/new $folder/$((i % 3))
    [ $((i % 4)) != 0 ] || rm -rf /churn/$(((i + 10) % 20))
    i=$((i + 1))
  done
}

write_files() {
  churn &
  number=1
  while :; do
    content $number | dd of=/data/$number conv=fsync 2>/dev/null ||
      fail "writing $number"
    say "synced $number"
    number=$((number + 1))
  done
}

# check_synced FOLDER FROM TO: the files of these numbers.
check_synced() {
  number=$2
  while [ "$number" -le "$3" ]; do
    content "$number" | cmp -s - "$1/data/$number" || return 1
    number=$((number + 1))
  done
}

# check_clone NAME COUNT: of a clone that nobody has mounted yet. Preening repeats
# the journal, and would refuse anything worse.
check_clone() {
  e2fsck -fp "/dev/$1"
  [ $? -le 1 ] || return
  e2fsck -fn "/dev/$1" || return
  mkdir "/run/$1"
  mount -t ext4 -o ro "/dev/$1" "/run/$1" || return
  check_synced "/run/$1" $(($2 - 2)) "$2" || return
  umount "/run/$1" && echo right
}

# check_clones COUNT...: of /dev/vdb and so on, all at once.
check_clones() {
  for letter in b c d e f g h i j k l m n o p q r s t u v w; do
    [ $# -gt 0 ] || break
    check_clone vd$letter "$1" >/run/vd$letter.out 2>&1 &
    shift
  done
  wait
  disks=0
  for out in /run/vd?.out; do
    [ "$(tail -n 1 "$out")" = right ] || fail "$out: $(cat "$out")"
    disks=$((disks + 1))
  done
  say "$disks disks were checked at once; $(cat /run/*.out |
    grep -c 'recovering journal') journals repeated"
}

check_root() {
  dmesg | grep -q 'EXT4-fs (vda): recovery complete' ||
    fail "no journal was repeated"
  ! dmesg | grep -q 'EXT4-fs error' || fail "the root has errors"
  check_synced / 1 "$1" || fail "a file is not what was synced"
  say "the root repeated its journal; $1 files are there"
}

main() {
  mount -t tmpfs run /run
  read_words
  say "Linux $(uname -r), part $part, on $(grep ' / ' /proc/mounts | tail -n 1)"
  [ "$part" = check ] || write_files
  # shellcheck disable=SC2086  # Words.
  set -- $kept
  check_root "$1"
  shift
  check_clones "$@"
  mount -o remount,ro / || fail "remount"
  end_guest
}

if [ -e /sbin/init ]; then main; else enter_volume; fi
