#!/bin/sh
# Prometheus's own tool reads its configuration and the rules, and fires each alert.
# Argument: the folder deploy/prometheus.
set -eu
cd "$1"

fail() {
  echo "FAILED: $*" >&2
  exit 1
}

promtool check config --lint-fatal prometheus.yml
promtool check rules --lint-fatal ramvol.rules.yml
promtool test rules ramvol.rules.test.yml

# Each alert has a test in which it fires.
sed -n 's|^ *- alert: ||p' ramvol.rules.yml | while read -r alert; do
  grep -A 2 "alertname: $alert\$" ramvol.rules.test.yml | grep -q exp_labels ||
    fail "no test makes $alert fire"
done
