# SPDX-License-Identifier: GPL-2.0
"""Traffic whose content is checked: ICMP echo, TCP both ways, UDP datagrams."""

import hashlib
import os
import random
import socket
import struct
import threading
import time

from .ktap import Failure
from .pace import scaled
from .proc import wait_until

ECHO = {4: (8, 0), 6: (128, 129)}  # request and reply types
TCP_TIMEOUT = scaled(30)
UNDER_WAY, STEP = 2.0, 0.05
SEND_SECONDS = 10


def family_of(address):
    """4 or 6."""
    return 6 if ":" in address else 4


def _socket(ns, family, kind, proto=0):
    with ns:
        return socket.socket(socket.AF_INET6 if family == 6 else socket.AF_INET, kind, proto)


def checksum(data):
    """The checksum of the Internet (RFC 1071), complemented."""
    data += b"\0" * (len(data) % 2)
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


class Pinger:
    """ICMP echo from one namespace; one socket for many requests."""

    def __init__(self, ns, src, dst):
        self._family, self._dst = family_of(dst), dst
        proto = socket.IPPROTO_ICMPV6 if self._family == 6 else socket.IPPROTO_ICMP
        self._socket = _socket(ns, self._family, socket.SOCK_RAW, proto)
        self._socket.bind((src, 0))
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
        self._id, self._seq = random.getrandbits(16), 0

    def close(self):
        """Close the socket."""
        self._socket.close()

    def send(self, data):
        """Send one request; returns its sequence number."""
        self._seq = (self._seq + 1) & 0xFFFF
        kind = ECHO[self._family][0]
        header = struct.pack("!BBHHH", kind, 0, 0, self._id, self._seq)
        if self._family == 4:
            header = struct.pack("!BBHHH", kind, 0, checksum(header + data), self._id, self._seq)
        self._socket.sendto(header + data, (self._dst, 0))
        return self._seq

    def receive(self, timeout):
        """(sequence number, data) of the next reply to us, or None after timeout seconds."""
        deadline = time.monotonic() + scaled(timeout)
        while True:
            left = deadline - time.monotonic()
            if left <= 0:
                return None
            self._socket.settimeout(left)
            try:
                packet = self._socket.recv(65536)
            except TimeoutError:
                return None
            if self._family == 4:
                packet = packet[(packet[0] & 15) * 4:]
            kind, _, _, ident, seq = struct.unpack_from("!BBHHH", packet)
            if kind == ECHO[self._family][1] and ident == self._id:
                return seq, packet[8:]

    def exchange(self, data, timeout=5.0):
        """One request; True if the reply came and carried the same data."""
        seq = self.send(data)
        while (reply := self.receive(timeout)) is not None:
            if reply == (seq, data):
                return True
        return False


def ping(ns, src, dst, sizes=(56,), timeout=5.0):
    """Echo requests with random payloads of these sizes; each must come back unchanged."""
    pinger = Pinger(ns, src, dst)
    try:
        for size in sizes:
            if not pinger.exchange(os.urandom(size), timeout):
                raise Failure(f"{ns.label}: no reply to a ping of {size} bytes "
                              f"from {src} to {dst} within {scaled(timeout):g} s")
    finally:
        pinger.close()
    return len(sizes)


def reachable(ns, src, dst, data=b"espnic probe", timeout=1.0):
    """True if one ping is answered in time."""
    pinger = Pinger(ns, src, dst)
    try:
        return pinger.exchange(data, timeout)
    except OSError:
        return False
    finally:
        pinger.close()


def _send_and_hash(sock, size, text):
    """Send size bytes: text once, random bytes behind it; returns their SHA-256."""
    data = (text + os.urandom(size))[:size]
    sock.sendall(data)
    return hashlib.sha256(data).hexdigest()


def _receive_and_hash(sock, size):
    digest, left = hashlib.sha256(), size
    while left:
        data = sock.recv(min(left, 65536))
        if not data:
            raise Failure(f"TCP connection ended with {left} of {size} bytes missing")
        digest.update(data)
        left -= len(data)
    return digest.hexdigest()


