// Trade-offs: scatters that share category, axes and configs, one of them with axes of the reader's choice; pictures of a
// clicked point beside them.
const trade = { category: "all", raw: "score", point: null, other: null, x: 0, y: 0 };
const POINT_NAMES = DATA.points.map((p) => `${p.config}, ${p.moment}`);
// Free axes start with the first measurement against what it costs, or against another criterion.
trade.y = Math.max(0, DATA.columns.findIndex((c) => c.headline));
trade.x = COSTS.length ? DATA.columns.length : Math.max(0, DATA.columns.findLastIndex((c) => c.headline));
// The first point of a front: one that a link can leave out, whatever else it asks for.
for (const pair of DATA.pairs.filter((each) => !each.missing).reverse()) {
  const [x, y] = [axisValues(pair.x, "all", false), axisValues(pair.y, "all", false)];
  if (x && y) trade.point = paretoFront(x, y, bothKnown(x, y))[0] ?? trade.point;
}
trade.point ??= DATA.last[0] ?? null;
keep("tradeoffs", trade, {
  category: oneOf(DATA.categories.map((c) => c.key)),
  raw: oneOf(["score", "raw"]),
  point: indexIn(POINT_NAMES),
  other: indexIn(POINT_NAMES),
  x: indexIn(AXES.map((a) => a.key)),
  y: indexIn(AXES.map((a) => a.key)),
});
const inRaw = () => trade.raw === "raw";

// Points of one config and merge ratio, by age: what a line joins.
function tracks(points) {
  const found = new Map();
  for (const i of points) {
    const p = DATA.points[i],
      key = `${p.config}\n${p.scale}`;
    if (!found.has(key)) found.set(key, []);
    found.get(key).push(i);
  }
  return [...found.values()];
}
const momentSize = (k) => (DATA.moments.length < 2 ? 11 : 7.5 + 5.5 * (k / (DATA.moments.length - 1)));
const markerSize = (point) => momentSize(DATA.moments.indexOf(DATA.points[point].moment));

function pairValues(pair) {
  const [x, y] = [pair.x, pair.y].map((side) => (side === null ? null : axisValues(side, trade.category, inRaw())));
  if (!x || !y) return null;
  return { x, y, points: bothKnown(x, y).filter(shown) };
}

// What is known of a point, in lines: its value on each axis, with its error.
function pairWords(pair, values, i) {
  const line = (arrow, axis, side) => {
    const digits = axisDigits(axis, inRaw());
    const error = side.e[i] === null ? "" : ` ± ${digits(side.e[i])}`;
    return `${arrow} ${plain(AXES[axis].label)}: ${digits(side.v[i])}${error}${AXES[axis].unit ? ` ${AXES[axis].unit}` : ""}`;
  };
  const n = [values.x, values.y].map((side) => side.n[i]).filter((count) => count !== null);
  return [
    `<b>${plain(DATA.points[i].config)}</b>, ${plain(DATA.points[i].moment)}`,
    plain(DATA.points[i].settings),
    line("→", pair.x, values.x),
    line("↑", pair.y, values.y),
    n.length ? `${n.join(" and ")} class × seed rows` : "",
  ]
    .filter(Boolean)
    .join("<br>");
}

function trackTrace(pair, values, ids) {
  const { x, y } = values;
  const { config } = DATA.points[ids[0]];
  const { algorithm, symbol, dash } = DATA.configs[config];
  const color = colorOf(algorithm);
  const bars = (e) => ({ type: "data", array: ids.map((i) => e[i] ?? 0), thickness: 1, width: 0, color: `${color}80` });
  return {
    type: "scatter",
    mode: "lines+markers",
    opacity: strength(config),
    x: ids.map((i) => x.v[i]),
    y: ids.map((i) => y.v[i]),
    ...(x.e.some((e) => e !== null) ? { error_x: bars(x.e) } : {}),
    ...(y.e.some((e) => e !== null) ? { error_y: bars(y.e) } : {}),
    line: { color: `${color}90`, width: 1.4, dash },
    marker: {
      color,
      size: ids.map(markerSize),
      symbol,
      line: symbol.includes("-open") ? { width: 1.8 } : { color: cssColor("surface"), width: 1 },
      opacity: 1,
    },
    customdata: ids,
    text: ids.map((i) => pairWords(pair, values, i)),
    hovertemplate: "%{text}<extra></extra>",
  };
}

