// One room: messages as they come, who is here, and what you say.

import { avatar, dayName, element, fillTime } from "./common.js";
import { Connection } from "./connection.js";
import { how } from "./how.js";

const find = (id) => document.getElementById(id);
const { user, socket: socketPath, history: historyPath } = find("chat").dataset;
const firstPage = JSON.parse(find("page").textContent);

// ---- Scrolling ----

const log = find("log");
const newer = find("newer");
let following = true; // at the bottom, where new messages should stay in view
let unread = 0;

function isAtBottom() {
  return log.scrollHeight - log.scrollTop - log.clientHeight < 48;
}

function scrollToBottom() {
  log.scrollTop = log.scrollHeight;
  following = true;
  clearUnread();
}

function clearUnread() {
  unread = 0;
  showUnread();
}

function showUnread() {
  newer.hidden = following || unread === 0;
  newer.textContent = unread === 1 ? "1 new message" : `${unread} new messages`;
  document.title = unread ? `(${unread}) ${roomTitle}` : roomTitle;
}

const roomTitle = document.title;
newer.addEventListener("click", scrollToBottom);
log.addEventListener("scroll", () => {
  following = isAtBottom();
  if (following && !document.hidden) clearUnread();
});
document.addEventListener("visibilitychange", () => {
  if (!document.hidden && following) clearUnread();
});
// The on-screen keyboard and a growing text field make the log smaller.
new ResizeObserver(() => following && scrollToBottom()).observe(log);

// ---- Messages ----

const messages = find("messages");
const shown = new Map(); // id -> list item
const unsent = new Map(); // ref -> { text, item }: said, but not yet heard from the server

const LINK = /(https?:\/\/[^\s<>"]+[^\s<>".,;:!?)\]}'])/;

function fillText(paragraph, text) {
  // split() with a group puts the links at the odd places.
  text.split(LINK).forEach((part, place) => {
    if (place % 2 === 0) return paragraph.append(part);
    const link = element("a", "", part);
    link.href = part;
    link.target = "_blank";
    link.rel = "noopener noreferrer nofollow";
    paragraph.append(link);
  });
}

function makeItem({ author, text, sent }) {
  const item = element("li", author === user ? "message mine" : "message");
  item.dataset.author = author;
  item.dataset.sent = sent;
  const meta = element("p", "meta");
  const time = element("time");
  fillTime(time, new Date(sent));
  meta.append(element("span", "author", author), " ", time);
  const paragraph = element("p", "text");
  paragraph.title = time.title; // where the heading is left out, the time still is there to find
  fillText(paragraph, text);
  item.append(avatar(author), meta, paragraph);
  return item;
}

// Messages of one author in a row share a heading; every day begins with its name.
function arrange(item) {
  if (!item) return;
  const previous = item.previousElementSibling;
  const when = new Date(item.dataset.sent);
  const before = previous && new Date(previous.dataset.sent);
  const newDay = !previous || before.toDateString() !== when.toDateString();
  item.classList.toggle("new-day", newDay);
  item.dataset.day = newDay ? dayName(when) : "";
  const follows = !newDay && previous.dataset.author === item.dataset.author && when - before < 300_000;
  item.classList.toggle("follows", follows);
}

// Put an item where its id belongs: usually last, but older pages come from the top.
function place(item, id) {
  item.dataset.id = id;
  let next = null;
  for (let other = messages.lastElementChild; other; other = other.previousElementSibling) {
    if (Number(other.dataset.id) < id) break;
    next = other;
  }
  messages.insertBefore(item, next);
  arrange(item);
  arrange(item.nextElementSibling);
}

// Returns whether the message is news.
function showMessage(message) {
  if (shown.has(message.id)) return false;
  const said = message.author === user && unsent.get(message.ref);
  if (said) {
    unsent.delete(message.ref);
    const after = said.item.nextElementSibling;
    said.item.remove();
    arrange(after);
  }
  const item = makeItem(message);
  shown.set(message.id, item);
  place(item, message.id);
  return !said;
}

const announcer = find("announcer");

