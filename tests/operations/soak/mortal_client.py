"""A client that is there to be killed: it makes the Generate call that stdin holds, and says what it
gets: a line for each message, with its ids.

  mortal_client.py ADDRESS < request      with the key in KVASIR_API_KEY
"""

import os
import sys

import grpc
from kvasir.v1 import model_pb2, model_pb2_grpc


def main() -> None:
    request = model_pb2.GenerateRequest.FromString(sys.stdin.buffer.read())
    metadata = [
        ("authorization", f"Bearer {os.environ['KVASIR_API_KEY']}"),
        ("kvasir-session", request.session_id),
    ]
    stub = model_pb2_grpc.ModelServiceStub(grpc.insecure_channel(sys.argv[1]))
    for event in stub.Generate(request, metadata=metadata):
        print(*event.chunk.ids, flush=True)


if __name__ == "__main__":
    main()
