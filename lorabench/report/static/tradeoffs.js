// Trade-offs: three scatters that share category, axes and algorithms; pictures of a clicked point beside them.
const trade = { category: "all", raw: "score", hidden: new Set(), point: null, other: null };
const shown = (point) => !trade.hidden.has(DATA.points[point].algorithm);

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
const markerSize = (point) =>
  DATA.moments.length < 2
    ? 10
    : 6.5 + 5 * (DATA.moments.indexOf(DATA.points[point].moment) / (DATA.moments.length - 1));

function pairValues(pair) {
  const pick = (column) => {
    const m = meansOf(column, trade.category);
    if (!m) return null;
    return trade.raw === "raw"
      ? { v: m.raw, e: m.rawError, n: m.n, base: m.base }
      : { v: m.score, e: m.scoreError, n: m.n, base: null };
  };
  const x = pair.x === null ? null : pick(pair.x),
    y = pair.y === null ? null : pick(pair.y);
  if (!x || !y) return null;
  return { x, y, points: DATA.points.map((_, i) => i).filter((i) => x.v[i] !== null && y.v[i] !== null && shown(i)) };
}

function pairTraces(pair, values, front) {
  const { x, y, points } = values,
    digits = trade.raw === "raw" ? significant : (v) => fixed(v, 2);
  const bars = (e, ids, color) => ({
    type: "data",
    array: ids.map((i) => e[i] ?? 0),
    thickness: 1,
    width: 0,
    color: color + "80",
  });
  const hover = (i) =>
    [
      `<b>${plain(DATA.points[i].config)}</b>, ${plain(DATA.points[i].moment)}`,
      plain(DATA.points[i].settings),
      `→ ${plain(DATA.columns[pair.x].label)}: ${digits(x.v[i])} ± ${digits(x.e[i])}`,
      `↑ ${plain(DATA.columns[pair.y].label)}: ${digits(y.v[i])} ± ${digits(y.e[i])}`,
      `${x.n[i] ?? 0} and ${y.n[i] ?? 0} class × seed rows`,
    ]
      .filter(Boolean)
      .join("<br>");
  const traces = tracks(points).map((ids) => {
    const algorithm = DATA.points[ids[0]].algorithm,
      color = colorOf(algorithm);
    return {
      type: "scatter",
      mode: "lines+markers",
      x: ids.map((i) => x.v[i]),
      y: ids.map((i) => y.v[i]),
      error_x: bars(x.e, ids, color),
      error_y: bars(y.e, ids, color),
      line: { color: color + "90", width: 1.4 },
      marker: {
        color,
        size: ids.map(markerSize),
        symbol: DATA.algorithms[algorithm].symbol,
        line: { color: cssColor("surface"), width: 1 },
        opacity: 1,
      },
      customdata: ids,
      text: ids.map(hover),
      hovertemplate: "%{text}<extra></extra>",
    };
  });
  if (front.length > 1)
    traces.unshift({
      type: "scatter",
      mode: "lines",
      x: front.map((i) => x.v[i]),
      y: front.map((i) => y.v[i]),
      line: { dash: "dot", width: 2, color: cssColor("muted") },
      hoverinfo: "skip",
    });
  if (x.base !== null && y.base !== null)
    traces.push({
      type: "scatter",
      mode: "markers",
      x: [x.base],
      y: [y.base],
      marker: { symbol: "star", size: 14, color: cssColor("ink") },
      text: [`<b>base model</b><br>${digits(x.base)}, ${digits(y.base)}`],
      hovertemplate: "%{text}<extra></extra>",
    });
  return traces;
}
// Points of the front that are shown, from left to right of their raw or normalised values.
function frontOf(pair, values) {
  const members = (pair.fronts[trade.category]?.[trade.raw] ?? []).filter((i) => values.points.includes(i));
  return members.sort((a, b) => values.x.v[a] - values.x.v[b]);
}

// Why a pair has nothing to draw.
function pairObstacle(pair) {
  if (pair.missing) return `Cannot be drawn: this run did not measure ${pair.missing}.`;
  if (trade.hidden.size) return "All algorithms with values are switched off.";
  return "Cannot be drawn: no config has both values in this category.";
}

