#!/bin/bash
# Runs one of the Python tests against an NBD bridge. Arguments: see nbd_common.sh;
# then the path of the test. The test finds what it needs in the environment:
# NBD_SOCKET, NBD_HOST, NBD_PORT, NBD_PID (the process that serves), NBD_WAY and
# RAMVOL (the command line). The empty export name means the volume "default",
# which is not there at first.
script=$(realpath "$5")
# shellcheck source=tests/integration/nbd_common.sh
source "$(dirname "$0")/nbd_common.sh" "$@"

start_nbd --default_export=default
export NBD_SOCKET=$nbd_socket NBD_HOST=${nbd_host_port%:*} \
  NBD_PORT=${nbd_host_port#*:} NBD_PID=$nbd_pid NBD_WAY=$way RAMVOL=$cli
# Debian's Python, whatever python3 is first on the PATH: libnbd is a package.
# It leaves no files beside the sources.
PYTHONDONTWRITEBYTECODE=1 /usr/bin/python3 "$script" -v ||
  fail "$(basename "$script") failed"
finish_test