def _serve(listener, size, text, result):
    try:
        listener.settimeout(TCP_TIMEOUT)
        sock, _ = listener.accept()
        with sock:
            sock.settimeout(TCP_TIMEOUT)
            result["got"] = _receive_and_hash(sock, size)
            result["sent"] = _send_and_hash(sock, size, text)
            sock.shutdown(socket.SHUT_WR)
            sock.recv(1)
    except (OSError, Failure) as error:
        result["error"] = f"TCP server: {error}"


def tcp(client_ns, client, server_ns, server, size=65536, text=b""):
    """One connection, size bytes each way; both contents are compared by hash."""
    family, result = family_of(server), {}
    with _socket(server_ns, family, socket.SOCK_STREAM) as listener, \
            _socket(client_ns, family, socket.SOCK_STREAM) as sock:
        listener.bind((server, 0))
        listener.listen(1)
        thread = threading.Thread(target=_serve, args=(listener, size, text, result), daemon=True)
        thread.start()
        try:
            sock.bind((client, 0))
            sock.settimeout(TCP_TIMEOUT)
            sock.connect((server, listener.getsockname()[1]))
            sent = _send_and_hash(sock, size, text)
            got = _receive_and_hash(sock, size)
            sock.shutdown(socket.SHUT_WR)
        except (OSError, Failure) as error:
            raise Failure(f"TCP from {client} to {server}: {error}; "
                          f"{result.get('error', 'the server waits')}") from error
        thread.join(TCP_TIMEOUT)
    if result.get("error") or thread.is_alive():
        raise Failure(result.get("error", "the TCP server did not end"))
    if (result["got"], result["sent"]) != (sent, got):
        raise Failure(f"TCP from {client} to {server}: the content changed on the way")


class Datagrams:
    """UDP from one namespace to another, for packets of known content and number."""

    def __init__(self, ns_from, src, ns_to, dst):
        family = family_of(dst)
        self._out = _socket(ns_from, family, socket.SOCK_DGRAM)
        self._in = _socket(ns_to, family, socket.SOCK_DGRAM)
        self._in.bind((dst, 0))
        self._in.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
        # While a NIC sends nothing, who fills its queue would wait for ever.
        patience = struct.pack("@ll", int(scaled(SEND_SECONDS)), 0)
        self._out.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, patience)
        self._out.bind((src, 0))
        self.port = self._in.getsockname()[1]
        self._target = (dst, self.port)

    def send(self, data):
        """Send one datagram; an error of the network stack is not an error here."""
        try:
            self._out.sendto(data, self._target)
            return True
        except OSError:
            return False

    def error(self, data):
        """The number of the error that the network stack has for this datagram, or 0."""
        try:
            self._out.sendto(data, self._target)
        except OSError as error:
            return error.errno
        return 0

    def send_now(self, data):
        """As send(), but a datagram that would have to wait for memory is lost."""
        try:
            self._out.sendto(data, socket.MSG_DONTWAIT, self._target)
            return True
        except OSError:
            return False

    def redirect(self, dst):
        """Send to another address from now on."""
        self._target = (dst, self.port)

    def option(self, level, name, value):
        """Set an option of the sending socket."""
        self._out.setsockopt(level, name, value)

    def receive(self, timeout=2.0):
        """The next datagram, or None after timeout seconds."""
        self._in.settimeout(scaled(timeout))
        try:
            return self._in.recv(65536)
        except TimeoutError:
            return None

    def ask(self, level, name):
        """Have the receiving socket tell more of each datagram, see receive_all()."""
        self._in.setsockopt(level, name, 1)

    def receive_all(self, timeout=2.0):
        """The next datagram and its ancillary data."""
        self._in.settimeout(scaled(timeout))
        data, ancillary, _, _ = self._in.recvmsg(65536, 1024)
        return data, ancillary

    def drain(self):
        """Take away what waits to be received; returns the number of datagrams."""
        self._in.setblocking(False)
        count = 0
        try:
            while True:
                self._in.recv(65536)
                count += 1
        except BlockingIOError:
            return count

    def close(self):
        """Close both ends."""
        self._out.close()
        self._in.close()


