#!/bin/bash
# Sourced by the scripts that fill images: what programs load, and whose it is.

# The loader and libraries of the programs, as ldd finds them.
libraries() {
  ldd "$@" | sed -nE 's|^[^/]*(/[^ ]+) \(0x.*|\1|p' | sort -u
}

# The Debian package that owns the file $1. Packages may know it by the path
# from before /lib became a link to /usr/lib.
package_of() {
  local real
  real=$(realpath "$1")
  { dpkg -S "$real" || dpkg -S "${real#/usr}"; } 2>/dev/null |
    sed -n '1s/:.*//p'
}
