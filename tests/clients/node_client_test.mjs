// clients/node against live services: run by scripts/with_services.sh, where node finds kvasir-client.
import assert from 'node:assert/strict';
import { execFileSync, spawn } from 'node:child_process';
import fs from 'node:fs';
import { createRequire } from 'node:module';
import os from 'node:os';
import path from 'node:path';
import readline from 'node:readline';
import { after, test } from 'node:test';

import {
  InvalidRequestError, Kvasir, KvasirError, SessionConflictError, SessionNotFoundError,
  UnauthenticatedError, UnavailableError,
} from 'kvasir-client';

const model = process.env.KVASIR_MODEL_ADDRESS;
const tokenizer = process.env.KVASIR_TOKENIZER_ADDRESS;
const greedy = { temperature: 0 };
// Answers that nothing but their length ends.
const endless = { seed: 7, logitBias: { 1533: -100, 1535: -100 } };
const long = 1500;

const client = new Kvasir(model, { tokenizer });
after(() => client.close());

async function all(pieces) {
  let text = '';
  for await (const piece of pieces) text += piece;
  return text;
}

// It is started again under its address, on the same store.
function killModel() {
  process.kill(Number(fs.readFileSync(process.env.KVASIR_MODEL_PID_FILE, 'utf8')), 'SIGKILL');
}

// What the session holds, told by whoever takes it up.
async function lengthOf(sessionId) {
  return (await client.resume(sessionId).open()).length;
}

test('each turn sends only what is new', async () => {
  const chat = client.chat({ system: 'Be brief.', sampling: greedy });
  let answer = '', length = 0;
  for (const question of ['My name is Ada.', 'I have three cats.', 'What is my name?']) {
    answer = await all(chat.send(question));
    const { inputTokens, generatedTokens, cachedTokens } = chat.last.usage;
    assert.equal(inputTokens + generatedTokens, chat.length - length);
    assert.equal(Number(chat.last.sessionLength), chat.length);
    assert.ok(inputTokens < 40);
    assert.ok(cachedTokens >= length - 1);
    length = chat.length;
  }
  assert.match(answer, /Ada/);
  await chat.delete();
  await assert.rejects(chat.delete(), SessionNotFoundError);
});

test('pieces come before the end', async () => {
  const chat = client.chat({ sampling: endless, maxNewTokens: 100 });
  const pieces = [];
  for await (const piece of chat.send('Tell me of the sea.')) pieces.push(piece);
  assert.ok(pieces.length > 3);
  assert.doesNotMatch(pieces.join(''), /\uFFFD/);
});

test('it works by require, too', () => {
  const required = createRequire(import.meta.url)('kvasir-client');
  assert.equal(required.Kvasir, Kvasir);
});

test('a fork goes its own way', async () => {
  const chat = client.chat({ sampling: greedy });
  await all(chat.send('My name is Ada.'));
  const fork = await chat.fork();
  assert.notEqual(fork.sessionId, chat.sessionId);
  await all(chat.send('I live in Rome.'));
  const { length } = chat;
  assert.match(await all(fork.send('What is my name?')), /Ada/);
  assert.ok(fork.last.usage.inputTokens < 40);
  assert.equal(chat.length, length);
  assert.match(await all(chat.send('What is my name?')), /Ada/);
});

test('rewind takes turns back', async () => {
  const chat = client.chat({ sampling: greedy });
  const first = await all(chat.send('My name is Ada.'));
  const second = await all(chat.send('What is my name?'));
  const { length } = chat;
  await chat.rewind();
  assert.equal(await all(chat.send('What is my name?')), second);
  assert.equal(chat.length, length);
  await chat.rewind(2);
  assert.equal(await all(chat.send('My name is Ada.')), first);
  for (const turns of [0, 2]) await assert.rejects(chat.rewind(turns), RangeError);
});

test('another client resumes the session', async () => {
  const chat = client.chat({ sampling: greedy });
  await all(chat.send('My name is Ada.'));
  const other = new Kvasir(model, { tokenizer });
  const again = await other.resume(chat.sessionId, { sampling: greedy }).open();
  assert.equal(again.length, chat.length);
  assert.match(await all(again.send('What is my name?')), /Ada/);
  assert.ok(again.last.usage.inputTokens < 40);
  assert.equal(await lengthOf(chat.sessionId), again.length);
  other.close();
});

test('an answer that is left stays as far as it was heard', async () => {
  const chat = client.chat({ sampling: endless, maxNewTokens: long });
  const answer = chat.send('Tell me of the sea.');
  await answer.next();
  const fork = await chat.fork(); // while `answer` still waits to be read
  assert.equal((await answer.next()).done, true);
  assert.ok(chat.length > 0 && chat.length < long);
  assert.equal(await lengthOf(fork.sessionId), chat.length);
  await chat.rewind();
  assert.equal(chat.length, 0);
  for await (const piece of chat.send('Tell me of the sea.')) {
    assert.notEqual(piece, '');
    break;
  }
  await chat.close();
  assert.ok(chat.length > 0 && chat.length < long);
  assert.equal(await lengthOf(chat.sessionId), chat.length);
});

