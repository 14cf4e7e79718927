"""A tour of kvasir-client. Cells begin with `# %%`: an editor that knows notebooks runs them one by one."""

# %% The services are where scripts/with_services.sh, or the environment, says
import asyncio
import os

from kvasir import AsyncKvasir, Kvasir, SamplingParameters, SessionNotFoundError

model = os.environ.get("KVASIR_MODEL_ADDRESS", "127.0.0.1:50052")
tokenizer = os.environ.get("KVASIR_TOKENIZER_ADDRESS", "127.0.0.1:50051")
client = Kvasir(model, tokenizer=tokenizer)
greedy = SamplingParameters(temperature=0)

# %% A chat: pieces of the answer come as the model makes them
chat = client.chat(system="Be brief.", sampling=greedy)
for question in ("My name is Ada.", "I live in Rome.", "What is my name?"):
    print(">", question)
    for piece in chat.send(question):
        print(piece, end="", flush=True)
    usage = chat.last.usage
    print(f"\n  [{usage.input_tokens} tokens sent, {usage.cached_tokens} known already]")

# %% Two ways on from the same past; the second computes nothing of it again
fork = chat.fork()
print("chat:", "".join(chat.send("I have three cats.")))
print("fork:", "".join(fork.send("I have a dog.")))

# %% What was said can be taken back
chat.rewind(turns=1)
print("instead:", "".join(chat.send("Where do I live?")))

# %% Anybody who knows the id goes on with the session, from another machine or after a restart
again = client.resume(chat.session_id, sampling=greedy)
print("resumed:", "".join(again.send("What is my name?")))


# %% The same with asyncio: here two chats at once (in a notebook, await it)
async def ask(question: str) -> str:
    async with AsyncKvasir(model, tokenizer=tokenizer) as client, client.chat() as chat:
        answer = "".join([piece async for piece in chat.send(question)])
        await chat.delete()
        return answer


async def both() -> None:
    print(*await asyncio.gather(ask("Hello!"), ask("My name is Tom.")), sep="\n")


asyncio.run(both())

# %% Sessions are kept until they are deleted, or expire
for finished in (fork, again):
    finished.delete()
try:
    "".join(chat.send("Are you there?"))
except SessionNotFoundError as error:
    print(error)
