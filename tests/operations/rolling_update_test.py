"""An update of three replicas of the chart, one after the other, while clients talk in their sessions: no
turn fails, no token is lost or comes twice.
"""

import threading
import time
import unittest

import grpc

from cluster import ClusterTest
from services import PATIENCE, free_port, model_pb2, model_pb2_grpc, wait_for

REPLICAS = 3
CLIENTS = 6
NEW_TOKENS = 80


class Client:
    """Takes turns in one session, and repeats those that were refused with UNAVAILABLE, as clients may."""

    def __init__(self, name: str, model: model_pb2_grpc.ModelServiceStub) -> None:
        self.name, self.model = name, model
        self.ids: list[int] = []  # what the session must hold
        self.turns = self.refusals = 0
        self.failure: str | None = None

    def talk(self, stop: threading.Event) -> None:
        while self.failure is None and not stop.wait(0.1):  # thinks
            self.take_turn()

    def take_turn(self) -> None:
        sent = [1 + self.turns % 50, 2, 3]
        give_up = time.monotonic() + PATIENCE
        received: list[int] = []
        while True:
            request = model_pb2.GenerateRequest(
                session_id=self.name,
                input_ids=sent,
                max_new_tokens=NEW_TOKENS,
                ignore_eos=True,
                create_if_missing=not self.ids,
                expected_length=len(self.ids),
            )
            call = self.model.Generate(request, metadata=[("kvasir-session", self.name)])
            try:
                for event in call:
                    received.extend(event.chunk.ids)
                break
            except grpc.RpcError as error:
                # A turn that has begun is brought to its end.
                again = error.code() == grpc.StatusCode.UNAVAILABLE and not received
                if not again or time.monotonic() > give_up:
                    self.failure = f"{self.name}, turn {self.turns}: {error}"
                    return
                self.refusals += 1
                time.sleep(0.1)
        self.ids += sent + received
        self.turns += 1


class RollingUpdateTest(ClusterTest):
    def test_no_turn_fails(self) -> None:
        redis = free_port()
        self.start_redis(self.folder(), redis)
        self.start_cluster(*[f"redis://127.0.0.1:{redis}/0"] * REPLICAS)
        model = model_pb2_grpc.ModelServiceStub(self.channel())
        clients = [Client(f"session-{number}", model) for number in range(CLIENTS)]
        stop = threading.Event()
        threads = [threading.Thread(target=each.talk, args=[stop]) for each in clients]
        for thread in threads:
            thread.start()
        try:
            for ordinal in range(REPLICAS):
                self.await_turns(clients)
                self.leave_dns(ordinal)
                self.assertEqual(self.replicas[ordinal].stop(), 0)
                self.replicas[ordinal] = self.start_replica(ordinal)
                self.await_status(f"replica{ordinal}", "UP")
            self.await_turns(clients)
        finally:
            stop.set()
            for thread in threads:
                thread.join()
        self.assertEqual([each.failure for each in clients if each.failure], [])
        for each in clients:
            self.assertEqual(len(each.ids), each.turns * (3 + NEW_TOKENS))
            request = model_pb2.ReadSessionRequest(session_id=each.name)
            metadata = [("kvasir-session", each.name)]
            held = [
                id_ for part in model.ReadSession(request, metadata=metadata) for id_ in part.ids
            ]
            self.assertEqual(held, each.ids, each.name)
        moves = sum(each.metric("kvasir_session_moves_total") for each in self.replicas)
        print(
            f"{sum(each.turns for each in clients)} turns of {CLIENTS} clients, "
            f"{sum(each.refusals for each in clients)} refused and repeated; {moves:.0f} moves"
        )

    def await_turns(self, clients: list[Client]) -> None:
        """One of each client, or a failure."""
        before = [each.turns for each in clients]

        def taken() -> bool:
            pairs = zip(clients, before, strict=True)
            return all(each.turns > turns or each.failure for each, turns in pairs)

        wait_for(taken, "a turn of each client")


if __name__ == "__main__":
    unittest.main()
