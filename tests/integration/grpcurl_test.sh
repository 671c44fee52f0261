#!/bin/bash
# The server as grpcurl sees it: services, calls and errors, compared with what is
# expected word for word. Argument: the path of ramvold.
set -u

ramvold=$(realpath "$1")
work=$(mktemp -d "${TEST_TMPDIR:-/tmp}/grpcurl.XXXXXX")
server_pid=
failures=0

# shellcheck disable=SC2317  # The trap calls it.
finish() {
  [[ -n $server_pid ]] && kill "$server_pid" 2>/dev/null && wait "$server_pid"
  rm -rf "$work"
}
trap finish EXIT

fail() {
  echo "FAILED: $*" >&2
  failures=$((failures + 1))
}

command -v grpcurl >/dev/null || {
  echo "grpcurl is missing; ./dev deps installs it" >&2
  exit 1
}

cat >"$work/volumes" <<'TEXT'
volumes {
  name: "of-the-file"
  size_bytes: 4097
  labels { key: "team" value: "build" }
}
TEXT
"$ramvold" --listen=127.0.0.1:0 --metrics_listen= --memory_limit=64M \
  --volumes_file="$work/volumes" \
  >"$work/ready" 2>"$work/log" &
server_pid=$!
for ((i = 0; i < 600; i++)); do
  [[ -s $work/ready ]] && break
  sleep 0.1
done
address=$(sed -n 's/.*grpc \([0-9.:]*\).*/\1/p' "$work/ready")
[[ -n $address ]] || { cat "$work/log"; fail "no ready line"; exit 1; }

# Versions of grpcurl differ in white space and in size_bytes or sizeBytes.
normal() {
  tr -d ' \t\n' | sed -E 's/_([a-z])/\U\1/g'
}

# call METHOD JSON: the answer, normalised, in $answer.
call() {
  answer=$(grpcurl -plaintext -d "$2" "$address" "ramvol.v1.$1" 2>&1)
  code=$?
  answer=$(normal <<<"$answer")
}

# answers METHOD JSON EXPECTED: succeeds, and the answer is EXPECTED (a pattern of
# bash's, without white space).
answers() {
  call "$1" "$2"
  # shellcheck disable=SC2053  # It is a pattern.
  [[ $code == 0 && $answer == $3 ]] ||
    fail "$1 $2 answered ($code): $answer; wanted: $3"
}

# refuses METHOD JSON CODE REASON WORDS: fails with the code, the reason in
# ErrorInfo, and all of WORDS in the output.
refuses() {
  local method=$1 request=$2 grpc_code=$3 reason=$4 word
  shift 4
  call "$method" "$request"
  [[ $code != 0 && $answer == *"Code:$grpc_code"* ]] ||
    fail "$method $request did not fail with $grpc_code: $answer"
  for word in "\"reason\":\"$reason\"" '"domain":"ramvol"' \
    google.rpc.ErrorInfo "$@"; do
    word=$(normal <<<"$word")
    [[ $answer == *"$word"* ]] ||
      fail "$method $request: no $word in: $answer"
  done
}

# What there is.
listed=$(grpcurl -plaintext "$address" list | sort | tr '\n' ' ')
for service in grpc.channelz.v1.Channelz grpc.health.v1.Health \
  grpc.reflection.v1alpha.ServerReflection ramvol.v1.BlockService \
  ramvol.v1.VolumeService; do
  [[ $listed == *"$service "* ]] || fail "$service is not in: $listed"
done
grpcurl -plaintext "$address" describe ramvol.v1.VolumeService.CreateVolume |
  grep -q 'ramvol.v1.CreateVolumeResponse' || fail "describe is incomplete"
health=$(grpcurl -plaintext "$address" grpc.health.v1.Health/Check)
[[ $health == *SERVING* ]] || fail "not SERVING: $health"

# What --volumes_file said is there.
answers VolumeService/ListVolumes '{}' \
  '{"volumes":\[{"name":"of-the-file","sizeBytes":"4097",*"labels":{"team":"build"},*}]}'
answers VolumeService/DeleteVolume '{"name":"of-the-file"}' '{}'

# A volume's life.
answers VolumeService/CreateVolume '{"name":"scratch","size_bytes":1073741824}' \
  '{"volume":{"name":"scratch","sizeBytes":"1073741824","allocator":"ALLOCATOR_ZSTD","minFrameBytes":4096,"maxFrameBytes":65536,"zstdLevel":1,"mergeZstdLevel":8,*}}'
