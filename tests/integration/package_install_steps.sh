#!/bin/bash
# Inside of package_install_test.sh's container: /packages has the packages,
# /packages/previous those to upgrade from.
set -euo pipefail
export DEBIAN_FRONTEND=noninteractive LC_ALL=C.UTF-8
export RAMVOL_SERVER=unix:/run/ramvol/grpc.sock
readonly unit=/usr/lib/systemd/system/ramvold.service
readonly flags='RAMVOLD_FLAGS="--listen=unix:/run/ramvol/grpc.sock --memory_limit=64M
  --metrics_listen=127.0.0.1:0 --state_dir=/dev/shm/ramvol"'

fail() {
  echo "FAILED: $*" >&2
  exit 1
}

version() { dpkg-query -W -f '${Version}' "$1"; }

# Installs packages out of the folder $1, with what they need from the network.
install() {
  local folder=$1 names=()
  shift
  for package; do names+=("$(echo "$folder/$package"_[0-9]*_amd64.deb)"); done
  apt-get install -q -y --no-install-recommends "${names[@]}" >/tmp/apt.log 2>&1 ||
    { cat /tmp/apt.log && fail "apt-get install ${names[*]}"; }
}

# In the place of systemd: notes what the packages' scripts ask it for.
pretend_systemd() {
  local program
  mkdir -p /run/systemd/system
  echo "DPkg::Path \"/usr/local/sbin:$PATH\";" >/etc/apt/apt.conf.d/path
  for program in systemctl deb-systemd-invoke; do
    printf '#!/bin/sh\necho "%s $*" >>/tmp/asked\n' $program >/usr/local/sbin/$program
    chmod 755 /usr/local/sbin/$program
  done
}

# The server as the unit starts it: its command, flags, user and umask.
start_server() {
  local command ready
  command=$(sed -n 's/^ExecStart=//p' $unit)
  set -a
  # shellcheck source=/dev/null
  . "$(sed -n 's/^EnvironmentFile=-//p' $unit)"
  set +a
  umask "$(sed -n 's/^UMask=//p' $unit)"
  exec 3< <(exec setpriv --reuid="$(sed -n 's/^User=//p' $unit)" \
    --regid="$(sed -n 's/^Group=//p' $unit)" --clear-groups --inh-caps=-all \
    --no-new-privs bash -c "exec $command")
  server=$!
  umask 022
  read -r ready <&3 || fail "the server did not start"
  echo "$ready"
}

still_serves() {
  kill -0 "$server" || fail "$1: the server has ended"
  [ "$(ramvol read first 4096 10)" = "hello, RAM" ] || fail "$1: the data is gone"
}

# Nothing has been asked of systemd that ends a server.
stopped_nothing() {
  ! grep -E ' (stop|restart|try-restart|kill)' /tmp/asked || fail "$1 stops a server"
  grep -q 'start ramvold.socket' /tmp/asked || fail "$1 asked systemd for nothing"
  : >/tmp/asked
}

echo "== install the previous version"
# Debian's images throw away what apt has fetched.
rm -f /etc/apt/apt.conf.d/docker-clean
apt-get update -q >/dev/null
install /packages/previous ramvol-server ramvol
previous=$(version ramvol-server)
[[ $previous = 0.0.1* ]] || fail "version $previous"
getent passwd ramvol >/dev/null || fail "no user ramvol"
[ "$(stat -c %U:%G:%a /run/ramvol)" = ramvol:ramvol:750 ] || fail "/run/ramvol"
for socket in ramvold ramvold-nbd; do
  [ -L /etc/systemd/system/sockets.target.wants/$socket.socket ] ||
    fail "$socket.socket is not enabled"
done
bash -n /usr/share/bash-completion/completions/ramvol
for page in man1/ramvol.1 man8/ramvold.8 man8/ramvol-nbd.8; do
  [ -s /usr/share/man/$page.gz ] || fail "no $page"
done
systemd-analyze verify --man=no $unit /usr/lib/systemd/system/ramvold{,-nbd}.socket

echo "== the first volume"
echo "$flags" >/etc/default/ramvold
echo RAMVOL_SERVER=east.example:7420 >/etc/ramvol/nbd/east
start_server
ramvol create first 1T >/dev/null
echo -n "hello, RAM" | ramvol write first 4096 >/dev/null
still_serves created

echo "== upgrade"
pretend_systemd
install /packages ramvol-server ramvol
current=$(version ramvol-server)
dpkg --compare-versions "$current" gt "$previous" || fail "version $current"
[[ $(ramvol --version) = "ramvol ${current%%[~+]*}" ]] || fail "$(ramvol --version)"
[ "$(cat /etc/default/ramvold)" = "$flags" ] || fail "/etc/default/ramvold changed"
still_serves upgraded
stopped_nothing "the upgrade"

