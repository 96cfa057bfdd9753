const bell = document.getElementById("bell");

function listen() {
  const scheme = location.protocol.replace("http", "ws");
  const ws = new WebSocket(`${scheme}//${location.host}${bell.dataset.url}`);
  ws.onmessage = (event) => {
    bell.textContent = `New order: ${JSON.parse(event.data).order}`;
  };
  // Come back after a restart of the server, and not all pages at once.
  ws.onclose = () => setTimeout(listen, 1000 + 2000 * Math.random());
}

listen();
