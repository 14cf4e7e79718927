// Calls to the gateway that this page came from.

function headers(key) {
  const all = { "Content-Type": "application/json" };
  if (key) all.Authorization = `Bearer ${key}`;
  return all;
}

async function failure(response) {
  try {
    return new Error((await response.json()).error.message);
  } catch {
    return new Error(`the gateway answered ${response.status}`);
  }
}

export async function modelName(key) {
  const response = await fetch("v1/models", { headers: headers(key) });
  if (!response.ok) throw await failure(response);
  return (await response.json()).data[0].id;
}

// The session of a chat that is no more.
export async function deleteSession(session, key) {
  await fetch(`v1/sessions/${session}`, { method: "DELETE", headers: headers(key) });
}

// The data of each server-sent event.
async function* eventsOf(body) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  let pending = "";
  try {
    while (true) {
      const { done, value } = await reader.read();
      if (done) return;
      const events = (pending + value).split("\n\n");
      pending = events.pop();
      for (const event of events) yield event.slice("data: ".length);
    }
  } finally {
    reader.cancel().catch(() => {}); // it has ended, or was stopped
  }
}

function requestFor(chat, settings) {
  const messages = chat.turns.map(({ role, content, reasoning }) =>
    reasoning ? { role, content, reasoning_content: reasoning } : { role, content },
  );
  if (settings.system) messages.unshift({ role: "system", content: settings.system });
  const request = { messages, session_id: chat.session, stream: true };
  request.stream_options = { include_usage: true };
  for (const name of ["temperature", "top_p", "top_k", "max_tokens", "seed"]) {
    if (settings[name] !== "" && settings[name] !== undefined) request[name] = Number(settings[name]);
  }
  return request;
}

function counters(usage, begun, first) {
  const tokens = usage.completion_tokens;
  const speed = Math.round(tokens / ((performance.now() - begun) / 1000));
  const reused = usage.prompt_tokens_details.cached_tokens;
  return (
    `${tokens} tokens, ${speed} a second, the first after ${Math.round(first - begun)} ms; ` +
    `${reused} of ${usage.prompt_tokens} reused`
  );
}

// Fills `turn` with the answer to `chat` as it comes; `changed` is called after each piece.
export async function fillAnswer(chat, settings, turn, signal, changed) {
  const begun = performance.now();
  let first = null;
  const response = await fetch("v1/chat/completions", {
    method: "POST",
    headers: headers(settings.key),
    body: JSON.stringify(requestFor(chat, settings)),
    signal,
  });
  if (!response.ok) throw await failure(response);
  for await (const data of eventsOf(response.body)) {
    if (data === "[DONE]") return;
    const event = JSON.parse(data);
    if (event.error) throw new Error(event.error.message);
    first ??= performance.now();
    const delta = event.choices[0]?.delta ?? {};
    turn.content += delta.content ?? "";
    if (delta.reasoning_content) turn.reasoning = (turn.reasoning ?? "") + delta.reasoning_content;
    if (event.usage) turn.counters = counters(event.usage, begun, first);
    changed();
  }
  throw new Error("the answer broke off");
}
