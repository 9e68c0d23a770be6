// Two factors against each other: a picture and the scores for each pair of their levels, from one noise, and curves over a
// numeric one. All other factors are held at one level.
const settingName = (p) => (DATA.swept ? p.config.split("+")[0] : p.config);
const asNumber = (text) => (text !== "" && Number.isFinite(Number(text)) ? Number(text) : null);
const allFactors = [
  { key: "config", label: "Config", of: settingName },
  { key: "age", label: DATA.ageLabel || "Moment", of: (p) => (p.age === null ? "end" : String(p.age)) },
  { key: "scale", label: "Merge ratio", of: (p) => String(p.scale) },
  ...DATA.own.map((label, k) => ({ key: `own${k}`, label, of: (p) => p.own[k] || "none" })),
].map((factor) => {
  const levels = [...new Set(DATA.points.map(factor.of))];
  const numeric = levels.every((level) => asNumber(level) !== null);
  if (numeric) levels.sort((a, b) => a - b);
  return { ...factor, levels, numeric };
});
// Words that each config has one of say no more than its name.
function isNameOfConfig(factor) {
  const pairs = new Set(DATA.points.map((p) => JSON.stringify([settingName(p), factor.of(p)])));
  return factor.key !== "config" && !factor.numeric && pairs.size === new Set(DATA.points.map(settingName)).size;
}
const varied = allFactors.filter((factor) => factor.levels.length > 1 && !isNameOfConfig(factor));
// A grid of configs and epochs is what the other sections are for.
const isSwept = varied.some((factor) => !["config", "age"].includes(factor.key)) && varied.length > 1;

// Of the pairs of levels of two factors the share that was drawn, where the others are held where most were.
function drawnShare(x, y) {
  const others = varied.filter((factor) => factor !== x && factor !== y);
  const groups = new Map();
  for (const p of DATA.points) {
    const name = JSON.stringify(others.map((factor) => factor.of(p)));
    groups.set(name, (groups.get(name) ?? new Set()).add(JSON.stringify([x.of(p), y.of(p)])));
  }
  return Math.max(...[...groups.values()].map((pairs) => pairs.size)) / (x.levels.length * y.levels.length);
}

// Rows and columns: what is neither config nor epoch comes first, and a pair without gaps.
function firstFactors() {
  const order = (factor) => ({ scale: 0, age: 2, config: 3 })[factor.key] ?? 1;
  const [x, ...others] = [...varied].sort((a, b) => order(a) - order(b));
  const [y] = others.sort((a, b) => drawnShare(x, b) - drawnShare(x, a));
  return { x: x.key, y: y.key };
}
const settings = { ...(isSwept ? firstFactors() : { x: "", y: "" }), held: {}, prompt: 0 };
if (isSwept)
  keep("settings", settings, {
    x: oneOf(varied.map((factor) => factor.key)),
    y: oneOf(varied.map((factor) => factor.key)),
    prompt: { write: String, read: (text) => asNumber(text) ?? undefined },
  });
const factorOf = (key) => varied.find((factor) => factor.key === key);
const heldFactors = () => varied.filter((factor) => factor.key !== settings.x && factor.key !== settings.y);

const isDrawn = (levels) => DATA.points.some((p) => Object.entries(levels).every(([key, level]) => factorOf(key).of(p) === level));

// For each combination of the factors that are held the points that have it; the largest is shown, at the last
// epoch, unless another is asked for.
function heldLevels() {
  const others = heldFactors();
  const groups = new Map();
  for (const p of DATA.points) {
    const levels = others.map((factor) => factor.of(p));
    const fits = others.every((factor, k) => settings.held[factor.key] === undefined || settings.held[factor.key] === levels[k]);
    const name = JSON.stringify(levels);
    if (fits) groups.set(name, (groups.get(name) ?? 0) + 1);
  }
  const age = others.findIndex((factor) => factor.key === "age");
  const later = (a, b) => Number(JSON.parse(b)[age]) - Number(JSON.parse(a)[age]) || 0;
  const [best] = [...groups].sort((a, b) => b[1] - a[1] || later(a[0], b[0]));
  return best ? JSON.parse(best[0]) : others.map((factor) => settings.held[factor.key] ?? factor.levels[0]);
}

// The number of the point with these levels; -1 where nothing was drawn so.
function pointAt(levels) {
  return DATA.points.findIndex((p) => Object.entries(levels).every(([key, level]) => factorOf(key).of(p) === level));
}

function settingScores(i) {
  const rows = DATA.columns.flatMap((column, c) => {
    const m = column.headline ? meansOf(c, "all") : null;
    if (!m || m.score[i] === null) return [];
    return [el("tr", {}, el("th", { scope: "row" }, column.criterionLabel), el("td", {}, withError(m.score[i], m.scoreError[i])))];
  });
  return el("table", { class: "scores" }, el("tbody", {}, rows));
}

function settingCell(concept, k, i) {
  if (i < 0) return el("td", {}, el("span", { class: "none" }, "not drawn"));
  const row = concept?.rows.find((each) => each.point === i && (each.seed === null || each.seed === gallery.seed));
  return el("td", {}, row && k < row.cells.length ? thumbnail(concept, row, k, pointName(i)) : null, settingScores(i));
}

