import { Kvasir } from 'kvasir-client';

const { KVASIR_MODEL_ADDRESS: model, KVASIR_TOKENIZER_ADDRESS: tokenizer } = process.env;
const client = new Kvasir(model, { tokenizer });
const chat = client.chat();
for (const question of ['My name is Mara.', 'What is my name?']) {
  for await (const piece of chat.send(question)) process.stdout.write(piece);
  console.log(` (${chat.last.usage.inputTokens} tokens sent)`);
}
client.close();
