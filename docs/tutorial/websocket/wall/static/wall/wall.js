const list = document.getElementById("notes");
const form = document.getElementById("form");
const text = document.getElementById("text");
let socket;

function connect() {
  const scheme = location.protocol.replace("http", "ws");
  socket = new WebSocket(`${scheme}//${location.host}${list.dataset.url}`);
  socket.onmessage = (event) => show(JSON.parse(event.data));
  socket.onclose = () => setTimeout(connect, 1000 + 2000 * Math.random());
}

function show(note) {
  if (document.getElementById(`note-${note.id}`)) return;  // it is there already
  const item = document.createElement("li");
  item.id = `note-${note.id}`;
  item.textContent = `${note.text} (${note.author})`;
  list.prepend(item);
}

form?.addEventListener("submit", (event) => {
  event.preventDefault();
  if (socket.readyState !== WebSocket.OPEN) return;  // the text stays, to be sent again
  socket.send(JSON.stringify(text.value));
  form.reset();
});

connect();
