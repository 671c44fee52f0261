#!/bin/busybox sh
# shellcheck shell=dash
# The first program of the guests that guest_vhost_test.sh boots. The kernel's command
# line says which part of the story it plays: ramvol.part=make, =check or =speed.
# shellcheck source=tests/integration/guest_init_common.sh
. /lib/guest.sh

has_queues() { [ "$(find "/sys/block/$1/mq" -mindepth 1 -maxdepth 1 | wc -l)" = "$2" ]; }

look_at_device() {
  has_queues vda 2 || fail "not a queue for each of two processors"
  [ "$(queue vda discard_max_bytes)" -gt 0 ] || fail "no discard"
  [ "$(queue vda write_zeroes_max_bytes)" -gt 0 ] || fail "no write zeroes"
  say "logical blocks of $(queue vda logical_block_size), physical ones of" \
    "$(queue vda physical_block_size), $(queue vda max_segments) segments"
}

# The snapshot has what /dev/vda had when it was taken.
check_snapshot() {
  [ "$(cat /sys/block/vdb/ro)" = 1 ] || fail "the snapshot's disk is not read-only"
  run "mount /dev/vdb" mount -t ext4 -o ro,noload /dev/vdb /mnt
  check_tree /mnt
  [ -e /mnt/big ] || fail "the snapshot has changed"
  run "umount /mnt" umount /mnt
}

grown() { [ "$(cat /sys/block/vda/size)" = $((2 << 21)) ]; }

grow() {
  run "mount" mount -t ext4 /dev/vda /mnt
  say "ask grow"
  wait_for 60 "the disk to grow" grown
  run "resize2fs" resize2fs /dev/vda
  dd if=/dev/urandom of=/mnt/late bs=1M count=8 2>/dev/null
  [ "$(df -m /mnt | awk 'END { print $2 }')" -gt 1500 ] || fail "$(df -m /mnt)"
  check_tree /mnt
  run "umount /mnt" umount /mnt
  run "fsck" e2fsck -fn /dev/vda
  say "grew while it was mounted, fsck clean"
}

# fio_rate DEVICE RW DEPTH: operations of 4 KiB a second.
fio_rate() {
  fio --name=job --filename="/dev/$1" --direct=1 --ioengine=libaio --rw="$2" --bs=4k \
    --iodepth="$3" --size=64M --runtime=2 --time_based --ramp_time=0.5 --minimal \
    2>/tmp/out >/tmp/fio || fail "fio"
  awk -F ';' '{ print $8 + $49 }' /tmp/fio
}

# Figures to see, not to judge by: /dev/vda by vhost-user, /dev/vdb by NBD.
compare_speed() {
  run "fill" dd if=/dev/urandom of=/dev/vda bs=1M count=64 oflag=direct
  for rw in randread randwrite; do
    for depth in 1 16; do
      say "fio, 4 KiB $rw, depth $depth: $(fio_rate vda $rw $depth) a second by" \
        "vhost-user, $(fio_rate vdb $rw $depth) by NBD"
    done
  done
}

begin_guest
if [ "$part" = speed ]; then
  compare_speed
elif [ "$part" = make ]; then
  look_at_device
  make_disk
else
  check_snapshot
  check_disk
  grow
  disk_goes_on
fi
end_guest
