"""A proxy from TCP to a Unix socket that breaks when it is told to."""

import contextlib
import socket
import threading
import time

# How much of what is on its way a freeze waits for, and how long at most: it may
# be that all was over.
HELD_BYTES = 1 << 16
HELD_SECONDS = 0.5
# A server that has done with a connection need not read from it.
THAW_SECONDS = 10


def end(wire):
    """Ends both directions, and calls that wait in other threads."""
    with contextlib.suppress(OSError):
        wire.shutdown(socket.SHUT_RDWR)


class _Connection:
    """A client's connection and one of its own to the server."""

    def __init__(self, client, target):
        self._client = client
        self._server = socket.socket(socket.AF_UNIX)
        self._server.connect(target)
        self._lock = threading.Lock()
        self._frozen = False  # Guarded by the lock, as is what is held.
        self._held = bytearray()
        self._threads = [
            threading.Thread(target=self._forward_requests, daemon=True),
            threading.Thread(target=self._forward_replies, daemon=True),
        ]
        for thread in self._threads:
            thread.start()

    def held(self):
        with self._lock:
            return len(self._held)

    def freeze(self):
        with self._lock:
            self._frozen = True

    def cut_client(self):
        end(self._client)

    def thaw(self):
        """Sends what was held; the number of its bytes."""
        self._server.settimeout(THAW_SECONDS)
        with contextlib.suppress(OSError):
            self._server.sendall(self._held)
        return len(self._held)

    def close(self):
        for wire in self._client, self._server:
            end(wire)
        for thread in self._threads:
            thread.join()
        for wire in self._client, self._server:
            wire.close()

    def _forward_requests(self):
        with contextlib.suppress(OSError):
            while data := self._client.recv(1 << 16):
                with self._lock:
                    if self._frozen:
                        self._held += data
                    else:
                        self._server.sendall(data)
        with self._lock:
            if not self._frozen:
                end(self._server)

    def _forward_replies(self):
        with contextlib.suppress(OSError):
            while data := self._server.recv(1 << 16):
                with self._lock:
                    if self._frozen:
                        return
                self._client.sendall(data)
        end(self._client)


class BreakableProxy:
    """Listens on `port` of the loopback while it is up. For one thread."""

    def __init__(self, target):
        self._target = target
        self._connections = []
        self._frozen = []
        self._listener = None
        # Bound all the time, so that nobody else gets the port.
        self._reserved = socket.socket()
        self._reserved.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._reserved.bind(("127.0.0.1", 0))
        self.port = self._reserved.getsockname()[1]

    def up(self):
        self._listener = socket.create_server(("127.0.0.1", self.port))
        self._acceptor = threading.Thread(target=self._accept, daemon=True)
        self._acceptor.start()

    def down(self):
        """Breaks all connections; what was on its way is lost."""
        self._stop_listening()
        for connection in self._connections + self._frozen:
            connection.close()
        self._connections, self._frozen = [], []

    def freeze(self):
        """Goes down for its clients. The server sees open connections, and what is
        on its way to it stays there."""
        self._stop_listening()
        for connection in self._connections:
            connection.freeze()
        deadline = time.monotonic() + HELD_SECONDS
        while time.monotonic() < deadline:
            if sum(connection.held() for connection in self._connections) >= HELD_BYTES:
                break
            time.sleep(0.01)
        for connection in self._connections:
            connection.cut_client()
        self._frozen += self._connections
        self._connections = []

    def thaw(self):
        """Lets the server have what stayed on its way; the number of bytes."""
        return sum(connection.thaw() for connection in self._frozen)

    def _stop_listening(self):
        if self._listener:
            end(self._listener)
            self._acceptor.join()
            self._listener.close()
            self._listener = None

    def _accept(self):
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            try:
                self._connections.append(_Connection(client, self._target))
            except OSError:  # There is no server.
                client.close()