function pairTraces(pair, values, front) {
  const { x, y } = values;
  // Those that stand out are drawn last, over the others.
  const ordered = tracks(values.points).sort(
    (a, b) => litConfig(DATA.points[a[0]].config) - litConfig(DATA.points[b[0]].config),
  );
  const traces = ordered.map((ids) => trackTrace(pair, values, ids));
  if (front.length > 1)
    traces.unshift({
      type: "scatter",
      mode: "lines",
      x: front.map((i) => x.v[i]),
      y: front.map((i) => y.v[i]),
      line: { dash: "dot", width: 2, color: cssColor("muted") },
      hoverinfo: "skip",
    });
  if (x.base !== null && y.base !== null) {
    const [wordsX, wordsY] = [axisDigits(pair.x, inRaw())(x.base), axisDigits(pair.y, inRaw())(y.base)];
    traces.push({
      type: "scatter",
      mode: "markers",
      x: [x.base],
      y: [y.base],
      marker: { symbol: "asterisk-open", size: 12, color: cssColor("ink"), line: { width: 2 } },
      text: [`<b>base model</b><br>${wordsX}, ${wordsY}`],
      hovertemplate: "%{text}<extra></extra>",
    });
  }
  return traces;
}
// Why a pair has nothing to draw.
function pairObstacle(pair) {
  if (pair.missing) return `Cannot be drawn: this run did not measure ${pair.missing}.`;
  if (CONFIGS.filter(showsConfig).length < CONFIGS.length) return "No config that passes the filter has both values.";
  return "Cannot be drawn: no config has both values in this category.";
}

// Ranges of both axes, better always up and right, and the pixels of a point inside the axes. A logarithmic axis is
// counted in powers of ten, as plotly counts its ranges and annotations.
function pairFrame(values, width, height) {
  const margin = { l: 76, r: 14, t: TOP, b: 68 }; // room for titles of two lines
  const units = (side) => (side.log ? Math.log10 : (v) => v);
  const [ux, uy] = [units(values.x), units(values.y)];
  const range = (side, unit) => {
    const ends = values.points.flatMap((i) => [side.v[i] - (side.e[i] ?? 0), side.v[i] + (side.e[i] ?? 0)]);
    const found = paddedRange([...ends, ...(side.base === null ? [] : [side.base])].map(unit), 0.07);
    return side.higher ? found : found.reverse();
  };
  const [rx, ry] = [range(values.x, ux), range(values.y, uy)];
  const [w, h] = [width - margin.l - margin.r, height - margin.t - margin.b];
  const toPixels = (x, y) => [((ux(x) - rx[0]) / (rx[1] - rx[0])) * w, (1 - (uy(y) - ry[0]) / (ry[1] - ry[0])) * h];
  const toData = (px, py) => [rx[0] + (px / w) * (rx[1] - rx[0]), ry[0] + (1 - py / h) * (ry[1] - ry[0])];
  return { margin, rx, ry, w, h, toPixels, toData };
}

// Pixels of the error bars of a point: from left to right, and from bottom to top.
function barsOf(values, frame, i) {
  const { x, y } = values;
  const [ex, ey] = [x.e[i] ?? 0, y.e[i] ?? 0];
  return [
    [frame.toPixels(x.v[i] - ex, y.v[i]), frame.toPixels(x.v[i] + ex, y.v[i])],
    [frame.toPixels(x.v[i], y.v[i] - ey), frame.toPixels(x.v[i], y.v[i] + ey)],
  ];
}

// One label a config: at its latest point on the front, else at its last one; the front's first. Where some configs stand
// out, they alone are named.
function pairLabels(values, front, frame) {
  const at = (i) => frame.toPixels(values.x.v[i], values.y.v[i]);
  const named = new Map([...front].sort((a, b) => a - b).map((i) => [DATA.points[i].config, i]));
  for (const i of DATA.last) {
    if (values.points.includes(i) && !named.has(DATA.points[i].config)) named.set(DATA.points[i].config, i);
  }
  const item = (text, [x, y], color) => ({ text, x, y, color });
  const items = [...named]
    .filter(([config]) => litConfig(config))
    .map(([config, i]) => item(config, at(i), textColorOf(DATA.points[i].algorithm)));
  if (values.x.base !== null && values.y.base !== null) {
    items.unshift(item("base model", frame.toPixels(values.x.base, values.y.base), cssColor("ink")));
  }
  const solid = values.points.filter((i) => litConfig(DATA.points[i].config)); // what is faded may lie behind a name
  const points = [...solid.map(at), ...items.map((i) => [i.x, i.y])];
  const bars = solid.flatMap((i) => barsOf(values, frame, i));
  const lines = [...tracks(solid), front].flatMap((ids) => along(ids.map(at)));
  return placeLabels(items, points, bars, lines, frame.w, frame.h).map((label) => {
    const [x, y] = frame.toData(label.x, label.y);
    const font = { size: 12, color: label.color };
    return { x, y, text: plain(label.text), showarrow: false, borderpad: 0, font, bgcolor: `${cssColor("surface")}b0` };
  });
}

