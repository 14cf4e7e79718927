// The OpenAI client library for Node against the gateway whose address is given: prints what came.
import { createRequire } from "node:module";

// From where the setup puts it, or where NODE_PATH says.
const OpenAI = createRequire(import.meta.url)("openai");

const client = new OpenAI({ baseURL: process.argv[2], apiKey: "unused", maxRetries: 0 });
const greeting = { role: "user", content: "My name is Mara." };
const options = { model: "tiny", temperature: 0, messages: [greeting] };

const whole = (await client.chat.completions.create(options)).choices[0].message;
let streamed = "";
for await (const chunk of await client.chat.completions.create({ ...options, stream: true })) {
  streamed += chunk.choices[0]?.delta?.content ?? "";
}
const second = await client.chat.completions.create({
  ...options,
  messages: [greeting, whole, { role: "user", content: "What is my name?" }],
});
let refused;
try {
  await client.chat.completions.create({ ...options, temperature: 3 });
} catch (error) {
  refused = { status: error.status, param: error.param };
}
console.log(
  JSON.stringify({
    whole: whole.content,
    streamed,
    second: second.choices[0].message.content,
    cached: second.usage.prompt_tokens_details.cached_tokens,
    refused,
  }),
);
