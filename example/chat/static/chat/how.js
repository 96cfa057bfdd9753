// "How this page works": what each half answers while the page is open.

const find = (id) => document.getElementById(id);

const live = { name: "", isOpen: false, received: 0, sent: 0 };
const requests = { django: 0, aiohttp: 0 }; // by scripts, after the page

const count = (number, noun) => `${number} ${noun}${number === 1 ? "" : "s"}`;

function show() {
  if (!find("how")) return;
  if (requests.django) find("how-django").textContent = `Then ${count(requests.django, "request")} of its script.`;
  if (!live.name) return;
  const state = live.isOpen ? "open" : "not connected";
  const parts = [`${live.name}: ${state}`, `${count(live.received, "event")} received`];
  if (live.sent) parts.push(`${live.sent} sent`);
  if (requests.aiohttp) parts.push(`${count(requests.aiohttp, "request")} of its script`);
  find("how-aiohttp").textContent = `${parts.join(", ")}.`;
}

// The server names the half in a header, which the browser keeps with each request.
new PerformanceObserver((list) => {
  for (const { initiatorType, serverTiming } of list.getEntries()) {
    const half = serverTiming[0]?.name;
    if (initiatorType === "fetch" && half in requests) requests[half] += 1;
  }
  show();
}).observe({ type: "resource", buffered: true });

export const how = {
  begin(name) {
    live.name = name;
    show();
  },
  open(isOpen) {
    live.isOpen = isOpen;
    show();
  },
  received() {
    live.received += 1;
    show();
  },
  sent() {
    live.sent += 1;
    show();
  },
};
