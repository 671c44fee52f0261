#!/bin/bash
# The first program of the guest of csi_guest_test.sh, which says what it does. The last
# line is "guest: passed" or "guest: FAILED".
# shellcheck disable=SC2154  # The settings set the variables.
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mountpoint -q /dev || mount -t devtmpfs dev /dev
# The rest of the root can only be read.
mkdir /dev/shm
for folder in /dev/shm /run /var/tmp; do mount -t tmpfs tmpfs "$folder"; done
# shellcheck source=/dev/null
source "$ramvol_settings"
ip link set lo up
# ramvold maps more than there is memory.
echo 1 >/proc/sys/vm/overcommit_memory

# finish WORD
finish() {
  [[ $1 == passed ]] || dmesg | tail -n 30
  echo "guest: $1 after $(cut -d' ' -f1 /proc/uptime) s"
  busybox poweroff -f
}

echo "guest: Linux $(uname -r)"
insmod "$module" nbds_max=8 || finish FAILED
# Not /tmp, below which the programs may lie.
export TMPDIR=/run CSI_TMPDIR=/run CSI_ATTACH=nbd CSI_SEED=$seed CSI_ROUNDS=2
(cd /run && /usr/bin/python3 -B "${test[@]}") || finish FAILED
finish passed