test('a killed server does not show in the answer', async () => {
  const chat = client.chat({ sampling: endless, maxNewTokens: long });
  const undisturbed = await all(chat.send('Tell me of the sea.'));
  assert.ok(chat.last.timing);
  await chat.rewind();
  let told = '';
  for await (const piece of chat.send('Tell me of the sea.')) {
    if (told === '') killModel();
    told += piece;
  }
  assert.equal(told, undisturbed);
  assert.equal(chat.last.timing, null, 'the turn was not broken');
  assert.equal(chat.last.usage.generatedTokens, long);
  assert.equal(Number(chat.last.sessionLength), chat.length);
  assert.equal(await lengthOf(chat.sessionId), chat.length);
});

test('errors have types', async () => {
  await assert.rejects(client.resume('nobody-s').open(), (error) => {
    assert.ok(error instanceof SessionNotFoundError && error instanceof KvasirError);
    assert.equal(error.reason, 'SESSION_NOT_FOUND');
    return true;
  });
  const chat = client.chat({ sampling: { temperature: 1e6 } });
  await assert.rejects(all(chat.send('Hello')), (error) => {
    assert.ok(error instanceof InvalidRequestError);
    assert.match(error.message, /temperature/);
    return true;
  });
  await all(chat.send('Hello', greedy)); // it goes on after an error
  const other = client.resume(chat.sessionId);
  await all(other.send('Hello'));
  await assert.rejects(all(chat.send('Are you there?', greedy)), (error) => {
    assert.ok(error instanceof SessionConflictError);
    assert.equal(error.metadata.session_length, String(other.length));
    return true;
  });
  const nowhere = new Kvasir('127.0.0.1:1', { retryFor: 0.5 });
  await assert.rejects(nowhere.chat().open(), UnavailableError);
  nowhere.close();
});

// A service of the test's own; its address, once it says so.
async function service(t, name, ...flags) {
  const { KVASIR_SESSION_STORE, ...env } = process.env;
  const program = spawn(`build/release/bin/${name}`, ['--listen=localhost:0', '--metrics=', ...flags],
    { stdio: ['ignore', 'pipe', 'ignore'], env });
  t.after(() => program.kill('SIGKILL'));
  for await (const line of readline.createInterface(program.stdout)) {
    return `localhost:${/^listening on .*:(\d+)$/.exec(line)[1]}`;
  }
  throw new Error(`${name} did not start`);
}

// Of older answers it shows the beginning only.
const forgetful = `{% for message in messages %}<|im_start|>{{ message.role }}
{% if message.role == 'assistant' and loop.index < messages|length - 1 %}{{ message.content[:9] }}
{%- else %}{{ message.content }}{% endif %}<|im_end|>
{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant
{% endif %}`;

test('a template may rewrite history', async (t) => {
  const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'kvasir-'));
  t.after(() => fs.rmSync(folder, { recursive: true }));
  fs.writeFileSync(path.join(folder, 'template.jinja'), forgetful);
  const rewriting = await service(t, 'kvasir-tokenizer', `--chat-template=${folder}/template.jinja`);
  const other = new Kvasir(model, { tokenizer: rewriting });
  const chat = other.chat({ sampling: greedy });
  const lengths = [];
  for (const text of ['My name is Ada.', 'I have three cats.', 'I live in Rome.', 'Who am I?']) {
    const answer = await all(chat.send(text));
    assert.notEqual(answer, '');
    lengths.push(await lengthOf(chat.sessionId));
    assert.equal(lengths.at(-1), chat.length);
    assert.equal(Number(chat.last.sessionLength), chat.length);
  }
  // What is sent again replaces what was cut.
  assert.ok(chat.last.usage.inputTokens + chat.last.usage.generatedTokens > lengths[3] - lengths[2]);
  other.close();
});

test('TLS and a key', async (t) => {
  const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'kvasir-'));
  t.after(() => fs.rmSync(folder, { recursive: true }));
  const request = 'req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout ca.key -out ca.crt';
  const subject = ['-subj', '/CN=localhost', '-addext', 'subjectAltName=DNS:localhost'];
  execFileSync('openssl', [...request.split(' '), ...subject], { cwd: folder, stdio: 'ignore' });
  const key = 'a-key-of-the-node-test';
  fs.writeFileSync(path.join(folder, 'keys'), `team ${key}\n`);
  const flags = [`--tls-cert=${folder}/ca.crt`, `--tls-key=${folder}/ca.key`, `--api-keys=${folder}/keys`];
  const [ids, text] = [
    await service(t, 'kvasir-model', '--kv-memory=64MiB', ...flags),
    await service(t, 'kvasir-tokenizer', ...flags),
  ];
  const connect = (options) => {
    const one = new Kvasir(ids, { tokenizer: text, tlsCa: `${folder}/ca.crt`, retryFor: 0, ...options });
    t.after(() => one.close());
    return one;
  };
  assert.notEqual(await all(connect({ apiKey: key }).chat({ sessionId: 'mine' }).send('Hello')), '');
  process.env.KVASIR_API_KEY = key;
  await connect({}).resume('mine').open();
  delete process.env.KVASIR_API_KEY;
  for (const apiKey of ['', 'another-key-of-nobody']) {
    await assert.rejects(connect({ apiKey }).chat().open(), UnauthenticatedError);
  }
  // Nobody answers in plain text.
  await assert.rejects(connect({ apiKey: key, tlsCa: undefined }).chat().open(), KvasirError);
});
