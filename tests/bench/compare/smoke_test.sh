#!/bin/bash
# Runs all of the comparison with the smallest settings, so that it cannot rot.
# Arguments: compare.py, the folders of the protos, and the paths of ramvold,
# ramvol, ramvol-nbd, grpc_compare and blkio_load.
set -euo pipefail

out=$TEST_TMPDIR/results
export MPLCONFIGDIR=$TEST_TMPDIR
# mke2fs is there.
export PATH=$PATH:/usr/sbin:/sbin

fail() {
  echo "FAILED: $*" >&2
  exit 1
}

/usr/bin/python3 -B "$1" --smoke --out="$out" --cache="$TEST_TMPDIR/cache" \
  --proto_dirs="$2" --ramvold="$3" --ramvol="$4" --ramvol-nbd="$5" \
  --grpc_compare="$6" --blkio_load="$7"

for field in '.rows[] | select(.section == "fio") | .cpu_us_per_op' \
  '.rows[] | select(.section == "vhost") | .cpu_us_per_op' \
  '.rows[] | select(.section == "copy") | .seconds' \
  '.clones.ramvold.written_bytes.counted' \
  '.clones["qcow2 over raw, tmpfs"].clone_seconds' '.grpc[] | .server_cpu_us_per_op' '.memory.ramvold.rss_trimmed_bytes' '.scale[].rows[0]'; do
  jq -e "$field" "$out/results.json" >/dev/null || fail "no $field"
done
[[ $(jq '.scale | length' "$out/results.json") == 6 ]] || fail "parts of scale"
for words in '# ramvol side by side' '## Targets' '## vhost-user' '## Memory' '## Clones' '## Scale'; do
  grep -qF "$words" "$out/results.md" || fail "no \"$words\" in results.md"
done
for plot in $(jq -r '.plots[]' "$out/results.json"); do
  grep -q '</svg>' "$out/$plot.svg" || fail "$plot.svg"
done
[[ -s $out/throughput-4k.svg && -s $out/scale-soak.svg ]] || fail "no plots"

# A name that is none is a sentence, not a stack.
if message=$(/usr/bin/python3 -B "$1" --only=none 2>&1); then
  fail "--only=none succeeded"
fi
[[ $message == 'bench: no section "none"; '* ]] || fail "$message"

echo "all passed"
