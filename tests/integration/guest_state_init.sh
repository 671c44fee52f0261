#!/bin/busybox sh
# shellcheck shell=dash
# The first program of the guests that guest_state_test.sh boots. The kernel's
# command line says which one: ramvol.part=disk or =attach, and where it finds
# the server on the host: ramvol.grpc=PORT, ramvol.nbd=PORT.
# shellcheck source=tests/integration/guest_init_common.sh
. /lib/guest.sh

attach_goes_on() {
  join_network
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

begin_guest
if [ "$part" = disk ]; then disk_goes_on; else attach_goes_on; fi
end_guest
