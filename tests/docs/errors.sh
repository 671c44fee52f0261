#!/bin/bash
# docs/errors.md lists every reason that errors have, and no other. Arguments:
# the page, then the sources and protos that name reasons.
set -euo pipefail
page=$1
shift
failures=0
fail() {
  echo "FAILED: $*" >&2
  failures=$((failures + 1))
}

# In protos "reason NAME", in sources a constant or a literal.
named=$(
  {
    grep -hoE 'reason,? +[A-Z]+(_[A-Z]+)+' "$@" | grep -oE '[A-Z_]+$'
    grep -hoE '"[A-Z]+(_[A-Z]+)+"|kUsageReason\[\] = "[A-Z]+"|InterruptedError' "$@" |
      sed 's/InterruptedError/"INTERRUPTED"/' | grep -oE '"[A-Z_]+"' | tr -d '"' |
      grep -vE '^(RAMVOL|ALLOCATOR|LISTEN|NOTIFY|ERRNO|XDG)_'
  } | sort -u
)
# The first columns of the tables.
listed=$(sed -n 's/^| \([^|]*\) |.*/\1/p' "$page" |
  grep -oE '\[?[A-Z]+(_[A-Z]+)*(, [A-Z]+(_[A-Z]+)*)*' |
  tr -d '[' | tr ',' '\n' | grep -oE '[A-Z]+(_[A-Z]+)+|USAGE|INTERRUPTED' | sort -u)
[[ $(wc -l <<<"$named") -gt 20 ]] || fail "found no more reasons than: $named"
for reason in $named; do
  grep -qx "$reason" <<<"$listed" || fail "$page does not list $reason"
done
for reason in $listed; do
  [[ $reason == RESOURCE_EXHAUSTED ]] && continue  # Where there is no reason.
  grep -qx "$reason" <<<"$named" || fail "$page lists $reason, which no error has"
done
((failures == 0)) && echo "all passed"
exit $((failures > 0))
