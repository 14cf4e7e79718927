import os

from kvasir import Kvasir

address = os.environ.get("KVASIR_MODEL_ADDRESS", "127.0.0.1:50052")
tokenizer = os.environ.get("KVASIR_TOKENIZER_ADDRESS", "127.0.0.1:50051")

with Kvasir(address, tokenizer=tokenizer) as client, client.chat() as chat:
    for question in ("My name is Mara.", "What is my name?"):
        for piece in chat.send(question):
            print(piece, end="", flush=True)
        print(f" ({chat.last.usage.input_tokens} tokens sent)")
