#!/bin/busybox sh
# shellcheck shell=dash
# The first program of the guests that guest_state_test.sh boots. The kernel's
# command line says which one: ramvol.part=disk or =attach, and where it finds
# the server on the host: ramvol.grpc=PORT, ramvol.nbd=PORT.
#
# Lines "guest: ..." are the story. "guest: ask WHAT" asks the host for
# something. The last line is "guest: passed" or "guest: FAILED: WHY".

say() { echo "guest: $*"; }

fail() {
  say "FAILED: $*"
  [ ! -s /tmp/out ] || tail -n 20 /tmp/out
  dmesg | tail -n 30
  poweroff -f
}

# run WHAT COMMAND...: the command must work; its output is kept in /tmp/out.
run() {
  what=$1
  shift
  "$@" >/tmp/out 2>&1 || fail "$what (exit code $?)"
}

# wait_for SECONDS WHAT COMMAND...
wait_for() {
  left=$1 what=$2
  shift 2
  until "$@" >/tmp/out 2>&1; do
    [ "$left" -gt 0 ] || fail "no end of waiting for $what"
    left=$((left - 1))
    sleep 1
  done
}

drop_caches() {
  sync
  echo 3 >/proc/sys/vm/drop_caches
}

# Writes files over and over in the background, each with its checksum, synced.
start_writing() {
  rm -f /tmp/stop /tmp/rounds /tmp/write.code
  {
    i=0 code=0
    while [ $code = 0 ] && [ ! -e /tmp/stop ]; do
      i=$((i + 1))
      file="$1/noise$((i % 8))"
      { dd if=/dev/urandom of="$file" bs=64k count=32 conv=fsync 2>/tmp/write.err &&
        cp -r /sbin "$1/copy$((i % 4))" &&
        sha256sum "$file" >"$file.sum" && sync; }
      code=$?
      echo $i >/tmp/rounds
    done
    echo $code >/tmp/write.code
  } &
}

rounds() { cat /tmp/rounds 2>/dev/null || echo 0; }
more_rounds() { [ "$(rounds)" -gt "$1" ]; }

end_writing() {
  touch /tmp/stop
  wait_for 150 "the writer" test -e /tmp/write.code
  [ "$(cat /tmp/write.code)" = 0 ] || fail "writing: $(cat /tmp/write.err)"
  check_files "$1"
}

check_files() {
  drop_caches
  for sum in "$1"/noise*.sum; do run "$sum" sha256sum -c "$sum"; done
  for copy in "$1"/copy*; do run "$copy" cmp "$copy/mkfs.ext4" /sbin/mkfs.ext4; done
}

check_clean() {
  run "umount $1" umount /mnt
  run "fsck $1" e2fsck -fn "$1"
  run "mount $1" mount -t ext4 "$1" /mnt
  check_files /mnt
  run "umount $1" umount /mnt
  dmesg | grep -iE 'I/O error|EXT4-fs error|aborted journal' >/tmp/errors &&
    fail "$(head -n 3 /tmp/errors)"
}

# QEMU connects again by itself; the guest sees nothing but a pause.
disk_goes_on() {
  run "mkfs.ext4" mkfs.ext4 -q -F /dev/vda
  run "mount" mount -t ext4 /dev/vda /mnt
  start_writing /mnt
  for kill in 1 2 3 4 5; do
    before=$(rounds)
    wait_for 100 "some writing" more_rounds "$before"
    say "ask replace"
    wait_for 100 "the writer to go on" more_rounds $((before + 2))
  done
  say "wrote $(rounds) rounds across $kill kills"
  end_writing /mnt
  check_clean /dev/vda
  say "fsck clean, all checksums right"
}

attach_goes_on() {
  ip link set lo up
  ip addr add 10.0.2.15/24 dev eth0
  ip link set eth0 up
  wait_for 60 "the server" ramvol server
  run "insmod nbd" insmod /lib/modules/nbd.ko nbds_max=2
  ramvol attach kdisk --connections=2 --request-timeout=10s \
    --dead-connection-timeout=200s --monitor >/tmp/monitor 2>&1 &
  wait_for 60 "the monitor" grep -q /dev/nbd0 /tmp/monitor
  run "mkfs.ext4" mkfs.ext4 -q -F /dev/nbd0
  run "mount" mount -t ext4 /dev/nbd0 /mnt
  start_writing /mnt
  for kill in 1 2 3; do
    before=$(rounds)
    wait_for 100 "some writing" more_rounds "$before"
    say "ask kill"
    sleep 1
    say "ask start"
    wait_for 150 "the monitor to connect" \
      sh -c "[ \$(grep -c 'connected again' /tmp/monitor) -ge $kill ]"
    wait_for 150 "the writer to go on" more_rounds $((before + 2))
  done
  say "wrote $(rounds) rounds across $kill kills"
  end_writing /mnt
  check_clean /dev/nbd0
  run "detach" ramvol detach kdisk
  say "the monitor: $(tr '\n' ';' </tmp/monitor)"
}

main() {
  mount -t proc proc /proc
  mount -t sysfs sysfs /sys
  mount -t devtmpfs dev /dev
  mount -t tmpfs tmp /tmp
  read -r words </proc/cmdline
  for word in $words; do
    case $word in
      ramvol.part=*) part=${word#*=} ;;
      ramvol.grpc=*) export RAMVOL_SERVER="10.0.2.2:${word#*=}" ;;
      ramvol.nbd=*) export RAMVOL_NBD="10.0.2.2:${word#*=}" ;;
    esac
  done
  while read -r module; do
    insmod "/lib/modules/$module" || fail "insmod $module"
  done </lib/modules/order
  say "Linux $(uname -r), part $part"
  if [ "$part" = disk ]; then disk_goes_on; else attach_goes_on; fi
  say "$(cut -d' ' -f1 /proc/uptime) s after its start"
  say passed
  poweroff -f
}

: >/tmp/out
main
