// Trade-offs: three scatters that share category, axes and algorithms; pictures of a clicked point beside them.
const trade = { category: "all", raw: "score", hidden: new Set(), point: null };
const shown = (point) => !trade.hidden.has(DATA.points[point].algorithm);

// Points of one config and merge ratio, by age: what a line joins.
function tracks(points) {
  const found = new Map();
  for (const i of points) {
    const p = DATA.points[i], key = `${p.config}\n${p.scale}`;
    if (!found.has(key)) found.set(key, []);
    found.get(key).push(i);
  }
  return [...found.values()];
}
const markerSize = (point) => (DATA.moments.length < 2 ? 10 : 6.5 + 5 * (DATA.moments.indexOf(DATA.points[point].moment) / (DATA.moments.length - 1)));

function pairValues(pair) {
  const pick = (column) => {
    const m = meansOf(column, trade.category);
    if (!m) return null;
    return trade.raw === "raw" ? { v: m.raw, e: m.rawError, n: m.n, base: m.base } : { v: m.score, e: m.scoreError, n: m.n, base: null };
  };
  const x = pair.x === null ? null : pick(pair.x), y = pair.y === null ? null : pick(pair.y);
  if (!x || !y) return null;
  return { x, y, points: DATA.points.map((_, i) => i).filter((i) => x.v[i] !== null && y.v[i] !== null && shown(i)) };
}

function pairTraces(pair, values) {
  const { x, y, points } = values, digits = trade.raw === "raw" ? significant : (v) => fixed(v, 2);
  const bars = (e, ids, color) => ({ type: "data", array: ids.map((i) => e[i] ?? 0), thickness: 1, width: 0, color: color + "80" });
  const hover = (i) => [`<b>${plain(DATA.points[i].config)}</b>, ${plain(DATA.points[i].moment)}`, plain(DATA.points[i].settings),
    `→ ${plain(DATA.columns[pair.x].label)}: ${digits(x.v[i])} ± ${digits(x.e[i])}`, `↑ ${plain(DATA.columns[pair.y].label)}: ${digits(y.v[i])} ± ${digits(y.e[i])}`, `${x.n[i] ?? 0} and ${y.n[i] ?? 0} class × seed rows`].filter(Boolean).join("<br>");
  const traces = tracks(points).map((ids) => {
    const algorithm = DATA.points[ids[0]].algorithm, color = colorOf(algorithm);
    return { type: "scatter", mode: "lines+markers", x: ids.map((i) => x.v[i]), y: ids.map((i) => y.v[i]), error_x: bars(x.e, ids, color), error_y: bars(y.e, ids, color),
      line: { color: color + "90", width: 1.4 }, marker: { color, size: ids.map(markerSize), symbol: DATA.algorithms[algorithm].symbol, line: { color: cssColor("surface"), width: 1 }, opacity: 1 },
      customdata: ids, text: ids.map(hover), hovertemplate: "%{text}<extra></extra>" };
  });
  const front = frontOf(pair, values).sort((a, b) => x.v[a] - x.v[b]);
  if (front.length > 1) traces.unshift({ type: "scatter", mode: "lines", x: front.map((i) => x.v[i]), y: front.map((i) => y.v[i]), line: { dash: "dot", width: 2, color: cssColor("muted") }, hoverinfo: "skip" });
  if (x.base !== null && y.base !== null) traces.push({ type: "scatter", mode: "markers", x: [x.base], y: [y.base], marker: { symbol: "star", size: 14, color: cssColor("ink") }, text: [`<b>base model</b><br>${digits(x.base)}, ${digits(y.base)}`], hovertemplate: "%{text}<extra></extra>" });
  return traces;
}
const frontOf = (pair, values) => (pair.fronts[trade.category]?.[trade.raw] ?? []).filter((i) => values.points.includes(i));

function drawPair(pair, box, say) {
  const values = pairValues(pair);
  if (!values || !values.points.length) {
    Plotly.purge(box);
    box.style.height = "auto";
    fill(box, note(pair.missing ? `Cannot be drawn: this run did not measure ${pair.missing}.` : trade.hidden.size ? "All algorithms with values are switched off." : "Cannot be drawn: no config has both values in this category."));
    fill(say);
    return;
  }
  if (box.querySelector(".note")) fill(box);
  const raw = trade.raw === "raw", width = box.clientWidth, height = Math.max(340, Math.min(440, width * .82));
  box.style.height = `${height}px`;
  const margin = { l: 62, r: 14, t: 10, b: width < 420 ? 70 : 54 };
  const range = (side, column) => {
    const ends = values.points.flatMap((i) => [side.v[i] - (side.e[i] ?? 0), side.v[i] + (side.e[i] ?? 0)]);
    const r = paddedRange([...ends, side.base], .07);
    return raw && !DATA.columns[column].higher ? r.reverse() : r;
  };
  const rx = range(values.x, pair.x), ry = range(values.y, pair.y);
  const w = width - margin.l - margin.r, h = height - margin.t - margin.b;
  const px = (v) => ((v - rx[0]) / (rx[1] - rx[0])) * w, py = (v) => (1 - (v - ry[0]) / (ry[1] - ry[0])) * h;
  const at = (i) => [px(values.x.v[i]), py(values.y.v[i])];
  const front = frontOf(pair, values);
  // One label a config: at its point on the front, else at its last one; the front's first.
  const named = new Map();
  for (const i of [...front, ...DATA.last.filter((p) => values.points.includes(p))]) if (!named.has(DATA.points[i].config)) named.set(DATA.points[i].config, i);
  const items = [...named.values()].map((i) => ({ text: DATA.points[i].config, x: at(i)[0], y: at(i)[1], i }));
  if (values.x.base !== null && values.y.base !== null) items.unshift({ text: "base model", x: px(values.x.base), y: py(values.y.base), i: null });
  const labels = placeLabels(items, [...values.points.map(at), ...items.map((item) => [item.x, item.y])], w, h);
  const annotations = labels.map((l) => ({ xref: "x", yref: "y", x: rx[0] + (l.x / w) * (rx[1] - rx[0]), y: ry[0] + (1 - l.y / h) * (ry[1] - ry[0]), text: plain(l.text), showarrow: false, borderpad: 0, font: { size: 12, color: l.i === null ? cssColor("ink") : colorOf(DATA.points[l.i].algorithm) } }));
  Plotly.react(box, pairTraces(pair, values), layoutOf({ width, height, margin, annotations,
    xaxis: axisOf(axisTitle(DATA.columns[pair.x], raw, width), { range: rx }), yaxis: axisOf(axisTitle(DATA.columns[pair.y], raw, height), { range: ry }) }), CONFIG);
  box.removeAllListeners("plotly_click");
  box.on("plotly_click", (event) => { const i = event.points[0]?.customdata; if (Number.isInteger(i)) { trade.point = i; drawPointPictures(); } });
  fill(say, "Pareto front: ", [...front].sort((a, b) => values.x.v[a] - values.x.v[b]).flatMap((i, k) => [k ? ", " : "", el("b", {}, DATA.points[i].config), DATA.moments.length > 1 ? ` ${DATA.points[i].moment}` : ""]), ".");
}