function frontWords(values, front) {
  const members = front.flatMap((i, k) => [
    k ? ", " : "",
    el("b", {}, DATA.points[i].config),
    DATA.moments.length > 1 ? ` ${DATA.points[i].moment}` : "",
  ]);
  const count = `Pareto front: ${front.length} of ${values.points.length} points`;
  if (front.length <= 5) return [`${count}: `, ...members];
  return [el("details", { open: printing }, el("summary", {}, count), members)];
}

function drawPair(pair, box, say) {
  const values = pairValues(pair);
  if (!values || !values.points.length) {
    Plotly.purge(box);
    box.style.height = "auto";
    fill(box, note(pairObstacle(pair)));
    fill(say);
    return;
  }
  if (box.querySelector(".note")) fill(box);
  const width = box.clientWidth;
  const height = printing ? 340 : Math.max(340, Math.min(460, width * 0.82)); // two on a sheet
  const frame = pairFrame(values, width, height);
  const front = paretoFront(values.x, values.y, values.points); // of what is shown: that is what is chosen from
  box.style.height = `${height}px`;
  const axis = (number, side, range, length) =>
    axisOf(axisWords(number, inRaw(), length), { range, ...(side.log ? { type: "log", ...logTicks(range) } : { type: "linear" }) });
  const layout = layoutOf({
    width,
    height,
    margin: frame.margin,
    annotations: pairLabels(values, front, frame),
    xaxis: axis(pair.x, values.x, frame.rx, frame.w),
    yaxis: axis(pair.y, values.y, frame.ry, frame.h),
  });
  Plotly.react(box, pairTraces(pair, values, front), layout, CONFIG);
  box.removeAllListeners("plotly_click");
  box.on("plotly_click", (event) => {
    if (Number.isInteger(event.points[0]?.customdata)) showPoint(event.points[0].customdata);
  });
  fill(say, ...frontWords(values, front));
}

function pairCard(pair, about) {
  const name = `Scatter: ${pair.title}. The leaderboard and the card Behind a point hold its numbers.`;
  const box = el("div", { class: "plot", role: "group", "aria-label": name });
  const say = el("div", { class: "front" });
  byId("tradeoffs-plots").append(el("div", { class: "card" }, el("h3", {}, pair.title), about, box, say));
  const draw = () => drawPair(pair, box, say);
  live(box, draw);
  return draw;
}
const pairBoxes = DATA.pairs.map((pair) => pairCard(pair, el("p", { class: "hint" }, pair.question)));

// The pair of the reader's choice. Which way is better is said at its axes.
const freePair = { title: "Any two", missing: "", get x() { return trade.x; }, get y() { return trade.y; } }; // prettier-ignore
function freeControls() {
  const side = (label, key) =>
    selector(label, axisOptions(), trade[key], (value) => {
      trade[key] = Number(value);
      drawFree();
    });
  return el("div", { class: "controls", id: "free-controls" }, side("Horizontal", "x"), side("Vertical", "y"));
}
let drawFree = () => {};
if (AXES.length && DATA.points.length) {
  drawFree = pairCard(freePair, freeControls());
  pairBoxes.push(drawFree);
}
byId("tradeoffs-plots").append(pointCard);

const redrawPairs = () => pairBoxes.forEach((draw) => draw());
function drawTradeLegend() {
  const item = (mark, text) => el("span", { class: "item" }, mark, text);
  const sized = (k) => el("span", { class: "size", style: `width:${momentSize(k)}px;height:${momentSize(k)}px` });
  const sizes =
    DATA.moments.length > 1
      ? item(DATA.moments.map((_, k) => sized(k)), `${DATA.moments.join(", ")} (small to large)`)
      : null;
  const stroke = (path, dash) =>
    el(
      "svg",
      { width: 26, height: 14, viewBox: "0 0 26 14", "aria-hidden": "true" },
      el("path", { d: path, class: "stroke", "stroke-dasharray": dash }),
    );
  fill(
    byId("tradeoffs-legend"),
    ...configLegend(),
    el(
      "div",
      { class: "family" },
      sizes,
      item(stroke("M0 7h26M13 1v12", null), "± one standard error"),
      item(stroke("M0 7h26", "2 3"), "Pareto front"),
      inRaw() ? item(el("b", { "aria-hidden": "true" }, "✳"), "base model") : null,
    ),
  );
}
fill(
  byId("tradeoffs-controls"),
  selector("Category", categoryOptions(), trade.category, (value) => {
    trade.category = value;
    redrawPairs();
    drawPointPictures();
  }),
  selector(
    "Axes",
    [
      ["score", "Normalised scores"],
      ["raw", "Raw values, with the base model"],
    ],
    trade.raw,
    (value) => {
      trade.raw = value;
      drawTradeLegend();
      redrawPairs();
    },
  ),
);
configBar(byId("tradeoffs-controls"));
drawTradeLegend();
redraws.push(() => {
  drawTradeLegend();
  redrawPairs();
});
