#!/bin/sh
# Writes C++ that holds the given files of the page, for page_files.h.
set -eu
echo '#include "server/status/page_files.h"'
echo 'namespace ramvol::status {'
echo 'extern const std::array<PageFile, '$#'> kPageFiles = {{'
for file; do
  name=${file##*/} path=/page/$name
  case $name in
    *.html) type='text/html; charset=utf-8' path=/ ;;
    *.css) type='text/css; charset=utf-8' ;;
    *.js) type='text/javascript; charset=utf-8' ;;
    *.svg) type='image/svg+xml' ;;
  esac
  printf '{"%s", "%s", R"_file_(' "$path" "$type"
  cat "$file"
  printf ')_file_"},\n'
done
echo '}};'
echo '}  // namespace ramvol::status'