function settingTable(held) {
  const [x, y] = [factorOf(settings.x), factorOf(settings.y)];
  const concept = DATA.gallery.concepts[gallery.concept];
  const points = y.levels.map((b) => x.levels.map((a) => pointAt({ ...held, [x.key]: a, [y.key]: b })));
  const usedX = x.levels.map((_, c) => c).filter((c) => points.some((row) => row[c] >= 0));
  const usedY = y.levels.map((_, r) => r).filter((r) => points[r].some((i) => i >= 0));
  const head = el("tr", {}, el("th", { scope: "col" }, `${y.label} by ${x.label.toLowerCase()}`), usedX.map((c) => el("th", { scope: "col" }, x.levels[c])));
  const rows = usedY.map((r) =>
    el("tr", {}, el("th", { scope: "row" }, y.levels[r]), usedX.map((c) => settingCell(concept, settings.prompt, points[r][c]))),
  );
  return el("table", { class: "grid settings" }, el("thead", {}, head), el("tbody", {}, rows));
}

// Lines of one hue, light to dark, where their factor has an order; of several where it has none.
const LINES = ["#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#7f7f7f"];
function lineColors(factor) {
  const n = factor.levels.length;
  if (!factor.numeric) return factor.levels.map((_, k) => LINES[k % LINES.length]);
  return factor.levels.map((_, k) => `hsl(${isDark() ? 205 : 212} 75% ${isDark() ? 45 + (40 * k) / Math.max(1, n - 1) : 72 - (47 * k) / Math.max(1, n - 1)}%)`);
}

function drawSettingCurve(box, c, held) {
  const [x, y] = [factorOf(settings.x), factorOf(settings.y)];
  const m = meansOf(c, "all"),
    colors = lineColors(y);
  const lines = y.levels.map((b, k) => {
    const ids = x.levels.map((a) => pointAt({ ...held, [x.key]: a, [y.key]: b })).filter((i) => i >= 0 && m.score[i] !== null);
    return {
      type: "scatter",
      mode: "lines+markers",
      name: b,
      line: { color: colors[k], width: 2 },
      marker: { color: colors[k], size: 8 },
      x: ids.map((i) => Number(x.of(DATA.points[i]))),
      y: ids.map((i) => m.score[i]),
      error_y: { type: "data", array: ids.map((i) => m.scoreError[i] ?? 0), thickness: 1.2, width: 3, color: colors[k] },
      text: ids.map((i) => `<b>${plain(y.label)} ${plain(b)}</b>, ${plain(x.label)} ${plain(x.of(DATA.points[i]))}<br>${withError(m.score[i], m.scoreError[i])}`),
      hovertemplate: "%{text}<extra></extra>",
    };
  });
  const ticks = x.levels.map(Number);
  const layout = layoutOf({
    width: box.clientWidth,
    height: 280,
    margin: { l: 50, r: 14, t: TOP, b: 44 },
    xaxis: axisOf(x.label, { tickvals: ticks.length <= 8 ? ticks : undefined }),
    yaxis: axisOf("", { range: paddedRange(lines.flatMap((line) => line.y.flatMap((v, k) => [v - line.error_y.array[k], v + line.error_y.array[k]]))) }),
  });
  Plotly.react(box, lines.filter((line) => line.x.length), layout, CONFIG);
}

function drawSettings() {
  const others = heldFactors(),
    levels = heldLevels();
  const held = Object.fromEntries(others.map((factor, k) => [factor.key, levels[k]]));
  const options = varied.map((factor) => [factor.key, factor.label]);
  const set = (key, other) => (value) => {
    if (value === settings[other]) settings[other] = settings[key];
    settings[key] = value;
    settings.held = {};
    drawSettings();
  };
  const concept = DATA.gallery.concepts[gallery.concept];
  const prompts = (concept?.columns ?? []).map((c, k) => [k, `${c.type} ${c.index + 1}: ${c.prompt}`]);
  fill(
    byId("settings-controls"),
    selector("Across", options, settings.x, set("x", "y")),
    selector("Down", options, settings.y, set("y", "x")),
    ...others.map((factor, k) =>
      selector(`${factor.label}, held at`, factor.levels.map((level) => [level, level]), levels[k], (value) => {
        const wanted = { ...settings.held, [factor.key]: value };
        settings.held = isDrawn(wanted) ? wanted : { [factor.key]: value };
        drawSettings();
      }),
    ),
    prompts.length
      ? selector("Picture", prompts, settings.prompt, (value) => {
          settings.prompt = Number(value);
          drawSettings();
        })
      : null,
  );
  fill(byId("settings-grid"), settingTable(held));
  const host = byId("settings-plots"),
    x = factorOf(settings.x),
    y = factorOf(settings.y);
  for (const box of host.querySelectorAll(".plot")) Plotly.purge(box);
  if (!x.numeric) {
    fill(byId("settings-legend"));
    return fill(host, note(`Curves need numbers: put a factor that has them across, instead of ${x.label.toLowerCase()}.`));
  }
  const colors = lineColors(y);
  fill(byId("settings-legend"), el("div", { class: "family" }, el("span", {}, `${y.label}: `), y.levels.map((level, k) => el("span", { class: "key" }, symbolMark("circle", colors[k]), ` ${level} `))));
  const boxes = DATA.columns.flatMap((column, c) =>
    column.headline && meansOf(c, "all") ? [[c, el("div", { class: "plot", role: "group", "aria-label": `${column.criterionLabel} over ${x.label}` })]] : [],
  );
  fill(host, ...boxes.map(([c, box]) => el("div", { class: "card" }, el("h3", {}, DATA.columns[c].criterionLabel), el("p", { class: "hint" }, DATA.columns[c].label), box)));
  for (const [c, box] of boxes) if (box.clientWidth) drawSettingCurve(box, c, held);
  return null;
}
if (isSwept) {
  byId("settings").hidden = false;
  for (const link of document.querySelectorAll('a[href="#settings"]')) link.parentElement.hidden = false;
  live(byId("settings"), drawSettings);
  redraws.push(drawSettings);
}
