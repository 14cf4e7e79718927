import os

from openai import OpenAI

address = os.environ.get("KVASIR_GATEWAY_ADDRESS", "127.0.0.1:8080")
client = OpenAI(base_url=f"http://{address}/v1", api_key="unused")
model = client.models.list().data[0].id

messages = []
for question in ("My name is Mara.", "What is my name?"):
    messages.append({"role": "user", "content": question})
    answer = client.chat.completions.create(model=model, messages=messages, temperature=0)
    messages.append(answer.choices[0].message)
    usage = answer.usage
    reused = usage.prompt_tokens_details.cached_tokens
    print(answer.choices[0].message.content, f"({reused} of {usage.prompt_tokens} tokens reused)")