// "images behind every point": the clicked config beside the base model.
const pointCard = el("div", { class: "card" });
function drawPointPictures() {
  const head = el("h3", {}, "Pictures behind a point");
  if (!DATA.gallery.concepts.length) return fill(pointCard, head, el("p", { class: "hint" }, "This run kept no thumbnails."));
  if (trade.point === null) trade.point = DATA.pairs.flatMap((pair) => pair.fronts[trade.category]?.score ?? [])[0] ?? DATA.last[0] ?? null;
  if (trade.point === null) return fill(pointCard, head, el("p", { class: "hint" }, "There is no point to show."));
  const p = DATA.points[trade.point];
  const concepts = DATA.gallery.concepts.filter((c) => trade.category === "all" || c.category === trade.category);
  const some = concepts.map((c) => [c, c.rows.find((r) => r.point === trade.point)]).filter(([, row]) => row).slice(0, 3);
  const body = some.map(([concept, row]) => {
    const places = [...new Map(concept.columns.map((c, k) => [c.type, k])).values()].slice(0, 4);
    const strip = (cells, name) => places.map((k) => (cells ? thumbnail(concept, cells, k, name) : null));
    return [el("p", { class: "hint", style: "margin:10px 0 2px" }, concept.name.replaceAll("_", " ")), el("div", { class: "pair-strips" },
      el("small", {}, "base"), el("div", { class: "strip" }, strip(concept.base, "base model")), el("small", {}, "this"), el("div", { class: "strip" }, strip(row.cells, `${p.config}, ${p.moment}`)))];
  });
  const pick = selector("Point", DATA.points.map((q, i) => [i, `${q.config}, ${q.moment}`]), trade.point, (value) => { trade.point = Number(value); drawPointPictures(); });
  return fill(pointCard, head, el("p", { class: "hint" }, "Click a point of a chart, or choose one here."), el("div", { class: "controls" }, pick), some.length ? body.flat() : note("No pictures of this point are in the page."));
}

const pairBoxes = DATA.pairs.map((pair) => {
  const box = el("div", { class: "plot", role: "img", "aria-label": `Scatter: ${pair.title}. The leaderboard holds its numbers.` }), say = el("p", { class: "front" });
  byId("tradeoffs-plots").append(el("div", { class: "card" }, el("h3", {}, pair.title), el("p", { class: "hint" }, pair.question), box, say));
  live(box, () => drawPair(pair, box, say));
  return () => drawPair(pair, box, say);
});
byId("tradeoffs-plots").append(pointCard);

function algorithmChips(redraw) {
  return Object.keys(DATA.algorithms).map((name) => {
    const chip = el("button", { class: "chip", type: "button", "aria-pressed": String(!trade.hidden.has(name)), title: "Show or hide", onclick: () => {
      if (!trade.hidden.delete(name)) trade.hidden.add(name);
      chip.setAttribute("aria-pressed", String(!trade.hidden.has(name)));
      redraw();
    } }, algorithmMark(name), DATA.algorithms[name].label);
    return chip;
  });
}
const redrawPairs = () => pairBoxes.forEach((draw) => draw());
function drawTradeLegend() {
  const grows = DATA.moments.length > 1 ? el("span", { class: "item" }, `small to large: ${DATA.moments[0]} to ${DATA.moments.at(-1)}`) : null;
  const star = trade.raw === "raw" ? el("span", { class: "item" }, symbolMark("star", cssColor("ink")), "base model") : null;
  fill(byId("tradeoffs-legend"), ...algorithmChips(redrawPairs), grows, star);
}
fill(byId("tradeoffs-controls"),
  selector("Category", categoryOptions(), trade.category, (value) => { trade.category = value; redrawPairs(); drawPointPictures(); }),
  selector("Axes", [["score", "Normalised scores"], ["raw", "Raw values, with the base model"]], trade.raw, (value) => { trade.raw = value; drawTradeLegend(); redrawPairs(); }));
drawTradeLegend();
redraws.push(() => { drawTradeLegend(); redrawPairs(); });
