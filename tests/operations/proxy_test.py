"""The chart's HAProxy, run with what helm renders: TLS, a session's calls to one replica, and pods that
leave DNS and come back.
"""

import re
import shutil
import socket
import ssl
import subprocess
import unittest
from collections.abc import Iterator
from pathlib import Path

import grpc

from chart import REDIS, SETS, TLS, Values, find, render
from name_server import NameServer
from services import (
    PATIENCE,
    Program,
    ServiceTest,
    free_port,
    model_pb2,
    model_pb2_grpc,
    tokenizer_pb2,
    tokenizer_pb2_grpc,
    wait_for,
)

HAPROXY = shutil.which("haproxy", path="/usr/sbin:/usr/bin") or "haproxy"
DOMAIN = "chat.svc.cluster.local"


class Certificates:
    """A certificate authority, and a server's and a client's certificate of it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.openssl(
            "req", "-x509", "-subj", "/CN=authority", "-keyout", "ca.key", "-out", "ca.crt"
        )
        for name in ("server.pem", "client"):
            subject = ["-subj", f"/CN={name}", "-addext", "subjectAltName=DNS:localhost"]
            by = ["-CA", "ca.crt", "-CAkey", "ca.key", "-keyout", f"{name}.key", "-out", name]
            self.openssl("req", "-x509", *subject, *by)

    def openssl(self, *arguments: str) -> None:
        key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]
        subprocess.run(
            ["openssl", *arguments, *key], cwd=self.folder, capture_output=True, check=True
        )

    def credentials(self) -> grpc.ChannelCredentials:
        """A client's."""
        names = ("ca.crt", "client.key", "client")
        return grpc.ssl_channel_credentials(*((self.folder / name).read_bytes() for name in names))