function receiveMessage(message) {
  const stay = following;
  if (!showMessage(message)) {
    if (stay) scrollToBottom();
    return;
  }
  stopTyping(message.author);
  messages.lastElementChild.classList.add("fresh");
  announcer.append(element("p", "", `${message.author}: ${message.text}`));
  if (announcer.childElementCount > 5) announcer.firstElementChild.remove();
  if (stay) log.scrollTop = log.scrollHeight;
  if (!stay || document.hidden) unread += 1;
  showUnread();
}

// ---- The history ----

const beginning = find("beginning");
let moreBefore = firstPage.more;
let loading = false;

async function fetchPage(mark, id) {
  const url = new URL(historyPath, location.href);
  url.searchParams.set(mark, id);
  const response = await fetch(url);
  if (!response.ok) throw new Error(`The history answered ${response.status}`);
  return response.json();
}

async function loadOlder() {
  if (!moreBefore || loading) return;
  loading = true;
  try {
    const page = await fetchPage("before", messages.firstElementChild.dataset.id);
    const below = log.scrollHeight - log.scrollTop;
    page.messages.reverse().forEach(showMessage);
    moreBefore = page.more;
    showBeginning();
    log.scrollTop = log.scrollHeight - below; // what was read stays where it was
  } catch {
    // Scrolling up again asks again.
  } finally {
    loading = false;
  }
}

function showBeginning() {
  beginning.textContent = moreBefore ? "Older messages…" : `This is where ${roomTitle} begins.`;
}

// ---- The connection ----

let caughtUp = false;
let lastSeen = 0; // the highest id that has been shown
// Ids are given out in order, but messages of several processes need not come in that order: the
// history is asked from a little before the last one. What is shown already is not shown again.
const OVERLAP = 100;

function showPage(page) {
  for (const message of page.messages) {
    receiveMessage(message);
    lastSeen = Math.max(lastSeen, message.id);
  }
}

// The WebSocket is open before the history is asked, so nothing falls between the two.
async function catchUp() {
  let after = Math.max(0, lastSeen - OVERLAP);
  let page;
  do {
    page = await fetchPage("after", after);
    showPage(page);
    after = page.messages.at(-1)?.id ?? after;
  } while (page.more);
  caughtUp = true;
}

const status = find("status");
const retry = find("retry");
let countdown = null;

function showStatus(text, { detail = "", canRetry = false } = {}) {
  status.hidden = !text;
  retry.hidden = !canRetry;
  // Written only when it changes: a screen reader would read it out again.
  if (find("status-text").textContent !== text) find("status-text").textContent = text;
  find("status-detail").textContent = detail;
}

const handlers = {
  async onOpen() {
    how.open(true);
    clearInterval(countdown);
    // Even what the history may have: if its server died over it, the others haven't heard of it.
    for (const [ref, { text }] of unsent) connection.send({ type: "message", ref, text });
    try {
      await catchUp();
    } catch {
      connection.restart();
      return;
    }
    connection.settle();
    showStatus("");
  },

  onLost(wait) {
    how.open(false);
    caughtUp = false;
    showPeople([], 0);
    find("guests").textContent = "Reconnecting…";
    const until = Date.now() + wait;
    const tick = () => {
      const seconds = Math.max(0, Math.round((until - Date.now()) / 1000));
      const detail = seconds > 1 ? `Next try in ${seconds} s.` : "Trying again…";
      showStatus("Connection lost.", { detail, canRetry: seconds > 1 });
    };
    clearInterval(countdown);
    countdown = setInterval(tick, 1000);
    tick();
  },

  onEvent(event) {
    how.received();
    if (event.type === "message") {
      receiveMessage(event);
      // Until the gap is filled, a live message says nothing about those before it.
      if (caughtUp) lastSeen = Math.max(lastSeen, event.id);
    } else if (event.type === "presence") showPeople(event.people, event.guests);
    else if (event.type === "typing") showTyping(event.user);
    else if (event.type === "error") showError(event);
  },
};

retry.addEventListener("click", () => connection.retry());

// ---- Who is here ----

const peopleButton = find("people-button");
const people = find("people");

