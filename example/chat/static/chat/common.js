// What the room and the list of rooms share: avatars and times.

export function element(tag, className, text) {
  const made = document.createElement(tag);
  if (className) made.className = className;
  // textContent, never innerHTML: whatever a person wrote stays text.
  if (text !== undefined) made.textContent = text;
  return made;
}

// The same name has the same colour everywhere, without anybody storing it.
function hue(name) {
  let hash = 7;
  for (const letter of name) hash = (hash * 31 + letter.codePointAt(0)) % 3600;
  return (hash * 137) % 360;
}

export function avatar(name) {
  const made = element("span", "avatar", [...name][0].toUpperCase());
  made.style.setProperty("--hue", hue(name));
  made.ariaHidden = "true";
  return made;
}

const clock = new Intl.DateTimeFormat(undefined, { timeStyle: "short" });
const date = new Intl.DateTimeFormat(undefined, { weekday: "long", day: "numeric", month: "long" });
const shortDate = new Intl.DateTimeFormat(undefined, { day: "numeric", month: "short" });
const full = new Intl.DateTimeFormat(undefined, { dateStyle: "full", timeStyle: "short" });
const relative = new Intl.RelativeTimeFormat(undefined, { numeric: "auto" });

function daysAgo(when) {
  const midnight = (day) => new Date(day).setHours(0, 0, 0, 0);
  return Math.round((midnight(Date.now()) - midnight(when)) / 86_400_000);
}

// "Today", "Yesterday" or the date.
export function dayName(when) {
  const days = daysAgo(when);
  const name = days < 2 ? relative.format(-days, "day") : date.format(when);
  return name[0].toUpperCase() + name.slice(1);
}

export function fillTime(time, when, { short = false } = {}) {
  time.dateTime = when.toISOString();
  time.textContent = short && daysAgo(when) > 0 ? shortDate.format(when) : clock.format(when);
  time.title = full.format(when);
}
