// What this browser keeps: chats, each with the session that holds it, and settings.

const CHATS = "kvasir.chats";
const SETTINGS = "kvasir.settings";

function read(storage, key, otherwise) {
  try {
    return JSON.parse(storage.getItem(key)) ?? otherwise;
  } catch {
    return otherwise;
  }
}

function randomId() {
  const bytes = crypto.getRandomValues(new Uint8Array(12));
  return "page-" + Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
}

// A turn: {role, content, reasoning?, counters?}.
export class Chats {
  unsaved = ""; // why the browser does not keep them

  constructor() {
    this.all = read(localStorage, CHATS, []);
    if (this.all.length === 0) this.create();
    const open = localStorage.getItem("kvasir.open");
    this.current = this.all.find((chat) => chat.session === open) ?? this.all[0];
  }

  // What the browser has no room for is there until the page is left.
  save() {
    try {
      localStorage.setItem(CHATS, JSON.stringify(this.all));
      localStorage.setItem("kvasir.open", this.current.session);
      this.unsaved = "";
    } catch {
      this.unsaved = "This browser cannot keep the chats: delete some to make room.";
    }
  }

  create(turns = []) {
    this.current = { session: randomId(), turns };
    this.all.unshift(this.current);
    this.save();
  }

  // Goes on in a copy of what was said up to and with turn `index`.
  fork(index) {
    this.create(structuredClone(this.current.turns.slice(0, index + 1)));
  }

  open(chat) {
    this.current = chat;
    this.save();
  }

  forget(chat) {
    this.all = this.all.filter((other) => other !== chat);
    if (this.all.length === 0) this.create();
    if (this.current === chat) this.current = this.all[0];
    this.save();
  }
}

export function titleOf(chat) {
  return chat.turns.find((turn) => turn.role === "user")?.content.slice(0, 60) || "New chat";
}

// All but the key outlive the tab.
export function readSettings() {
  return { ...read(localStorage, SETTINGS, {}), key: sessionStorage.getItem("kvasir.key") ?? "" };
}

export function saveSettings({ key, ...settings }) {
  localStorage.setItem(SETTINGS, JSON.stringify(settings));
  sessionStorage.setItem("kvasir.key", key);
}