class ProxyTest(ServiceTest):
    def write_config(self, values: Values, certificates: Path, *changes: tuple[str, str]) -> Path:
        """haproxy.cfg as the proxy's pod reads it, with its files in `certificates`."""
        config = find(render(values), "ConfigMap", "kvasir-proxy")["data"]["haproxy.cfg"]
        config = re.sub(r"/(etc/haproxy/tls|etc/haproxy/clients|tmp)/", f"{certificates}/", config)
        for old, new in changes:
            config, count = re.subn(old, new, config)
            self.assertGreater(count, 0, old)
        path = certificates / "haproxy.cfg"
        path.write_text(config)
        return path

    def test_haproxy_has_no_complaint(self) -> None:
        certificates = Certificates(self.folder())
        for name, values in SETS.items():
            path = self.write_config(values, certificates.folder)
            result = subprocess.run(
                [HAPROXY, "-c", "-f", path], capture_output=True, text=True, check=False
            )
            self.assertEqual(result.returncode, 0, f"{name}: {result.stderr}")
            self.assertNotIn("WARNING", result.stderr, name)

    def start_proxy(self) -> None:
        """Two replicas and a tokenizer behind the proxy, under one port of several addresses."""
        self.certificates = Certificates(self.folder())
        self.port, self.grpc_port = free_port(), free_port()
        self.tokenizer = self.start("kvasir-tokenizer").serve()
        self.replicas = [self.start_replica("127.0.0.2"), self.start_replica("127.0.0.3")]
        self.dns = NameServer(
            {f"kvasir-tokenizer.{DOMAIN}": "127.0.0.1"}
            | {self.name_of(0): "127.0.0.2", self.name_of(1): "127.0.0.3"}
        )
        self.config = self.write_config(
            {"sessions": REDIS, "model": {"replicas": 2}, "proxy": {"tls": TLS}},
            self.certificates.folder,
            ("parse-resolv-conf", f"nameserver cluster {self.dns.address}"),
            (":50051", ":" + self.tokenizer.address.split(":")[1]),
            (":50052", f":{self.port}"),
            ("bind :50050", f"bind 127.0.0.1:{self.grpc_port}"),
            ("bind :8404", f"bind 127.0.0.1:{free_port()}"),
        )
        process = subprocess.Popen(
            [HAPROXY, "-f", self.config], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        self.addCleanup(process.wait)
        self.addCleanup(process.kill)
        for server in ("replica0", "replica1", "tokenizer1"):
            self.await_status(server, "UP")

    def start_replica(self, address: str) -> Program:
        return self.start("kvasir-model", listen=f"{address}:{self.port}").serve()

    @staticmethod
    def name_of(ordinal: int) -> str:
        return f"kvasir-model-{ordinal}.kvasir-model.{DOMAIN}"

    def status_of(self, server: str) -> str:
        path = self.certificates.folder / "haproxy.sock"
        if not path.exists():
            return ""
        with socket.socket(socket.AF_UNIX) as admin:
            admin.connect(str(path))
            admin.sendall(b"show stat\n")
            rows = (line.split(",") for line in admin.makefile())
            return next(row[17] for row in rows if len(row) > 17 and row[1] == server)

    def await_status(self, server: str, status: str) -> None:
        wait_for(lambda: self.status_of(server).startswith(status), f"{server} {status}")

    def call_as_a_stranger(self) -> None:
        """As a client without a certificate."""
        context = ssl.create_default_context(cafile=str(self.certificates.folder / "ca.crt"))
        context.set_alpn_protocols(["h2"])
        with (
            socket.create_connection(("localhost", self.grpc_port), PATIENCE) as connection,
            context.wrap_socket(connection, server_hostname="localhost") as tls,
        ):
            tls.recv(1)

    def turn(self, session: str, **fields: int) -> Iterator[model_pb2.GenerateResponse]:
        request = model_pb2.GenerateRequest(
            session_id=session,
            input_ids=[1, 2, 3],
            create_if_missing=True,
            ignore_eos=True,
            **{"max_new_tokens": 3} | fields,
        )
        return self.model.Generate(request, metadata=[("kvasir-session", session)])

    def lengths(self, session: str) -> list[int]:
        """Of a session at each replica; 0: there is none."""
        found = []
        for replica in self.replicas:
            try:
                request = model_pb2.GetSessionRequest(session_id=session)
                found.append(replica.model.GetSession(request).session.length)
            except grpc.RpcError as error:
                self.assertEqual(error.code(), grpc.StatusCode.NOT_FOUND)
                found.append(0)
        return found

    def test_leads_calls_to_their_replicas(self) -> None:
        self.start_proxy()
        credentials = self.certificates.credentials()
        channel = grpc.secure_channel(f"localhost:{self.grpc_port}", credentials)
        self.addCleanup(channel.close)
        self.model = model_pb2_grpc.ModelServiceStub(channel)
        tokenizer = tokenizer_pb2_grpc.TokenizerServiceStub(channel)
        self.assertTrue(tokenizer.Encode(tokenizer_pb2.EncodeRequest(text="Once upon")).ids)

        with self.assertRaisesRegex(ssl.SSLError, "certificate required"):
            self.call_as_a_stranger()

        # Sessions in memory alone: a call to the wrong replica would begin another one.
        sessions = [f"session-{number}" for number in range(13)]  # odd: rotation is found out
        for _ in range(3):
            for session in sessions:
                self.assertEqual(sum(len(event.chunk.ids) for event in self.turn(session)), 3)
        lengths = {session: self.lengths(session) for session in sessions}
        self.assertEqual({tuple(sorted(each)) for each in lengths.values()}, {(0, 18)})
        self.assertEqual(len({each.index(0) for each in lengths.values()}), 2, "both have some")

        # A pod that is to stop leaves DNS. What runs on it goes on, what is new goes elsewhere.
        moving = next(session for session in sessions if lengths[session][1])
        running = self.turn(moving, max_new_tokens=1500, top_logprobs=20)
        tokens = len(next(running).chunk.ids)
        del self.dns.addresses[self.name_of(1)]
        self.await_status("replica1", "MAINT")
        list(self.turn("new"))
        list(self.turn(moving))
        self.assertEqual(self.lengths("new"), [6, 0])
        self.assertEqual(self.lengths(moving)[0], 6)
        tokens += sum(len(event.chunk.ids) for event in running)
        self.assertEqual(tokens, 1500)
        self.assertEqual(self.replicas[1].stop(), 0)

        # Its successor has another address, and the same sessions.
        self.replicas[1] = self.start_replica("127.0.0.4")
        self.dns.addresses[self.name_of(1)] = "127.0.0.4"
        self.await_status("replica1", "UP")
        list(self.turn(moving))
        self.assertEqual(self.lengths(moving), [6, 6])


if __name__ == "__main__":
    unittest.main()
