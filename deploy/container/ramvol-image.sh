#!/bin/sh
# /usr/bin/ramvol-image of the driver's image: sees to it that this node's ramvold, of
# RAMVOL_SERVER, has the volume NAME, made of FILE, or of what URL leads to, whose SHA-256
# is SHA256 if that is given. FORMAT is that of `ramvol restore`. Inline volumes may clone
# it. Runs until it is stopped, because a node may lose its volumes. With the argument
# "check", succeeds if the volume is there.
set -eu

least=${PAUSE:-60} most=600

is_there() { ramvol show "$NAME" >/dev/null 2>&1; }

# It has the label without which ramvol-csi clones nothing for an inline volume, or an
# administrator has withdrawn that. What else has the name is somebody's volume.
is_image() {
  case $(ramvol show "$NAME" --output=json 2>/dev/null) in
  *"\"csi-image\": \"$NAME\""* | *'"csi-image": "false"'*) ;;
  *) return 1 ;;
  esac
}

# Leaves in FILE what URL leads to. What was fetched before, and no volume could be made of,
# is fetched again only once it has changed.
fetch() {
  FILE=${FILE:-/image/download}
  rm -f "$FILE.new"
  set --
  [ ! -e "$FILE" ] || set -- --time-cond "$FILE"
  curl --fail --silent --show-error --location --retry 3 --remote-time "$@" \
    --output "$FILE.new" "$URL" || return
  [ ! -e "$FILE.new" ] || mv "$FILE.new" "$FILE"
  [ -z "${SHA256:-}" ] || echo "$SHA256  $FILE" | sha256sum --check --quiet ||
    { rm -f "$FILE" && return 1; }  # It may have been damaged on its way.
}

# The volume appears when all of it is there, with its label.
make() {
  [ -z "${URL:-}" ] || fetch || return
  ramvol restore --format="$FORMAT" --label=csi-image="$NAME" "$FILE" "$NAME" || return
  [ -z "${URL:-}" ] || rm -f "$FILE"
  echo "volume $NAME is there"
}

if [ "${1:-}" = check ]; then
  is_image
  exit
fi

trap 'exit 0' TERM INT
pause=$least
while :; do
  rest=$least
  # Without a server, there is nothing to be done yet.
  if ! ramvol health >/dev/null 2>&1; then
    rest=2
  elif is_image || { ! is_there && make; }; then
    pause=$least
  else
    rest=$pause
    pause=$((pause * 2 < most ? pause * 2 : most))
    why="could not be made"
    ! is_there || why="is there, but is no image: remove it, name the image otherwise, \
or say that it is one: ramvol set $NAME --label=csi-image=$NAME (csi-image=false: no image for inline volumes)"
    echo "volume $NAME $why; trying again in $rest s" >&2
  fi
  sleep "$rest" &
  wait $!
done
