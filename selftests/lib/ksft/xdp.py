# SPDX-License-Identifier: GPL-2.0
"""Programs for received frames (XDP), assembled here, and attached to an interface by rtnetlink.

Instructions: Documentation/bpf/standardization/instruction-set.rst; numbers: bpf.h, if_link.h and
netlink.h in include/uapi/linux, which do not change.
"""

import ctypes
import os
import platform
import socket
import struct

from .ktap import Failure, Skip, defer

NUMBERS = {"x86_64": 321, "aarch64": 280}
PROG_LOAD, TYPE_XDP, HAS_FRAGS = 5, 6, 1 << 5
ABORTED, DROP, PASS, TX, REDIRECT = range(5)
# helper functions
HELPER_REDIRECT, ADJUST_HEAD, ADJUST_META, ADJUST_TAIL = 23, 44, 54, 65
# registers: the result and first scratch, arguments of helpers, and what helpers leave alone
R0, R1, R2, R3, R4, R5, R6 = range(7)
# struct xdp_md
DATA, DATA_END, RX_QUEUE = 0, 4, 16
BYTE, HALF, WORD, DOUBLE = 0x10, 0x08, 0x00, 0x18
RTM_SETLINK, NLM_F_REQUEST, NLM_F_ACK, NLMSG_ERROR = 19, 1, 4, 2
NLM_F_CAPPED, NLM_F_ACK_TLVS, ACK_MESSAGE = 0x100, 0x200, 1
SOL_NETLINK, NETLINK_CAP_ACK, NETLINK_EXT_ACK = 270, 10, 11
IFLA_XDP, XDP_FD, XDP_FLAGS, NESTED = 43, 1, 3, 0x8000
NATIVE = 1 << 2
HEADER = struct.Struct("=IHHII")
_libc = ctypes.CDLL(None, use_errno=True)


def _instruction(code, target=0, source=0, offset=0, value=0):
    return struct.pack("<BBhi", code, target | source << 4, offset, value)


class Assembler:
    """A program, instruction by instruction. R6 is the context from the start."""

    def __init__(self):
        self._code = [_instruction(0xBF, R6, R1)]
        self._jumps = []
        self.flags = 0

    def in_pieces(self):
        """It takes frames in several pieces."""
        self.flags |= HAS_FRAGS
        return self

    def _add(self, *args):
        self._code.append(_instruction(*args))
        return self

    def move(self, target, value):
        """A number into a register."""
        return self._add(0xB7, target, 0, 0, value)

    def load_map(self, target, fd):
        """A map, by its file descriptor."""
        return self._add(0x18, target, 1, 0, fd)._add(0, 0, 0, 0, 0)

    def copy(self, target, source):
        """A register into another one."""
        return self._add(0xBF, target, source)

    def plus(self, target, value):
        """Add a number."""
        return self._add(0x07, target, 0, 0, value)

    def load(self, size, target, source, offset):
        """From memory."""
        return self._add(0x61 | size, target, source, offset)

    def store(self, size, target, offset, source):
        """To memory."""
        return self._add(0x63 | size, target, source, offset)

    def call(self, helper):
        """A helper function."""
        return self._add(0x85, 0, 0, 0, helper)

    def frame(self, size, otherwise=PASS):
        """R2 is the frame; one of fewer bytes gets this verdict. Destroys R3 and R4."""
        self.load(WORD, R2, R6, DATA).load(WORD, R3, R6, DATA_END).copy(R4, R2).plus(R4, size)
        self._add(0xBD, R4, R3, 2)  # R4 <= R3: go on
        return self.end(otherwise)

    def unless_half(self, offset, wanted, otherwise=PASS):
        """Another verdict, unless two bytes of the frame in R2 are this number."""
        self.load(HALF, R5, R2, offset)
        self._add(0x15, R5, 0, 2, socket.htons(wanted))  # R5 == wanted: go on
        return self.end(otherwise)

    def unless_done(self, otherwise=ABORTED):
        """Another verdict, if the helper has failed."""
        self._add(0x15, R0, 0, 2, 0)
        return self.end(otherwise)

    def swap_macs(self):
        """Exchange the addresses of the frame in R2. Destroys R3 to R5 and R0."""
        for size, at in ((WORD, 0), (HALF, 4)):
            self.load(size, R3, R2, at).load(size, R4, R2, at + 6)
            self.store(size, R2, at, R4).store(size, R2, at + 6, R3)
        return self

    def end(self, verdict):
        """The program says this."""
        return self.move(R0, verdict).leave()

    def leave(self):
        """The verdict is in R0."""
        return self._add(0x95)

    def assembled(self):
        """The bytes."""
        return b"".join(self._code)