data=$(printf 'hello, RAM' | base64)
answers BlockService/Write \
  "{\"volume\":\"scratch\",\"offset\":4090,\"data\":\"$data\"}" '{}'
answers BlockService/Read '{"volume":"scratch","offset":4090,"length":10}' \
  "{\"data\":\"$data\"}"
answers BlockService/GetExtents '{"volume":"scratch"}' \
  '{"extents":\[{"length":"8192"},{"offset":"8192","length":"1073733632","hole":true}],"nextOffset":"1073741824"}'
answers VolumeService/StatVolume '{"name":"scratch"}' \
  '{"stats":{"sizeBytes":"1073741824","logicalBytes":"8192",*"writeOperations":"1",*}}'
answers BlockService/WriteZeroes \
  '{"volume":"scratch","length":4096,"no_hole":true}' '{}'
answers BlockService/Trim '{"volume":"scratch","length":1073741824}' '{}'
answers BlockService/Read '{"volume":"scratch","offset":4090,"length":3}' \
  '{"data":"AAAA"}'
answers BlockService/Flush '{"volume":"scratch"}' '{}'
answers VolumeService/GetVolume '{"name":"scratch"}' '{"volume":{"name":"scratch",*}}'
answers VolumeService/UpdateVolume \
  '{"name":"scratch","volume":{"size_bytes":2147483648},"update_mask":{"paths":["size_bytes"]}}' \
  '{"volume":{"name":"scratch","sizeBytes":"2147483648",*}}'
answers VolumeService/ListVolumes '{}' '{"volumes":\[{"name":"scratch",*}]}'
answers VolumeService/GetServerInfo '{}' '*"memoryLimitBytes":"67108864"*'
answers VolumeService/CreateVolume \
  '{"name":"huge","size_bytes":9223372036854775807}' '*9223372036854775807*'
answers BlockService/Write \
  "{\"volume\":\"huge\",\"offset\":9223372036854775797,\"data\":\"$data\"}" '{}'
answers BlockService/Trim \
  '{"volume":"huge","length":9223372036854775807}' '{}'
operations='{"volume":"scratch","operations":[{"id":7,"write":{"offset":1,"data":"YWJj"}}]}
{"operations":[{"id":8,"get_extents":{"length":4096}}]}'
answers BlockService/Io "$operations" \
  '{"opened":{"sizeBytes":"2147483648",*}*"id":"'[78]'"*"id":"'[78]'"*'

# Each error.
refuses VolumeService/CreateVolume '{"name":"Bad Name","size_bytes":1}' \
  InvalidArgument INVALID_NAME google.rpc.BadRequest '"field":"name"'
refuses VolumeService/CreateVolume '{"name":"a","size_bytes":-1}' \
  InvalidArgument INVALID_FIELD '"field":"size_bytes"' -1
refuses VolumeService/CreateVolume '{"name":"scratch","size_bytes":1}' \
  AlreadyExists VOLUME_EXISTS scratch
refuses VolumeService/GetVolume '{"name":"none"}' NotFound VOLUME_NOT_FOUND none
refuses BlockService/Read '{"volume":"scratch","offset":2147483647,"length":2}' \
  OutOfRange PAST_END 2147483647 2147483648
refuses BlockService/Read '{"volume":"scratch","length":16777217}' \
  InvalidArgument TOO_MUCH_DATA 16777216
refuses VolumeService/UpdateVolume \
  '{"name":"scratch","volume":{"name":"x"},"update_mask":{"paths":["name"]}}' \
  InvalidArgument INVALID_FIELD google.rpc.BadRequest update_mask
refuses VolumeService/DeleteVolume '{"name":"scratch","etag":"no"}' \
  Aborted ETAG_MISMATCH
refuses VolumeService/CreateVolume \
  '{"name":"m","size_bytes":1073741824,"allocator":"ALLOCATOR_MALLOC"}' \
  ResourceExhausted SERVER_MEMORY_LIMIT
answers VolumeService/UpdateVolume \
  '{"name":"scratch","volume":{"read_only":true},"update_mask":{"paths":["read_only"]}}' '*'
refuses BlockService/Trim '{"volume":"scratch","length":1}' \
  FailedPrecondition VOLUME_READ_ONLY
answers VolumeService/DeleteVolume '{"name":"scratch"}' '{}'
refuses BlockService/Read '{"volume":"scratch","length":1}' \
  NotFound VOLUME_NOT_FOUND

kill -TERM "$server_pid"
wait "$server_pid" || fail "SIGTERM ended ramvold with $?"
server_pid=
((failures == 0)) && echo "grpcurl: all as expected"
exit $((failures != 0))
