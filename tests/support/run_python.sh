#!/bin/sh
# Debian's Python, whatever python3 is first on the PATH: it has the modules.
exec /usr/bin/python3 -B "$@"
