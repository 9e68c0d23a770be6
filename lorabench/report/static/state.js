// What the page shows is in its address, behind the section: a link opens the view again. What is as at the start is left
// out, and what this page does not know is not read.
const kept = [];
const asked = new URLSearchParams(location.hash.split("?")[1] ?? "");
let place = location.hash.slice(1).split("?")[0];

// How a value is written and read; `read` gives undefined for what is not there.
const oneOf = (values) => ({ write: String, read: (text) => values.find((value) => String(value) === text) });
const indexIn = (names) => ({
  write: (i) => String(names[i] ?? ""),
  read: (text) => (text === "" ? null : names.includes(text) ? names.indexOf(text) : undefined),
});
const someOf = (names) => ({
  write: (set) => JSON.stringify([...set]),
  read: (text) => {
    try {
      return new Set(JSON.parse(text).filter((name) => names.includes(name)));
    } catch {
      return undefined;
    }
  },
});
const anyText = { write: String, read: String };

// Keep `state[key]` in the address as `section.key`, and take it from there.
function keep(section, state, kinds) {
  for (const [key, kind] of Object.entries(kinds)) {
    const name = `${section}.${key}`;
    kept.push({ name, state, key, kind, initial: kind.write(state[key]) });
    const value = asked.has(name) ? kind.read(asked.get(name)) : undefined;
    if (value !== undefined) state[key] = value;
  }
}

function save() {
  const written = new URLSearchParams();
  for (const { name, state, key, kind, initial } of kept) {
    const text = kind.write(state[key]);
    if (text !== initial) written.set(name, text);
  }
  const query = written.toString();
  const address = `#${place}${query ? `?${query}` : ""}`;
  if (address !== location.hash && (address !== "#" || location.hash)) history.replaceState(null, "", address);
}
// Everything that changes the view starts with one of these, and has been handled when the timer runs.
for (const type of ["click", "change", "input"])
  addEventListener(type, (event) => {
    const inside = event.target.closest?.(".section");
    const link = event.target.closest?.('a[href^="#"]');
    if (link) place = link.hash.slice(1);
    else if (inside) place = inside.id;
    setTimeout(save, type === "input" ? 400 : 0);
  });
addEventListener("hashchange", () => {
  if (location.hash.includes("?")) location.reload();
});
// The browser finds no element of such a name; charts above the section grow when they are drawn.
function returnToPlace() {
  const section = location.hash.includes("?") && document.getElementById(place);
  if (!section) return;
  const go = () => section.scrollIntoView({ behavior: "instant" });
  go();
  const grown = new ResizeObserver(go);
  grown.observe(document.body);
  for (const type of ["wheel", "touchstart", "keydown", "pointerdown"])
    addEventListener(type, () => grown.disconnect(), { once: true, passive: true });
  setTimeout(() => grown.disconnect(), 3000);
}
