#!/bin/busybox sh
# shellcheck shell=dash
# The first program of the guest that guest_test.sh boots. The kernel's command
# line says which part of the story it plays: ramvol.part=make or =check, and
# where it finds the server on the host: ramvol.grpc=PORT, ramvol.nbd=PORT.
# shellcheck source=tests/integration/guest_init_common.sh
. /lib/guest.sh

# Of the volume, as the server counts them.
stored_bytes() {
  ramvol stat "$1" --output=json |
    sed -n '/"storedBytes"/{s/[^0-9]*\([0-9]*\).*/\1/p;q}'
}

# --- The kernel's own nbd driver, over the network ---

attach() {
  ramvol attach kdisk --connections=2 --request-timeout=10s \
    --dead-connection-timeout=200s "$@"
}

queues() { find /sys/block/nbd0/mq -mindepth 1 -maxdepth 1 | wc -l; }
is_attached() { [ -e /sys/block/nbd0/pid ]; }

# How often a request found no connection alive.
dead_ends() { dmesg | grep -c 'nbd0: Dead connection, failed to find'; }
more_dead_ends() { [ "$(dead_ends)" -gt "$1" ]; }

# cut_while_writing FILE
cut_while_writing() {
  before=$(dead_ends)
  start_writing "$1"
  say "ask cut"
  wait_for 100 "the connections to break" more_dead_ends "$before"
  say "the kernel noticed: $(dmesg | grep nbd0: | tail -n 1)"
}

attach_first() {
  expect_error "modprobe nbd" attach
  run "insmod nbd" insmod /lib/modules/nbd.ko nbds_max=4
  run "ramvol uri" ramvol uri kdisk
  say "$(cat /tmp/out)"
  run "attach" attach
  [ "$(cat /tmp/out)" = /dev/nbd0 ] || fail "attached as $(cat /tmp/out)"
  say "/dev/nbd0 holds $(cat /sys/block/nbd0/backend):" \
    "$(queues) queues," \
    "discard up to $(queue nbd0 discard_max_bytes) bytes," \
    "cache $(queue nbd0 write_cache), fua $(queue nbd0 fua)"
  [ "$(queues)" = 2 ] || fail "not two connections"
  [ "$(queue nbd0 discard_max_bytes)" -gt 0 ] || fail "no discard"
  [ "$(cat /sys/block/nbd0/size)" = 1048576 ] || fail "wrong size"
  expect_error "DEVICE_BUSY" ramvol attach other /dev/nbd0
}

use_device() {
  run "mkfs.ext4 /dev/nbd0" mkfs.ext4 -q -F /dev/nbd0
  run "mount /dev/nbd0" mount -t ext4 /dev/nbd0 /mnt
  make_tree /mnt 64
  dd if=/dev/urandom of=/mnt/big bs=1M count=24 2>/dev/null
  drop_caches
  check_tree /mnt
  before=$(stored_bytes kdisk)
  rm /mnt/big
  sync
  run "fstrim /dev/nbd0" fstrim -v /mnt
  after=$(stored_bytes kdisk)
  say "kdisk stored $before bytes, after fstrim $after"
  [ $((before - after)) -ge $((22 << 20)) ] || fail "fstrim freed too little"
  expect_error "DEVICE_BUSY" ramvol detach kdisk
}

# start_writing FILE: over and over, so that the cut comes in the midst of it.
start_writing() {
  rm -f /tmp/stop /tmp/write.code
  {
    code=0
    while [ $code = 0 ] && [ ! -e /tmp/stop ]; do
      dd if=/tmp/noise of="$1" bs=64k conv=fsync 2>/tmp/write.err
      code=$?
    done
    echo $code >/tmp/write.code
  } &
}

end_writing() {
  touch /tmp/stop
  wait_for 150 "the writer" test -s /tmp/write.code
  [ "$(cat /tmp/write.code)" = 0 ] || fail "writing: $(cat /tmp/write.err)"
  drop_caches
  cmp /tmp/noise "$1" || fail "$1 differs"
}

cut_and_reattach() {
  dd if=/dev/urandom of=/tmp/noise bs=1M count=8 2>/dev/null
  cut_while_writing /mnt/during
  expect_error "Connection refused" attach
  say "ask restore"
  wait_for 100 "attach to work again" attach
  [ "$(cat /tmp/out)" = /dev/nbd0 ] || fail "attached as $(cat /tmp/out)"
  end_writing /mnt/during
  check_tree /mnt
  say "attached again, and the write that was cut came through"
}

cut_and_monitor() {
  attach --monitor >/tmp/monitor 2>&1 &
  monitor=$!
  wait_for 60 "the monitor" grep -q /dev/nbd0 /tmp/monitor
  cut_while_writing /mnt/monitored
  say "ask restore"
  wait_for 100 "the monitor to connect" grep -q "connected again" /tmp/monitor
  end_writing /mnt/monitored
  check_tree /mnt
  say "the monitor: $(tr '\n' ';' </tmp/monitor)"
}

detach_all() {
  run "umount /mnt" umount /mnt
  run "detach" ramvol detach kdisk
  is_attached && fail "still attached"
  wait $monitor || fail "the monitor ended with $?"
  expect_error "NOT_ATTACHED" ramvol detach kdisk
  run "attach read-only" attach --read-only /dev/nbd2
  run "fsck" e2fsck -fn /dev/nbd2
  run "mount /dev/nbd2" mount -t ext4 -o ro,noload /dev/nbd2 /mnt
  check_tree /mnt
  cmp /tmp/noise /mnt/during || fail "during differs"
  cmp /tmp/noise /mnt/monitored || fail "monitored differs"
  run "umount /mnt" umount /mnt
  run "detach /dev/nbd2" ramvol detach /dev/nbd2
  say "detached; attached again on /dev/nbd2: fsck clean, checksums right"
}

# The volume is replaced by another of its name, as by a server's restart.
replaced_volume() {
  run "attach" attach
  run "rm" ramvol rm kdisk --force
  run "create" ramvol create kdisk 512M
  expect_error "VOLUME_REPLACED" attach
  run "detach" ramvol detach --force /dev/nbd0
  run "attach the new one" attach /dev/nbd0
  dd if=/dev/nbd0 bs=1M count=1 2>/dev/null | cmp -n 1048576 - /dev/zero ||
    fail "the new volume is not empty"
  run "detach" ramvol detach kdisk
  # As the README has it.
  if ! { mkfs.ext4 -q "$(ramvol attach kdisk)" && mount /dev/nbd0 /mnt; }; then
    fail "mkfs and mount"
  fi
  if ! { umount /mnt && ramvol detach kdisk; }; then
    fail "umount and detach"
  fi
  is_attached && fail "still attached"
  say "a volume that replaced another is refused, then attached as new"
}

begin_guest
if [ "$part" = make ]; then
  make_disk
else
  check_disk
  join_network
  attach_first
  use_device
  cut_and_reattach
  cut_and_monitor
  detach_all
  replaced_volume
fi
end_guest