echo "== the same again"
apt-get install -q -y --reinstall /packages/ramvol{-server,}_[0-9]*_amd64.deb >/dev/null
still_serves reinstalled
stopped_nothing "installing again"

echo "== the driver for pods, with what it runs"
install /packages ramvol-csi
for program in btrfs e2fsck fstrim losetup mkfs.{btrfs,ext4,xfs} mount \
  resize2fs setpriv setsid umount xfs_growfs; do
  command -v "$program" >/dev/null || fail "ramvol-csi without $program"
done
[ -s /usr/share/man/man8/ramvol-csi.8.gz ] || fail "no ramvol-csi.8"
ramvol-csi --endpoint=unix:/tmp/csi.sock --node_id=a --state_dir=/tmp/csi \
  >/tmp/csi.log 2>&1 &
driver=$!
for ((i = 0; i < 600; i++)); do
  ! grep -q '^ramvol-csi ready' /tmp/csi.log || break
  sleep 0.1
done
kill -TERM "$driver"
wait "$driver" || fail "ramvol-csi: $(cat /tmp/csi.log)"
grep '^ramvol-csi ready: csi unix:/tmp/csi.sock; server unix:/run/ramvol/grpc.sock' \
  /tmp/csi.log || fail "ramvol-csi: $(cat /tmp/csi.log)"

echo "== a program against the SDK"
install /packages ramvol-sdk
apt-get install -q -y --no-install-recommends cmake g++ make pkg-config >/dev/null
mkdir /tmp/ten
cat >/tmp/ten/ten.cc <<'TEXT'
#include <iostream>

#include "client/client.h"

int main() {
  const ramvol::Client client({.server = "unix:/run/ramvol/grpc.sock"});
  auto volume = client.Open("first");
  if (!volume.ok()) return 1;
  std::cout << volume->Read(4096, 10).value_or("?") << "\n";
}
TEXT
# shellcheck disable=SC2046
g++ -std=c++20 -Wall -Werror /tmp/ten/ten.cc $(pkg-config --cflags --libs ramvol) \
  -o /tmp/ten/ten
[ "$(/tmp/ten/ten)" = "hello, RAM" ] || fail "the program says: $(/tmp/ten/ten)"

echo "== the same by CMake"
cat >/tmp/ten/CMakeLists.txt <<TEXT
cmake_minimum_required(VERSION 3.16)
project(ten CXX)
find_package(ramvol ${current%%[~+]*} EXACT CONFIG REQUIRED)
add_executable(ten ten.cc)
target_link_libraries(ten PRIVATE ramvol::client)
TEXT
{ cmake -S /tmp/ten -B /tmp/ten/build && cmake --build /tmp/ten/build; } \
  >/tmp/cmake.log 2>&1 || { cat /tmp/cmake.log; fail "CMake builds no program"; }
[ "$(/tmp/ten/build/ten)" = "hello, RAM" ] || fail "it says: $(/tmp/ten/build/ten)"

echo "== remove"
apt-get remove -q -y ramvol ramvol-csi ramvol-sdk ramvol-server >/dev/null
for unit_name in ramvold.socket ramvold.service; do
  grep -E " stop .*$unit_name" /tmp/asked >/dev/null || fail "$unit_name is not stopped"
done
[ "$(cat /etc/default/ramvold)" = "$flags" ] || fail "removed: /etc/default/ramvold"
[ -e /etc/ramvol/nbd/east ] || fail "removed: /etc/ramvol/nbd/east"
kill -TERM "$server"
wait "$server" || fail "the server ended with $?"

echo "== purge"
dpkg --purge ramvol ramvol-sdk ramvol-server >/dev/null 2>&1
! dpkg-query -W -f '${Package} ${Status}\n' 'ramvol*' 2>/dev/null | grep -v 'not-installed' ||
  fail "dpkg still knows packages"
! getent passwd ramvol || fail "the user is left"
! getent group ramvol || fail "the group is left"
left=$(find / -xdev -name '*ramvol*' -not -path '/proc/*' -not -path '/test/*' \
  -not -path '/packages/*')
[ -z "$left" ] || fail "left: $left"
# Not what apt and dpkg log, nor the last but one versions of files.
! grep -rl ramvol /etc /run /var/lib --exclude-dir=apt --exclude='*-' \
  --exclude='*-old' 2>/dev/null || fail "left"
