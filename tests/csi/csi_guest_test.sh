#!/bin/bash
# A test of ramvol-csi with the kernel's nbd driver, in a guest: user-mode Linux, whose root
# is this machine's, to be read only.
# Arguments: the path of the test in Python, and its arguments.
set -u

die() {
  echo "FAILED: $*" >&2
  exit 1
}

here=$(realpath "$(dirname "$0")")
if [[ $(uname -m) != x86_64 ]]; then
  echo "skipped: user-mode Linux is for x86_64 alone"
  exit 0
fi
uml=$(ramvol-user-mode-linux) || die "no user-mode Linux; ./dev deps unpacks it"
work=$(mktemp -d "${TEST_TMPDIR:-/tmp}/csi-guest.XXXXXX")
guest_pid=''

# shellcheck disable=SC2317  # The trap calls it.
finish() {
  [[ -z $guest_pid ]] || kill -KILL -- "-$guest_pid" 2>/dev/null
  rm -rf "$work"
}
trap finish EXIT

# What the guest's first program needs to know. Files are real ones: it has no /run of this
# machine.
{
  printf 'module=%q\n' "$(find "$uml" -name nbd.ko | head -n 1)"
  printf 'export PATH=%q\n' "$PATH:/usr/sbin:/sbin"
  printf 'seed=%q\n' "${CSI_SEED:-$RANDOM}"
  printf 'test=('
  for word in "$@"; do
    [[ ! -e $word ]] || word=$(realpath "$word")
    printf '%q ' "$word"
  done
  printf ')\n'
} >"$work/settings"

: >"$work/log"
# Its memory is a file of TMPDIR, and its socket is below uml_dir, by default ~/.uml: it
# panics without HOME. In a process group of its own, for it has many processes.
TMPDIR=/dev/shm setsid "$uml/usr/bin/linux.uml" mem=1536M rootfstype=hostfs rootflags=/ ro \
  init="$(realpath "$here/csi_guest_init.sh")" ramvol_settings="$work/settings" \
  uml_dir="$work/" con0=fd:0,fd:1 con=null quiet </dev/null >"$work/log" 2>&1 &
guest_pid=$!

# Its story, as it is told.
tail -n +1 --pid="$guest_pid" -f "$work/log" | sed -u 's/\r//g' &
wait "$guest_pid"
guest_pid=
wait
grep -aq '^guest: passed' "$work/log" || die "the guest did not pass"
echo "all passed in $SECONDS s"
