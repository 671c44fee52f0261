#!/bin/sh
# /usr/bin/ramvol-image of the driver's image: sees to it that this node's ramvold, of
# RAMVOL_SERVER, has the volume NAME, made of FILE, or of what URL leads to, whose SHA-256
# is SHA256 if that is given. FORMAT is that of `ramvol restore`. Inline volumes may clone
# it. Runs until it is stopped, because a node may lose its volumes.
set -eu

# Fails, and says why, or leaves the file's path in FILE.
fetch() {
  FILE=/image/download
  curl --fail --silent --show-error --location --retry 3 --output "$FILE" "$URL" || return
  [ -z "${SHA256:-}" ] || echo "$SHA256  $FILE" | sha256sum --check --quiet
}

# The volume appears when all of it is there.
make() {
  [ -z "${URL:-}" ] || fetch || return
  ramvol restore --format="$FORMAT" "$FILE" "$NAME" || return
  [ -z "${URL:-}" ] || rm -f "$FILE"
  echo "volume $NAME is there"
}

# ramvol-csi clones nothing for an inline volume that has not its name as this label.
is_offered() {
  case $(ramvol show "$NAME" --output=json) in
  *'"csi-image"'*) ;;
  *) return 1 ;;
  esac
}
offer() { is_offered || ramvol set "$NAME" --label="csi-image=$NAME" >/dev/null; }

trap 'exit 0' TERM INT
while :; do
  pause=60
  # Without a server, there is nothing to be done yet.
  if ! ramvol health >/dev/null 2>&1; then
    pause=2
  elif ! ramvol show "$NAME" >/dev/null 2>&1; then
    { make && offer; } ||
      echo "volume $NAME could not be made; trying again in $pause s" >&2
  else
    offer || echo "volume $NAME could not be labelled; trying again in $pause s" >&2
  fi
  sleep "$pause" &
  wait $!
done