class Stream:
    """Datagrams from one end to the other, a few hundred per second, from start() to close().

    In a `with` statement both come by themselves.
    """

    def __init__(self, ns_from, src, ns_to, dst, data=b"espnic stream" * 20):
        self._link, self._data = Datagrams(ns_from, src, ns_to, dst), data
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._send, daemon=True)
        self.tried = self.sent = 0  # sent: without an error of the network stack
        self.arrived = 0

    def _send(self):
        while not self._stop.is_set():
            self.sent += self._link.send(self._data)
            self.tried += 1
            self._stop.wait(0.003)

    def start(self):
        """Begin to send."""
        self._thread.start()
        return self

    def stop(self):
        """Send no more; what has arrived can still be counted."""
        self._stop.set()
        self._thread.join()

    def close(self):
        """The end."""
        self.stop()
        self._link.close()

    def __enter__(self):
        return self.start()

    def __exit__(self, *_exc):
        self.close()

    def go_on(self, count):
        """Let this many more datagrams be sent, whether or not they can arrive."""
        goal = self.tried + count
        wait_until(lambda: self.tried >= goal, "background traffic", step=0.01)

    def advance(self, count):
        """Wait until this many more datagrams have arrived."""
        self.received()
        goal, deadline = self.arrived + count, time.monotonic() + scaled(10)
        while self.arrived < goal:
            if time.monotonic() > deadline:
                missing = goal - self.arrived
                raise Failure(f"only {count - missing} of {count} datagrams arrived in time")
            self.arrived += self._link.receive(0.5) is not None

    def received(self):
        """Number of datagrams that wait to be received; they are taken away."""
        count = self._link.drain()
        self.arrived += count
        return count

    def lost(self, excused=lambda: 0):
        """How many datagrams have been sent in vain, after stop(). The last ones may still be on
        their way on a busy machine, unless as many are missing as are excused."""
        deadline = time.monotonic() + scaled(UNDER_WAY)
        while True:
            self.received()
            missing = self.sent - self.arrived
            if missing == excused() or time.monotonic() > deadline:
                return missing
            time.sleep(STEP)


class Pour:
    """A TCP connection that carries bytes one way as fast as it goes until it is closed, and may
    break before that. In a `with` statement both come by themselves."""

    def __init__(self, ns_from, src, ns_to, dst):
        family = family_of(dst)
        self._listener = _socket(ns_to, family, socket.SOCK_STREAM)
        self._sender = _socket(ns_from, family, socket.SOCK_STREAM)
        self._listener.bind((dst, 0))
        self._listener.listen(1)
        self._sender.bind((src, 0))
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=run, daemon=True)
                         for run in (self._send, self._receive)]

    @staticmethod
    def _end_at_once(sock):
        """When it is closed, the stack repeats nothing, which a later case would count."""
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

    def _send(self):
        data = os.urandom(1 << 16)
        with self._sender as sock:
            self._end_at_once(sock)
            sock.settimeout(scaled(0.2))
            while not self._stop.is_set():
                try:
                    sock.send(data)
                except TimeoutError:
                    continue
                except OSError:
                    return

    def _receive(self):
        with self._listener as listener:
            listener.settimeout(TCP_TIMEOUT)
            sock, _ = listener.accept()
        with sock:
            self._end_at_once(sock)
            sock.settimeout(scaled(0.2))
            while not self._stop.is_set():
                try:
                    sock.recv(1 << 20)
                except TimeoutError:
                    continue
                except OSError:
                    return

    def __enter__(self):
        self._sender.settimeout(TCP_TIMEOUT)
        self._threads[1].start()
        self._sender.connect(self._listener.getsockname())
        self._threads[0].start()
        return self

    def __exit__(self, *_exc):
        self._stop.set()
        for thread in self._threads:
            thread.join()
