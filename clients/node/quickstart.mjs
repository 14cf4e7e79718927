import { Kvasir } from 'kvasir-client';

const client = new Kvasir(process.env.KVASIR_MODEL_ADDRESS, { tokenizer: process.env.KVASIR_TOKENIZER_ADDRESS });
const chat = client.chat();
for await (const piece of chat.send('My name is Ada.')) process.stdout.write(piece);
client.close();