function showPeople(names, guests) {
  const total = names.length + guests;
  find("count").textContent = total ? `${total} here` : "…";
  find("stack").replaceChildren(...names.slice(0, 4).map(avatar));
  find("people-list").replaceChildren(
    ...names.map((name) => {
      const item = element("li");
      item.append(avatar(name), element("span", "name", name));
      if (name === user) item.append(element("span", "you", "you"));
      return item;
    }),
  );
  find("guests").textContent = guests ? `${guests} ${guests === 1 ? "guest" : "guests"} reading along` : "";
}

function togglePeople(open) {
  people.classList.toggle("open", open);
  peopleButton.ariaExpanded = String(open);
}

peopleButton.addEventListener("click", () => togglePeople(!people.classList.contains("open")));
document.addEventListener("keydown", ({ key }) => key === "Escape" && togglePeople(false));
log.addEventListener("pointerdown", () => togglePeople(false));

// ---- Who is typing ----

const typing = new Map(); // name -> timer

function showTyping(name) {
  if (name === user) return;
  clearTimeout(typing.get(name));
  typing.set(name, setTimeout(() => stopTyping(name), 4000));
  showTypists();
}

function stopTyping(name) {
  clearTimeout(typing.get(name));
  typing.delete(name);
  showTypists();
}

function showTypists() {
  const [first, second, ...more] = typing.keys();
  let text = "";
  if (more.length) text = "Several people are typing…";
  else if (second) text = `${first} and ${second} are typing…`;
  else if (first) text = `${first} is typing…`;
  find("typing").textContent = text;
}

// ---- Saying something ----

const composer = find("composer"); // guests have none
const field = find("text");
const PATIENCE = 8000; // milliseconds without an answer until the connection counts as dead
let lastTyping = 0;

// crypto.randomUUID() exists only on https:// and localhost.
function makeRef() {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  const hex = [...bytes].map((byte) => byte.toString(16).padStart(2, "0")).join("");
  return hex.replace(/(.{8})(.{4})(.{4})(.{4})(.{12})/, "$1-$2-$3-$4-$5"); // as the server writes it
}

function say(text) {
  const ref = makeRef();
  const item = makeItem({ author: user, text, sent: new Date().toISOString() });
  item.classList.add("unsent", "fresh");
  unsent.set(ref, { text, item });
  place(item, Infinity);
  scrollToBottom();
  connection.send({ type: "message", ref, text });
  how.sent();
  setTimeout(() => unsent.has(ref) && connection.isOpen && connection.restart(), PATIENCE);
}

function showError({ text, ref }) {
  const said = unsent.get(ref);
  if (!said) return showStatus(text);
  unsent.delete(ref);
  said.item.classList.replace("unsent", "failed");
  said.item.append(element("p", "problem", text));
  place(said.item, lastSeen + 0.5); // it keeps its place among what is said later
  if (following) scrollToBottom();
}

function fitField() {
  field.style.height = "auto";
  field.style.height = `${field.scrollHeight}px`;
}

composer?.addEventListener("submit", (event) => {
  event.preventDefault();
  const text = field.value.trim();
  if (!text) return;
  field.value = "";
  fitField();
  field.focus(); // keeps a phone's keyboard open
  lastTyping = 0;
  say(text);
});

field?.addEventListener("keydown", (event) => {
  // While somebody composes 漢字 or an accent, Enter belongs to the input method.
  if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
  event.preventDefault();
  composer.requestSubmit();
});

field?.addEventListener("input", () => {
  fitField();
  if (!field.value.trim() || Date.now() - lastTyping < 2500) return;
  lastTyping = Date.now();
  connection.send({ type: "typing" });
});

// ---- Begin ----

// Safari's keyboard covers the page instead of making it smaller.
visualViewport?.addEventListener("resize", () => {
  document.body.style.setProperty("--height", `${visualViewport.height}px`);
});

how.begin("A WebSocket");
firstPage.messages.forEach(showMessage);
lastSeen = firstPage.messages.at(-1)?.id ?? 0;
showBeginning();
scrollToBottom();
new IntersectionObserver(([entry]) => entry.isIntersecting && loadOlder(), {
  root: log,
  rootMargin: "300px 0px 0px",
}).observe(beginning);
if (matchMedia("(pointer: fine)").matches) field?.focus();
const connection = new Connection(socketPath, handlers);
