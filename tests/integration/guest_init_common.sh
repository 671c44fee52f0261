#!/bin/busybox sh
# shellcheck shell=dash
# shellcheck disable=SC2034,SC2154  # Those who source this use, and set, the variables.
# What the first programs of the tests' guests share, which source it as /lib/guest.sh.
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

# expect_error TEXT COMMAND...: the command must fail and say so.
expect_error() {
  text=$1
  shift
  if "$@" >/tmp/out 2>&1; then fail "$* was expected to fail"; fi
  grep -qF -- "$text" /tmp/out || fail "$* did not say \"$text\""
  say "refused as it must be: $(cat /tmp/out)"
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

# Mounts and loads what a guest has, and reads the kernel's command
# line: the part of the story, and where the host's server is.
begin_guest() {
  mount -t proc proc /proc
  mount -t sysfs sysfs /sys
  mount -t devtmpfs dev /dev
  mount -t tmpfs tmp /tmp
  : >/tmp/out
  load_modules
  read_words
  say "Linux $(uname -r), part $part"
}

load_modules() {
  while read -r module; do
    insmod "/lib/modules/$module" || fail "insmod $module"
  done </lib/modules/order
}

read_words() {
  read -r words </proc/cmdline
  for word in $words; do
    case $word in
      ramvol.part=*) part=${word#*=} ;;
      ramvol.kept=*) kept=$(echo "${word#*=}" | tr , ' ') ;;
      ramvol.grpc=*) export RAMVOL_SERVER="10.0.2.2:${word#*=}" ;;
      ramvol.nbd=*) export RAMVOL_NBD="10.0.2.2:${word#*=}" ;;
    esac
  done
}

# Until the host's server answers.
join_network() {
  ip link set lo up
  ip addr add 10.0.2.15/24 dev eth0
  ip link set eth0 up
  wait_for 60 "the server" ramvol server
}

end_guest() {
  say "$(cut -d' ' -f1 /proc/uptime) s after its start"
  say passed
  poweroff -f
}

# --- Files ---

# Files of every kind: what compresses, what does not, small ones, a link.
make_tree() {
  mkdir -p "$1/tree/deep/er"
  cp -r /bin/busybox /sbin /etc "$1/tree/deep"
  i=0
  while [ $i -lt 100 ]; do
    echo "file $i" >"$1/tree/deep/er/$i"
    i=$((i + 1))
  done
  ln -s ../deep/busybox "$1/tree/deep/link"
  dd if=/dev/urandom of="$1/tree/noise" bs=64k count="$2" 2>/dev/null
  (cd "$1" && find tree -type f -exec sha256sum {} + >sums)
}

check_tree() {
  (cd "$1" && sha256sum -c sums >/tmp/out 2>&1) || fail "$1: checksums differ"
}

queue() { cat "/sys/block/$1/queue/$2"; }

# --- A disk, /dev/vda, over a reboot ---

make_disk() {
  say "/dev/vda: $(cat /sys/block/vda/size) sectors," \
    "discard up to $(queue vda discard_max_bytes) bytes," \
    "cache $(queue vda write_cache)"
  run "mkfs.ext4 /dev/vda" mkfs.ext4 -q -F /dev/vda
  run "mount /dev/vda" mount -t ext4 /dev/vda /mnt
  make_tree /mnt 128
  dd if=/dev/urandom of=/mnt/big bs=1M count=48 2>/dev/null
  drop_caches
  check_tree /mnt
  run "umount /mnt" umount /mnt
  say "wrote a tree and 48 MiB of noise"
}

check_disk() {
  run "fsck" e2fsck -fn /dev/vda
  run "mount /dev/vda" mount -t ext4 /dev/vda /mnt
  check_tree /mnt
  say "after a reboot: fsck clean, $(wc -l </mnt/sums) checksums right"
  rm /mnt/big
  sync
  run "fstrim" fstrim -v /mnt
  say "$(cat /tmp/out)"
  drop_caches
  check_tree /mnt
  run "umount /mnt" umount /mnt
  run "fsck" e2fsck -fn /dev/vda
}

# --- A disk that is written while its server is replaced ---

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
      # Whole, for who reads it at this moment.
      echo $i >/tmp/rounds.new && mv /tmp/rounds.new /tmp/rounds
    done
    echo $code >/tmp/write.code
  } &
}

rounds() { cat /tmp/rounds 2>/dev/null || echo 0; }
more_rounds() { [ "$(rounds)" -gt "$1" ]; }

end_writing() {
  touch /tmp/stop
  wait_for 150 "the writer" test -s /tmp/write.code
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
