import os

import grpc
from kvasir.v1 import model_pb2, model_pb2_grpc, tokenizer_pb2, tokenizer_pb2_grpc

tokenizer_address = os.environ.get("KVASIR_TOKENIZER_ADDRESS", "127.0.0.1:50051")
model_address = os.environ.get("KVASIR_MODEL_ADDRESS", "127.0.0.1:50052")
tokenizer = tokenizer_pb2_grpc.TokenizerServiceStub(grpc.insecure_channel(tokenizer_address))
model = model_pb2_grpc.ModelServiceStub(grpc.insecure_channel(model_address))

prompt = tokenizer.Encode(tokenizer_pb2.EncodeRequest(text="Once upon a time")).ids
events = model.Generate(model_pb2.GenerateRequest(input_ids=prompt, max_new_tokens=60))
ids = (tokenizer_pb2.DecodeStreamRequest(ids=event.chunk.ids) for event in events)
for piece in tokenizer.DecodeStream(ids):
    print(piece.text, end="", flush=True)
