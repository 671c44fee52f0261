#!/bin/sh
# Prometheus's own tool reads its configuration and the rules, and fires each alert.
# Arguments: the folder deploy/prometheus and docs/alerts.md.
set -eu
docs=$(realpath "$2")
cd "$1"

fail() {
  echo "FAILED: $*" >&2
  exit 1
}

promtool check config --lint-fatal prometheus.yml
promtool check rules --lint-fatal ramvol.rules.yml
promtool test rules ramvol.rules.test.yml

# Each alert has a test in which it fires, and a section where its runbook says.
sed -n 's|^ *- alert: ||p' ramvol.rules.yml | while read -r alert; do
  grep -A 2 "alertname: $alert\$" ramvol.rules.test.yml | grep exp_labels >/dev/null ||
    fail "no test makes $alert fire"
  grep -qx "## $alert" "$docs" || fail "docs/alerts.md has no $alert"
  anchor=$(echo "$alert" | tr '[:upper:]' '[:lower:]')
  grep -qx " *runbook: docs/alerts.md#$anchor" ramvol.rules.yml ||
    fail "$alert has no runbook"
done
