#!/bin/bash
# The manual pages are what --help says, and mandoc finds no error in them.
# Arguments: make.py, ramvold, ramvol, ramvol-nbd, ramvol-csi, then the pages.
set -euo pipefail
make=$1
programs=("${@:2:4}")
shift 5
/usr/bin/python3 -B "$make" --check "${programs[@]}"
for page; do
  mandoc -Tlint -W error "$page"
  # Each has what a reader looks for first.
  text=$(mandoc -Tutf8 "$page" | col -b)
  for section in NAME SYNOPSIS OPTIONS EXAMPLES 'SEE ALSO'; do
    grep -q "^$section$" <<<"$text" ||
      { echo "FAILED: $page has no section $section" && exit 1; }
  done
done
# What --help explains in sentences is there too.
page=$(mandoc -Tutf8 "$(dirname "$make")/ramvol.1" | col -b | tr -s ' \n' ' ')
for words in 'what lies past the file' 'Prints the device' 'Flags may be spelled'; do
  grep -q "$words" <<<"$page" ||
    { echo "FAILED: ramvol.1 lacks \"$words\"" && exit 1; }
done
# A page that --help does not bear out is found.
copy=$(mktemp -d)
cp "$(dirname "$make")"/* "$copy"
sed -i 's/memory_limit/memory_limits/' "$copy/ramvold.8"
if /usr/bin/python3 -B "$copy/make.py" --check "${programs[@]}"; then
  echo "FAILED: a wrong page is not found" && exit 1
fi
echo "man_test: passed"
