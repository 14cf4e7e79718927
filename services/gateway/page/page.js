// The chat page. What was said becomes text, never markup.
import { deleteSession, fillAnswer, modelName } from "./answers.js";
import { Chats, readSettings, saveSettings, titleOf } from "./chats.js";

const byId = (id) => document.getElementById(id);
const chats = new Chats();
let settings = readSettings();
let running = null; // the AbortController of the answer that comes

function button(text, name, act) {
  const made = document.createElement("button");
  made.type = "button";
  made.textContent = text;
  made.setAttribute("aria-label", name);
  made.addEventListener("click", act);
  return made;
}

function showChats() {
  byId("chats").replaceChildren(
    ...chats.all.map((chat) => {
      const item = document.createElement("li");
      const title = titleOf(chat);
      const open = button(title, title, () => {
        chats.open(chat);
        show();
      });
      open.setAttribute("aria-current", String(chat === chats.current));
      const forget = button("×", `Delete the chat ${title}`, () => {
        deleteSession(chat.session, settings.key).catch(() => {}); // it may never have been there
        chats.forget(chat);
        show();
      });
      item.append(open, forget);
      return item;
    }),
  );
}

function fillTurn(item, turn) {
  item.querySelector(".said").textContent = turn.content;
  const thought = item.querySelector(".thought");
  thought.hidden = !turn.reasoning;
  thought.querySelector(".text").textContent = turn.reasoning ?? "";
  item.querySelector(".counters").textContent = turn.counters ?? "";
}

function turnItem(turn, index) {
  const item = byId("turn").content.firstElementChild.cloneNode(true);
  item.classList.add(turn.role);
  const who = turn.role === "user" ? "You" : "Model";
  item.querySelector("h2").textContent = who;
  fillTurn(item, turn);
  const actions = item.querySelector(".actions");
  const place = `${who}, turn ${index + 1}`;
  if (turn.role === "user") {
    actions.append(button("Edit", `Edit: ${place}`, () => edit(item, turn, index)));
  } else {
    actions.append(button("Retry", `Retry: ${place}`, () => answer(index)));
  }
  actions.append(
    button("Fork", `Fork after: ${place}`, () => {
      chats.fork(index);
      show();
      byId("question").focus();
    }),
  );
  return item;
}

// Puts another text in place of a question, and forgets what followed.
function edit(item, turn, index) {
  const form = document.createElement("form");
  const text = document.createElement("textarea");
  text.value = turn.content;
  text.setAttribute("aria-label", `Your message, turn ${index + 1}`);
  const send = button("Send", "Send the edited message", () => form.requestSubmit());
  form.append(text, send, button("Cancel", "Leave the message as it was", show));
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    if (text.value.trim() === "") return;
    turn.content = text.value;
    answer(index + 1);
  });
  item.querySelector(".said").replaceChildren(form);
  item.querySelector(".actions").replaceChildren();
  text.focus();
}

function setRunning(controller) {
  running = controller;
  const busy = controller !== null;
  byId("send").disabled = busy;
  byId("stop").disabled = !busy;
  byId("turns").setAttribute("aria-busy", String(busy));
  const others = document.querySelectorAll("nav button, .actions button");
  for (const other of others) other.disabled = busy;
}

function show() {
  byId("error").textContent = chats.unsaved;
  byId("status").textContent = "";
  byId("turns").replaceChildren(...chats.current.turns.map(turnItem));
  showChats();
}

// Has the model say turn `index`, in place of that and what followed.
async function answer(index) {
  if (running) return;
  const chat = chats.current;
  chat.turns.length = index;
  show();
  const turn = { role: "assistant", content: "" };
  const item = turnItem(turn, index);
  byId("turns").append(item);
  const controller = new AbortController();
  setRunning(controller);
  byId("status").textContent = "The model answers.";
  let told = "The answer is complete.";
  let failure = "";
  let waiting = 0; // for the next frame, in which what came is shown
  try {
    await fillAnswer(chat, settings, turn, controller.signal, () => {
      waiting ||= requestAnimationFrame(() => {
        waiting = 0;
        fillTurn(item, turn);
        item.scrollIntoView({ block: "end" });
      });
    });
  } catch (error) {
    failure = controller.signal.aborted ? "" : error.message;
    told = controller.signal.aborted ? "Stopped." : "";
  }
  if (turn.content || turn.reasoning) chat.turns.push(turn);
  chats.save();
  setRunning(null);
  show();
  if (failure) {
    byId("error").textContent = failure;
    offerRetry(chat);
  }
  byId("status").textContent = told;
}

function offerRetry(chat) {
  const last = chat.turns.at(-1);
  const index = chat.turns.length - (last.role === "assistant" ? 1 : 0);
  byId("error").append(" ", button("Try again", "Ask for the answer again", () => answer(index)));
}

function ask() {
  const question = byId("question");
  if (running || question.value.trim() === "") return;
  chats.current.turns.push({ role: "user", content: question.value });
  question.value = "";
  chats.save();
  answer(chats.current.turns.length);
}

function showModel() {
  modelName(settings.key).then(
    (name) => (byId("model").textContent = name),
    (error) => (byId("model").textContent = error.message),
  );
}

const prefersDark = matchMedia("(prefers-color-scheme: dark)");

function isDark() {
  const chosen = localStorage.getItem("kvasir.theme");
  return chosen ? chosen === "dark" : prefersDark.matches;
}

function showTheme() {
  const chosen = localStorage.getItem("kvasir.theme");
  if (chosen) document.documentElement.dataset.theme = chosen;
  byId("theme").textContent = isDark() ? "Light" : "Dark";
}

function start() {
  byId("ask").addEventListener("submit", (event) => {
    event.preventDefault();
    ask();
  });
  byId("question").addEventListener("keydown", (event) => {
    if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
    event.preventDefault();
    ask();
  });
  document.addEventListener("keydown", (event) => {
    if (event.key === "Escape") running?.abort();
  });
  byId("stop").addEventListener("click", () => running?.abort());
  byId("new").addEventListener("click", () => {
    chats.create();
    show();
    byId("question").focus();
  });
  byId("theme").addEventListener("click", () => {
    localStorage.setItem("kvasir.theme", isDark() ? "light" : "dark");
    showTheme();
  });
  const form = byId("settings");
  for (const [name, value] of Object.entries(settings)) {
    if (form.elements[name]) form.elements[name].value = value;
  }
  form.addEventListener("change", () => {
    settings = Object.fromEntries(new FormData(form));
    saveSettings(settings);
    showModel();
  });
  form.addEventListener("submit", (event) => event.preventDefault());
  prefersDark.addEventListener("change", showTheme);
  showTheme();
  setRunning(null);
  show();
  showModel();
}

start();
