// Data, elements, selectors, theme: what every section of the page uses.
const DATA = JSON.parse(document.getElementById("data").textContent);
const byId = (id) => document.getElementById(id);

// Text only ever enters the page as text nodes, so names of configs cannot become markup.
function el(tag, props = {}, ...children) {
  const svg = ["svg", "rect", "line", "path", "circle"].includes(tag);
  const node = svg ? document.createElementNS("http://www.w3.org/2000/svg", tag) : document.createElement(tag);
  for (const [key, value] of Object.entries(props)) {
    if (key.startsWith("on")) node.addEventListener(key.slice(2), value);
    else if (value !== null && value !== false) node.setAttribute(key, value === true ? "" : value);
  }
  for (const child of children.flat()) if (child !== null && child !== undefined) node.append(child);
  return node;
}

const fill = (node, ...children) => {
  node.replaceChildren(...children.flat().filter((c) => c !== null));
  return node;
};
const note = (text, kind = "") => el("p", { class: `note ${kind}` }, text);
const minus = (text) => text.replace("-", "−");
const fixed = (value, digits) => (value === null ? "–" : minus(value.toFixed(digits)));
const signed = (value, digits) => (value > 0 ? "+" : "") + fixed(value, digits);
function significant(value, digits = 3) {
  if (value === null || value === undefined) return "–";
  const size = Math.abs(value);
  if (size !== 0 && (size < 1e-3 || size >= 1e6)) return minus(value.toExponential(digits - 1));
  return minus(size >= 10 ** digits ? value.toFixed(0) : value.toPrecision(digits));
}
const withError = (value, error, digits = 2) =>
  error === null ? fixed(value, digits) : `${fixed(value, digits)} ± ${fixed(error, digits)}`;

// options: [value, text] or [group, [[value, text], ...]]
function selector(label, options, value, onchange) {
  const option = ([key, text]) => el("option", { value: key, selected: String(key) === String(value) }, text);
  const items = options.map((o) =>
    Array.isArray(o[1]) ? el("optgroup", { label: o[0] }, o[1].map(option)) : option(o),
  );
  const select = el("select", { onchange: () => onchange(select.value) }, items);
  return el("label", {}, label, select);
}

const categoryOptions = () => DATA.categories.map((c) => [c.key, c.label]);
const columnText = (c) =>
  `${c.label}${c.details ? ` · ${c.details}` : ""}${c.doubts.length ? " · fails its audit" : ""}`;
function columnOptions(numbers) {
  const groups = new Map();
  for (const i of numbers) {
    const c = DATA.columns[i];
    if (!groups.has(c.criterionLabel)) groups.set(c.criterionLabel, []);
    groups.get(c.criterionLabel).push([i, columnText(c)]);
  }
  return [...groups];
}
const meansOf = (column, category) => DATA.means[column]?.[category] ?? null;

// --- theme ---
const THEMES = ["auto", "light", "dark"];
const prefersDark = matchMedia("(prefers-color-scheme: dark)");
const redraws = [];
let theme = "auto";
let printing = false;
try {
  theme = localStorage.getItem("lorabench-theme") ?? "auto";
} catch {
  /* files may be denied storage */
}
const isDark = () => !printing && (theme === "dark" || (theme === "auto" && prefersDark.matches));
const colorOf = (algorithm) => DATA.algorithms[algorithm]?.[isDark() ? "dark" : "light"] ?? "#808080";
const textColorOf = (algorithm) => DATA.algorithms[algorithm]?.[isDark() ? "dark" : "text"] ?? "#808080";
const cssColor = (name) => getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();

