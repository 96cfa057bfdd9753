// The list of rooms, kept up to date by the feed of server-sent events.

import { fillTime } from "./common.js";
import { how } from "./how.js";

const list = document.querySelector("#rooms");
const rooms = new Map([...list.querySelectorAll("[data-room]")].map((room) => [room.dataset.room, room]));

let lastSeen = Math.max(0, ...[...rooms.values()].map((room) => Number(room.dataset.last)));

function showMessage({ id, room, author, text, sent }) {
  lastSeen = Math.max(lastSeen, id);
  const item = rooms.get(room);
  if (!item || id <= Number(item.dataset.last)) return;
  item.dataset.last = id;
  item.querySelector(".author").textContent = author;
  item.querySelector(".text").textContent = text;
  fillTime(item.querySelector("time"), new Date(sent), { short: true });
  // Moving the focused link would take the focus away from it.
  if (!item.contains(document.activeElement)) list.prepend(item);
  item.classList.remove("fresh");
  void item.offsetWidth; // lets the animation start again
  item.classList.add("fresh");
}

function showPresence({ room, people, guests }) {
  const here = rooms.get(room)?.querySelector(".here");
  if (!here) return;
  const count = people.length + guests;
  here.hidden = count === 0;
  here.textContent = `${count} here`;
  here.title = people.join(", ");
}

// Who is in which room is not known without a connection.
function showConnection(isOpen) {
  document.querySelector("#status").hidden = isOpen;
  list.classList.toggle("stale", !isOpen);
  how.open(isOpen);
}

function listen() {
  const url = new URL(list.dataset.feed, location.href);
  url.searchParams.set("after", lastSeen);
  const feed = new EventSource(url);
  // Each connection begins with the rooms that have somebody in them, so start from nobody.
  feed.onopen = () => {
    rooms.forEach((item) => (item.querySelector(".here").hidden = true));
    showConnection(true);
  };
  feed.onmessage = ({ data }) => {
    how.received();
    const event = JSON.parse(data);
    if (event.type === "message") showMessage(event);
    else showPresence(event);
  };
  // The browser reconnects by itself, except after an answer that it takes for final.
  feed.onerror = () => {
    showConnection(false);
    if (feed.readyState === EventSource.CLOSED) setTimeout(listen, 5000);
  };
}

for (const time of list.querySelectorAll("time[datetime]")) {
  fillTime(time, new Date(time.dateTime), { short: true });
}
how.begin("An event stream");
listen();
