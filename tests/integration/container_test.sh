#!/bin/bash
# The container image: it builds, is small, runs confined, and stays alive in 512
# MiB whatever clients do. Argument: the path of ramvol on this machine. Runs as
# root, with podman; where Debian's image cannot be pulled, debootstrap makes it.
set -euo pipefail

cli=$(realpath "$1")
cd "$(dirname "$(readlink -f "$0")")/../.."
repository=$PWD
readonly image=localhost/ramvol:test
readonly most_bytes=60000000
work=$(mktemp -d "${TEST_TMPDIR:-/tmp}/container.XXXXXX")
name=ramvol-test-$$

# shellcheck disable=SC2317  # The trap calls it.
finish() {
  podman rm --force --time=1 "$name" >/dev/null 2>&1 || :
  rm -rf "$work"
}
trap finish EXIT

fail() {
  echo "FAILED: $*" >&2
  podman logs "$name" 2>&1 | tail -n 20 >&2 || :
  exit 1
}

# shellcheck source=deploy/container/podman.sh
source deploy/container/podman.sh "$work"

# Of the container.
state() { podman inspect --format="{{.State.$1}}" "$name"; }
pid() { state Pid; }
inside() { nsenter --net="/proc/$(pid)/ns/net" -- "$@"; }
ramvol() { inside "$cli" --timeout=600s "$@"; }

cgroup_v1() {
  echo "/sys/fs/cgroup/memory$(sed -n 's/.*:memory://p' "/proc/$(pid)/cgroup")"
}
cgroup_v2() { echo "/sys/fs/cgroup$(sed -n 's/^0:://p' "/proc/$(pid)/cgroup")"; }

# How often the kernel killed a process of the container for memory.
oom_kills() {
  cat "$(cgroup_v2)/memory.events" "$(cgroup_v1)/memory.oom_control" 2>/dev/null |
    sed -n 's/^oom_kill //p' | head -n 1
}

# Most that the container had in use.
most_bytes_used() {
  cat "$(cgroup_v2)/memory.peak" 2>/dev/null ||
    cat "$(cgroup_v1)/memory.max_usage_in_bytes"
}

alive() {
  [ "$(state Status)" = running ] || fail "$1: the container is $(state Status)"
  [ "$(oom_kills)" = 0 ] || fail "$1: $(oom_kills) processes killed for memory"
  [ "$(state OOMKilled)" = false ] || fail "$1: killed for memory"
}

echo "== build"
debian_image trixie "$work" >/dev/null
read -r _ bytes < <(deploy/container/build.sh "$image" --network=host)
echo "the image has $bytes bytes"
((bytes < most_bytes)) || fail "the image has $bytes bytes"
labels=$(podman image inspect --format='{{json .Config.Labels}}' "$image")
for label in title description licenses source version revision; do
  [[ $labels == *"\"org.opencontainers.image.$label\":"* ]] ||
    fail "no label $label in $labels"
done

echo "== start"
# The image's own addresses, in a network of its own.
podman run --detach --name="$name" --network=none --memory=512m \
  --memory-swap=512m --read-only --cap-drop=all \
  --security-opt=no-new-privileges "$image" >/dev/null 2>"$work/run.err" ||
  fail "$(cat "$work/run.err")"
for ((i = 0; i < 300; i++)); do
  # systemd's timers would do this; there may be no systemd.
  podman healthcheck run "$name" >/dev/null 2>&1 && break
  sleep 0.2
done
[ "$(podman inspect --format='{{.State.Health.Status}}' "$name")" = healthy ] ||
  fail "not healthy"
grep -q '^Uid:.65532.65532.65532.65532$' "/proc/$(pid)/status" || fail "not 65532"
grep -q '^CapEff:.0000000000000000$' "/proc/$(pid)/status" || fail "capabilities"
grep -q '^NoNewPrivs:.1$' "/proc/$(pid)/status" || fail "new privileges"
# 512 MiB, of which 288 are for what is beside the volumes.
ramvol server --output=json | grep '"memoryLimitBytes": "234881024"' >/dev/null ||
  fail "the memory limit is not 224 MiB: $(ramvol server)"
inside curl -sf http://127.0.0.1:7421/metrics | grep ramvol_build_info >/dev/null ||
  fail "no metrics"