function applyTheme() {
  document.documentElement.dataset.theme = isDark() ? "dark" : "light";
  byId("theme").textContent = `Theme: ${theme}`;
  for (const dot of document.querySelectorAll(".dot[data-algorithm]"))
    dot.style.background = colorOf(dot.dataset.algorithm);
}
function redrawAll() {
  applyTheme();
  for (const redraw of redraws) redraw();
}
byId("theme").addEventListener("click", () => {
  theme = THEMES[(THEMES.indexOf(theme) + 1) % THEMES.length];
  try {
    localStorage.setItem("lorabench-theme", theme);
  } catch {
    /* the choice lasts until the page is closed */
  }
  redrawAll();
});
prefersDark.addEventListener("change", redrawAll);
// On paper: light, as wide as a sheet, and everything that was folded open.
function paper(now) {
  if (printing === now) return;
  printing = now;
  document.body.classList.toggle("printing", now);
  redrawAll();
  for (const fold of document.querySelectorAll("details")) {
    if (now && !fold.open) fold.dataset.folded = "";
    if (now || "folded" in fold.dataset) fold.open = now;
    if (!now) delete fold.dataset.folded;
  }
}
addEventListener("beforeprint", () => paper(true));
addEventListener("afterprint", () => paper(false));
applyTheme();

const SYMBOL_PATHS = {
  circle: "M8 3a5 5 0 1 0 .01 0z",
  square: "M3.5 3.5h9v9h-9z",
  diamond: "M8 2l6 6-6 6-6-6z",
  "triangle-up": "M8 2.5l6 10.5H2z",
  cross: "M6 2h4v4h4v4h-4v4H6v-4H2V6h4z",
  "triangle-down": "M8 13.5l6-10.5H2z",
  "triangle-left": "M2.5 8l10.5-6v12z",
  "triangle-right": "M13.5 8L3 2v12z",
  hourglass: "M3 2.5h10l-10 11h10z",
  bowtie: "M2.5 3v10l11-10v10z",
  star: "M8 1.5l2 4.5 5 .5-3.7 3.3 1.1 4.8L8 12l-4.4 2.6 1.1-4.8L1 6.5l5-.5z",
  x: "M4 2l4 4 4-4 2 2-4 4 4 4-2 2-4-4-4 4-2-2 4-4-4-4z",
};
// A marker by plotly's name of it: filled, "-open", or "-open-dot"; with `dash` on a piece of its line.
function symbolMark(symbol, color, dash = null) {
  const [, shape, open, dot] = symbol.match(/^(.*?)(-open)?(-dot)?$/);
  const look = open ? { fill: dash ? "var(--surface)" : "none", stroke: color, "stroke-width": 1.7 } : { fill: color };
  const line = { d: "M-12 8H28", fill: "none", stroke: color, "stroke-width": 2 };
  const dashes = dash === "solid" ? null : dash?.replaceAll("px", "");
  return el(
    "svg",
    { width: dash ? 35 : 14, height: 14, viewBox: dash ? "-12 0 40 16" : "0 0 16 16", "aria-hidden": "true" },
    dash ? el("path", { ...line, "stroke-dasharray": dashes }) : null,
    el("path", { d: SYMBOL_PATHS[shape], "stroke-linejoin": "round", ...look }),
    dot ? el("circle", { cx: 8, cy: 8.2, r: 1.5, fill: color }) : null,
  );
}
const configMark = (config) => symbolMark(DATA.configs[config].symbol, colorOf(DATA.configs[config].algorithm));
const lineMark = (config) =>
  symbolMark(DATA.configs[config].symbol, colorOf(DATA.configs[config].algorithm), DATA.configs[config].dash);

// --- contents: the section on screen is marked ---
const links = [...document.querySelectorAll("#contents li a")];
const seen = new IntersectionObserver(
  (entries) => {
    for (const entry of entries) {
      if (!entry.isIntersecting) continue;
      for (const link of links) {
        const here = link.hash === `#${entry.target.id}`;
        if (here) {
          link.setAttribute("aria-current", "true");
          link.parentElement.parentElement.scrollLeft = link.offsetLeft - 40;
        } else link.removeAttribute("aria-current");
      }
    }
  },
  { rootMargin: "-20% 0px -70% 0px" },
);
for (const section of document.querySelectorAll(".section")) seen.observe(section);
