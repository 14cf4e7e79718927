"""A name server (RFC 1035) as a cluster's: names have addresses while their pods are ready."""

import socket
import struct
import threading

A, IN = 1, 1
ANSWER, NO_SUCH_NAME = 0x8580, 0x8583  # flags


class NameServer:
    """Answers with what `addresses` says at that moment."""

    def __init__(self, addresses: dict[str, str]) -> None:
        self.addresses = addresses
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.bind(("127.0.0.1", 0))
        self.address = f"127.0.0.1:{self.socket.getsockname()[1]}"
        threading.Thread(target=self.serve, daemon=True).start()

    def serve(self) -> None:
        while True:
            query, client = self.socket.recvfrom(4096)
            self.socket.sendto(self.answer(query), client)

    def answer(self, query: bytes) -> bytes:
        labels, at = [], 12
        while query[at]:
            labels.append(query[at + 1 : at + 1 + query[at]].decode())
            at += 1 + query[at]
        question = query[12 : at + 5]
        (kind,) = struct.unpack_from(">H", query, at + 1)
        address = self.addresses.get(".".join(labels))
        records = []
        if address is not None and kind == A:  # IPv6 addresses there are none
            name = b"\xc0\x0c"  # the question's
            records.append(name + struct.pack(">HHIH", A, IN, 1, 4) + socket.inet_aton(address))
        flags = NO_SUCH_NAME if address is None else ANSWER
        header = query[:2] + struct.pack(">HHHHH", flags, 1, len(records), 0, 0)
        return header + question + b"".join(records)
