"""The chart's HAProxy: TLS, a session's calls to one replica, and pods that leave DNS and come back."""

import socket
import ssl
import subprocess
import unittest
from collections.abc import Iterator

import grpc

from chart import SETS
from cluster import HAPROXY, Certificates, ClusterTest
from services import PATIENCE, model_pb2, model_pb2_grpc, tokenizer_pb2, tokenizer_pb2_grpc


class ProxyTest(ClusterTest):
    def test_haproxy_has_no_complaint(self) -> None:
        certificates = Certificates(self.folder())
        for name, values in SETS.items():
            path = self.write_config(values, certificates.folder)
            result = subprocess.run(
                [HAPROXY, "-c", "-f", path], capture_output=True, text=True, check=False
            )
            self.assertEqual(result.returncode, 0, f"{name}: {result.stderr}")
            self.assertNotIn("WARNING", result.stderr, name)

    def call_as_a_stranger(self) -> None:
        """As a client without a certificate."""
        context = ssl.create_default_context(cafile=str(self.certificates.folder / "ca.crt"))
        context.set_alpn_protocols(["h2"])
        with (
            socket.create_connection(("localhost", self.proxy_port), PATIENCE) as connection,
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
        # In memory alone: a call to the wrong replica would begin another session.
        self.start_cluster("memory", "memory")
        channel = self.channel()
        self.model = model_pb2_grpc.ModelServiceStub(channel)
        tokenizer = tokenizer_pb2_grpc.TokenizerServiceStub(channel)
        self.assertTrue(tokenizer.Encode(tokenizer_pb2.EncodeRequest(text="Once upon")).ids)

        with self.assertRaisesRegex(ssl.SSLError, "certificate required"):
            self.call_as_a_stranger()

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
        self.leave_dns(1)
        list(self.turn("new"))
        list(self.turn(moving))
        self.assertEqual(self.lengths("new"), [6, 0])
        self.assertEqual(self.lengths(moving)[0], 6)
        tokens += sum(len(event.chunk.ids) for event in running)
        self.assertEqual(tokens, 1500)
        self.assertEqual(self.replicas[1].stop(), 0)

        # Its successor has another address, and the same sessions.
        self.replicas[1] = self.start_replica(1)
        self.await_status("replica1", "UP")
        list(self.turn(moving))
        self.assertEqual(self.lengths(moving), [6, 6])


if __name__ == "__main__":
    unittest.main()