echo "== fill"
head -c $((80 << 20)) /dev/urandom >"$work/noise"
ramvol create kept 80M >/dev/null
ramvol import "$work/noise" kept >/dev/null
writers=()
# Before anything is full: a volume needs 8 KiB.
ramvol create target 1T >/dev/null
for ((i = 0; i < 4; i++)); do
  ramvol create "grpc$i" 80M >/dev/null
  ramvol create "nbd$i" 80M >/dev/null
done
for ((i = 0; i < 4; i++)); do
  ramvol import "$work/noise" "grpc$i" >"$work/grpc$i" 2>&1 &
  writers+=($!)
  inside nbdcopy --connections=4 --requests=64 --request-size=4194304 \
    "$work/noise" "nbd://127.0.0.1:10809/nbd$i" >"$work/nbd$i" 2>&1 &
  writers+=($!)
done
full=0
for writer in "${writers[@]}"; do wait "$writer" || full=$((full + 1)); done
((full > 0)) || fail "640 MiB went into 224 MiB"
alive "filled"
grep -q SERVER_MEMORY_LIMIT "$work"/grpc? || fail "$(cat "$work"/grpc?)"
! grep -h '^ramvol:' "$work"/grpc? | grep -v SERVER_MEMORY_LIMIT ||
  fail "an import failed for another reason"
grep -q 'No space left' "$work"/nbd? || fail "$(cat "$work"/nbd?)"
ramvol export kept "$work/kept" >/dev/null
cmp "$work/noise" "$work/kept" || fail "what was acknowledged has changed"
# Of what came in part, each block is what was written, or a hole.
for ((i = 0; i < 4; i++)); do
  for volume in "grpc$i" "nbd$i"; do
    ramvol export "$volume" "$work/partial" >/dev/null
    /usr/bin/python3 - "$work/noise" "$work/partial" <<'TEXT' || fail "$volume differs"
import sys
noise, partial = (open(name, "rb").read() for name in sys.argv[1:])
assert len(noise) == len(partial)
for at in range(0, len(noise), 4096):
    block = partial[at:at + 4096]
    assert block == noise[at:at + 4096] or not any(block), at
TEXT
  done
done

echo "== attack"
mkdir "$work/python"
/usr/bin/protoc -Iproto -Ithird_party/googleapis --python_out="$work/python" \
  proto/ramvol/v1/block_service.proto proto/ramvol/v1/volume_service.proto \
  third_party/googleapis/google/rpc/status.proto
inside /usr/bin/python3 "$repository/tests/integration/container_load.py" \
  "$work/python" 127.0.0.1:7420 kept target 15 &
load=$!
readers=()
for ((i = 0; i < 8; i++)); do
  # Each asks for 16 GiB at once.
  inside nbdcopy --connections=8 --requests=64 --request-size=33554432 \
    "nbd://127.0.0.1:10809/kept" null: >/dev/null 2>&1 &
  readers+=($!)
done
wait "$load" || fail "the load"
for reader in "${readers[@]}"; do wait "$reader" || fail "a reader by NBD"; done
alive "attacked"
echo "at most $(($(most_bytes_used) >> 20)) of 512 MiB in use"
ramvol health >/dev/null || fail "not healthy after the attack"
ramvol export kept "$work/kept" >/dev/null
cmp "$work/noise" "$work/kept" || fail "the attack changed other data"

echo "== trim and write again"
ramvol rm target >/dev/null
for ((i = 0; i < 4; i++)); do
  ramvol trim "grpc$i" --all >/dev/null
  ramvol trim "nbd$i" --all >/dev/null
done
ramvol import "$work/noise" grpc0 >/dev/null || fail "no room after trimming"
ramvol export grpc0 "$work/kept" >/dev/null
cmp "$work/noise" "$work/kept" || fail "written again, and different"

echo "== stop"
inside nbdcopy "nbd://127.0.0.1:10809/kept" - 2>/dev/null |
  (sleep 1 && cat) >"$work/kept" &
sleep 0.3
podman kill --signal=TERM "$name" >/dev/null
code=$(podman wait "$name")
[ "$code" = 0 ] || fail "stopped with $code"
podman logs "$name" 2>&1 | grep stopped >/dev/null || fail "no clean stop"
wait
tests/integration/csi_container_test.sh "$image" "${image/ramvol/ramvol-csi}"
echo "all passed"