def only(verdict):
    """A program that says this of every frame."""
    return Assembler().end(verdict)


def load(program):
    """Load a program into the kernel for the rest of the case; returns its file descriptor."""
    code = program.assembled()
    room, text = ctypes.create_string_buffer(code), ctypes.create_string_buffer(b"GPL")
    log = ctypes.create_string_buffer(1 << 16)
    attributes = struct.pack("=IIQQIIQII", TYPE_XDP, len(code) // 8, ctypes.addressof(room),
                             ctypes.addressof(text), 1, len(log), ctypes.addressof(log), 0,
                             program.flags)
    number = NUMBERS.get(platform.machine(), -1)
    fd = _libc.syscall(number, PROG_LOAD, ctypes.c_char_p(attributes), len(attributes))
    if fd < 0:
        error = os.strerror(ctypes.get_errno())
        if log.value:
            raise Failure(f"the verifier refuses the program ({error}): {log.value.decode()}")
        raise Skip(f"needs BPF programs: {error}")
    defer(os.close, fd)
    return fd


def _attribute(kind, data):
    return struct.pack("=HH", 4 + len(data), kind) + data + b"\0" * (-len(data) % 4)


def _message(answer):
    """What the kernel says of an error, beside its number."""
    length, _, flags, _, _ = HEADER.unpack_from(answer)
    if not flags & NLM_F_ACK_TLVS:
        return ""
    at = HEADER.size + 4 + HEADER.size
    if not flags & NLM_F_CAPPED:
        at = HEADER.size + 4 + HEADER.unpack_from(answer, HEADER.size + 4)[0]
    while at + 4 <= length:
        size, kind = struct.unpack_from("=HH", answer, at)
        if kind == ACK_MESSAGE:
            return answer[at + 4:at + size].rstrip(b"\0").decode()
        at += max(size + 3 & ~3, 4)
    return ""


def set_program(ns, name, fd, flags=NATIVE):
    """Give an interface a program, or none (-1). Returns the number of the error, or 0, and the
    kernel's message."""
    with ns, socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE) as asking:
        index = socket.if_nametoindex(name)
        asking.setsockopt(SOL_NETLINK, NETLINK_CAP_ACK, 1)
        asking.setsockopt(SOL_NETLINK, NETLINK_EXT_ACK, 1)
        asking.bind((0, 0))
        xdp = _attribute(XDP_FD, struct.pack("=i", fd)) + _attribute(XDP_FLAGS,
                                                                     struct.pack("=I", flags))
        body = struct.pack("=BxHiII", socket.AF_UNSPEC, 0, index, 0, 0) + \
            _attribute(IFLA_XDP | NESTED, xdp)
        asking.send(HEADER.pack(HEADER.size + len(body), RTM_SETLINK, NLM_F_REQUEST | NLM_F_ACK,
                                1, 0) + body)
        answer = asking.recv(1 << 16)
    kind = HEADER.unpack_from(answer)[1]
    if kind != NLMSG_ERROR:
        raise Failure(f"netlink: answer of type {kind}")
    return -struct.unpack_from("=i", answer, HEADER.size)[0], _message(answer)


def attach(cfg, program):
    """NETIF runs the program for the rest of the case, or until another one follows."""
    error, message = set_program(cfg.dut, cfg.netif, load(program))
    if error:
        raise Failure(f"the program was refused: {os.strerror(error)}: {message}")
    defer(detach, cfg)


def detach(cfg):
    """NETIF runs no program."""
    error, message = set_program(cfg.dut, cfg.netif, -1)
    if error:
        raise Failure(f"the program could not be removed: {os.strerror(error)}: {message}")


def refused(cfg, program):
    """The kernel's message and the number of the error of a program that NETIF does not take."""
    error, message = set_program(cfg.dut, cfg.netif, load(program))
    if not error:
        detach(cfg)
        raise Failure("the program was taken")
    return error, message
