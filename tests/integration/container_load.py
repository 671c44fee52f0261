"""Many clients with the largest messages at once: unary writes and reads of 16
MiB and Io streams of writes of 16 MiB. Arguments: the folder of the generated
modules, the server, a volume that holds data, one to write to, seconds. Prints
how often each outcome came; fails on outcomes that no full server may give.
"""

import collections
import os
import sys
import threading
import time

sys.path.insert(0, sys.argv[1])
import grpc
from ramvol.v1 import block_service_pb2 as block

SERVER, FULL, TARGET, SECONDS = sys.argv[2:6]
DATA = os.urandom(16 << 20)
CLIENTS = 12  # Of each kind.
END = time.time() + float(SECONDS)
# What a server may say to more than fits.
EXPECTED = {"OK", "RESOURCE_EXHAUSTED"}

outcomes = collections.Counter()
lock = threading.Lock()


def count(kind, outcome):
    with lock:
        outcomes[kind, outcome] += 1


def method(path, response, channel, streaming=False):
    make = channel.stream_stream if streaming else channel.unary_unary
    return make(
        "/ramvol.v1.BlockService/" + path,
        request_serializer=lambda message: message.SerializeToString(),
        response_deserializer=response.FromString,
    )


def new_channel():
    return grpc.insecure_channel(
        SERVER,
        options=[
            ("grpc.max_receive_message_length", -1),
            ("grpc.use_local_subchannel_pool", 1),
        ],
    )


def repeat(kind, call):
    while time.time() < END:
        try:
            call()
            count(kind, "OK")
        except grpc.RpcError as error:
            count(kind, error.code().name)


def write(number):
    call = method("Write", block.WriteResponse, new_channel())
    request = block.WriteRequest(volume=TARGET, offset=number * len(DATA), data=DATA)
    repeat("write", lambda: call(request, timeout=600))


def read(_):
    call = method("Read", block.ReadResponse, new_channel())
    request = block.ReadRequest(volume=FULL, length=len(DATA))
    repeat("read", lambda: call(request, timeout=600))


def stream(number):
    call = method("Io", block.IoResponse, new_channel(), streaming=True)

    def run():
        answered = threading.Semaphore(1)

        def requests():
            yield block.IoRequest(volume=TARGET)
            for identifier in range(1, 1000000):
                answered.acquire(timeout=30)
                if time.time() > END:
                    return
                request = block.IoRequest()
                operation = request.operations.add(id=identifier)
                operation.write.offset = (100 + number) * len(DATA)
                operation.write.data = DATA
                yield request

        for response in call(requests(), timeout=600):
            for result in response.results:
                answered.release()
                code = result.error.code
                count("io", {0: "OK", 8: "RESOURCE_EXHAUSTED"}.get(code, code))

    repeat("stream", run)


threads = [
    threading.Thread(target=kind, args=(number,))
    for kind in (write, read, stream)
    for number in range(CLIENTS)
]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
print(dict(outcomes))
unexpected = {key for key in outcomes if key[1] not in EXPECTED}
sys.exit(f"unexpected: {unexpected}" if unexpected else 0)
