// A WebSocket that comes back when it is lost.

const FIRST_DELAY = 500; // milliseconds, doubled after every failure
const LONGEST_DELAY = 20_000;

export class Connection {
  #url;
  #handlers;
  #socket = null;
  #failures = 0;
  #timer = null;

  // handlers: onOpen(), onEvent(object), onLost(milliseconds until the next attempt)
  constructor(path, handlers) {
    this.#url = new URL(path, location.href);
    this.#url.protocol = location.protocol === "https:" ? "wss:" : "ws:";
    this.#handlers = handlers;
    addEventListener("online", () => this.retry());
    addEventListener("offline", () => this.restart());
    // A phone that wakes up should not sit out a delay that began before it slept.
    document.addEventListener("visibilitychange", () => document.hidden || this.retry());
    this.#connect();
  }

  get isOpen() {
    return this.#socket?.readyState === WebSocket.OPEN;
  }

  send(event) {
    if (this.isOpen) this.#socket.send(JSON.stringify(event));
  }

  // All is well: the next failure starts again with the shortest delay.
  settle() {
    this.#failures = 0;
  }

  // Stop waiting and try at once.
  retry() {
    if (this.#timer) this.#connect();
  }

  // Give this connection up and make another one.
  restart() {
    const socket = this.#socket;
    if (!socket) return;
    this.#lost(socket);
    socket.close();
  }

  #connect() {
    clearTimeout(this.#timer);
    this.#timer = null;
    const socket = (this.#socket = new WebSocket(this.#url));
    socket.onopen = () => this.#socket === socket && this.#handlers.onOpen();
    socket.onclose = () => this.#lost(socket);
    socket.onmessage = ({ data }) => {
      if (this.#socket === socket) this.#handlers.onEvent(JSON.parse(data));
    };
  }

  #lost(socket) {
    if (this.#socket !== socket) return; // an old one, given up before
    this.#socket = null;
    // Doubling spares a server in trouble. Chance keeps all its visitors from coming back at once.
    const delay = Math.min(LONGEST_DELAY, FIRST_DELAY * 2 ** this.#failures++);
    const wait = delay * (0.5 + Math.random() / 2);
    this.#timer = setTimeout(() => this.#connect(), wait);
    this.#handlers.onLost(wait);
  }
}