// Ranges of both axes, better always up and right, and the pixels of a point inside the axes.
function pairFrame(pair, values, width, height) {
  const margin = { l: 76, r: 14, t: 10, b: 68 }; // room for titles of two lines
  const range = (side, column) => {
    const ends = values.points.flatMap((i) => [side.v[i] - (side.e[i] ?? 0), side.v[i] + (side.e[i] ?? 0)]);
    const found = paddedRange([...ends, side.base], 0.07);
    return trade.raw === "raw" && !DATA.columns[column].higher ? found.reverse() : found;
  };
  const [rx, ry] = [range(values.x, pair.x), range(values.y, pair.y)];
  const [w, h] = [width - margin.l - margin.r, height - margin.t - margin.b];
  const toPixels = (x, y) => [((x - rx[0]) / (rx[1] - rx[0])) * w, (1 - (y - ry[0]) / (ry[1] - ry[0])) * h];
  const toData = (px, py) => [rx[0] + (px / w) * (rx[1] - rx[0]), ry[0] + (1 - py / h) * (ry[1] - ry[0])];
  return { margin, rx, ry, w, h, toPixels, toData };
}

// One label a config: at its latest point on the front, else at its last one; the front's first.
function pairLabels(values, front, frame) {
  const at = (i) => frame.toPixels(values.x.v[i], values.y.v[i]);
  const named = new Map([...front].sort((a, b) => a - b).map((i) => [DATA.points[i].config, i]));
  for (const i of DATA.last) {
    if (values.points.includes(i) && !named.has(DATA.points[i].config)) named.set(DATA.points[i].config, i);
  }
  const item = (text, [x, y], color) => ({ text, x, y, color });
  const items = [...named].map(([text, i]) => item(text, at(i), textColorOf(DATA.points[i].algorithm)));
  if (values.x.base !== null && values.y.base !== null) {
    items.unshift(item("base model", frame.toPixels(values.x.base, values.y.base), cssColor("ink")));
  }
  const points = [...values.points.map(at), ...items.map((i) => [i.x, i.y])];
  const lines = [...tracks(values.points), front].flatMap((ids) => along(ids.map(at)));
  return placeLabels(items, points, lines, frame.w, frame.h).map((label) => {
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
  return front.length > 5 ? [el("details", {}, el("summary", {}, count), members)] : [`${count}: `, ...members];
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
  const height = Math.max(340, Math.min(440, width * 0.82));
  const raw = trade.raw === "raw";
  const frame = pairFrame(pair, values, width, height);
  const front = frontOf(pair, values);
  box.style.height = `${height}px`;
  const layout = layoutOf({
    width,
    height,
    margin: frame.margin,
    annotations: pairLabels(values, front, frame),
    xaxis: axisOf(axisTitle(DATA.columns[pair.x], raw, frame.w), { range: frame.rx }),
    yaxis: axisOf(axisTitle(DATA.columns[pair.y], raw, frame.h), { range: frame.ry }),
  });
  Plotly.react(box, pairTraces(pair, values, front), layout, CONFIG);
  box.removeAllListeners("plotly_click");
  box.on("plotly_click", (event) => {
    if (Number.isInteger(event.points[0]?.customdata)) showPoint(event.points[0].customdata);
  });
  fill(say, ...frontWords(values, front));
}

const pairBoxes = DATA.pairs.map((pair) => {
  const box = el("div", {
      class: "plot",
      role: "img",
      "aria-label": `Scatter: ${pair.title}. The leaderboard holds its numbers.`,
    }),
    say = el("div", { class: "front" });
  byId("tradeoffs-plots").append(
    el("div", { class: "card" }, el("h3", {}, pair.title), el("p", { class: "hint" }, pair.question), box, say),
  );
  live(box, () => drawPair(pair, box, say));
  return () => drawPair(pair, box, say);
});
byId("tradeoffs-plots").append(pointCard);

function algorithmChips(redraw) {
  return Object.keys(DATA.algorithms).map((name) => {
    const chip = el(
      "button",
      {
        class: "chip",
        type: "button",
        "aria-pressed": String(!trade.hidden.has(name)),
        title: "Show or hide",
        onclick: () => {
          if (!trade.hidden.delete(name)) trade.hidden.add(name);
          chip.setAttribute("aria-pressed", String(!trade.hidden.has(name)));
          redraw();
        },
      },
      algorithmMark(name),
      DATA.algorithms[name].label,
    );
    return chip;
  });
}
const redrawPairs = () => pairBoxes.forEach((draw) => draw());
function drawTradeLegend() {
  const grows =
    DATA.moments.length > 1
      ? el("span", { class: "item" }, `small to large: ${DATA.moments[0]} to ${DATA.moments.at(-1)}`)
      : null;
  const star =
    trade.raw === "raw" ? el("span", { class: "item" }, symbolMark("star", cssColor("ink")), "base model") : null;
  fill(byId("tradeoffs-legend"), ...algorithmChips(redrawPairs), grows, star);
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
drawTradeLegend();
redraws.push(() => {
  drawTradeLegend();
  redrawPairs();
});
