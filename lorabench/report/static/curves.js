// Curves over the epochs: one small chart an algorithm, all on one scale, with a legend below.
const curves = {
  column: DATA.columns.findIndex((c) => c.headline),
  category: "all",
  raw: "score",
  along: DATA.along[0],
};
keep("epochs", curves, {
  column: indexIn(DATA.columns.map((c) => c.key)),
  category: oneOf(DATA.categories.map((c) => c.key)),
  raw: oneOf(["score", "raw"]),
  along: oneOf(DATA.along),
});
// Where some files say an epoch and others a step alone, nothing orders them all: the reader chooses.
const momentOf = (i) => DATA.points[i][curves.along];
const alongLabel = () => (curves.along === "age" ? DATA.ageLabel : curves.along === "step" ? "Step" : "Epoch");

function curveSeries() {
  const m = meansOf(curves.column, curves.category);
  if (!m) return null;
  const raw = curves.raw === "raw",
    v = raw ? m.raw : m.score,
    e = raw ? m.rawError : m.scoreError;
  const ids = DATA.points.map((_, i) => i).filter((i) => v[i] !== null && momentOf(i) !== null && shown(i));
  return { v, e, base: raw ? m.base : null, real: raw ? m.real : null, lines: tracks(ids) };
}

// Line and marker of a config, where lines of others of its algorithm lie beside it.
function lineLook(config, color) {
  const { symbol, dash } = DATA.configs[config];
  const edge = symbol.includes("-open") ? { width: 1.8 } : { color: cssColor("surface"), width: 1 };
  return {
    type: "scatter",
    mode: "lines+markers",
    opacity: strength(config),
    line: { color, width: 2, dash },
    marker: { color, size: 9, symbol, line: edge, opacity: 1 },
  };
}

function curveTraces(lines, series, color, raw) {
  return lines.map((ids) => ({
    ...lineLook(DATA.points[ids[0]].config, color),
    x: ids.map(momentOf),
    y: ids.map((i) => series.v[i]),
    error_y: { type: "data", array: ids.map((i) => series.e[i] ?? 0), thickness: 1.2, width: 3, color: `${color}99` },
    text: ids.map(
      (i) =>
        `<b>${plain(DATA.points[i].config)}</b>, ${plain(DATA.points[i].moment)}<br>` +
        (raw ? significant(series.v[i]) : withError(series.v[i], series.e[i])),
    ),
    hovertemplate: "%{text}<extra></extra>",
  }));
}

// A dotted line at what a reference scores: the base model, real images.
function referenceLine(value, name) {
  const line = { color: cssColor("muted"), dash: "dot", width: 1.5 };
  const font = { size: 11.5, color: cssColor("muted") };
  const place = { xref: "paper", yref: "y", x: 0, y: value, xanchor: "left", yanchor: "bottom" };
  return {
    shape: { type: "line", xref: "paper", x0: 0, x1: 1, y0: value, y1: value, line },
    label: { ...place, text: name, showarrow: false, font },
  };
}

function drawCurve(box, algorithm, series, range, raw) {
  const lines = series.lines.filter((ids) => DATA.points[ids[0]].algorithm === algorithm);
  const [width, height] = [box.clientWidth, 300];
  const margin = { l: 50, r: 14, t: TOP, b: 44 };
  const ages = [...new Set(series.lines.flat().map(momentOf))].sort((a, b) => a - b);
  const pad = ages.length > 1 ? (ages.at(-1) - ages[0]) * 0.06 : 1;
  const references = [
    [series.base, "base model"],
    [series.real, "real images"],
  ]
    .filter(([value]) => value !== null)
    .map(([value, name]) => referenceLine(value, name));
  const layout = layoutOf({
    width,
    height,
    margin,
    annotations: references.map((each) => each.label),
    shapes: references.map((each) => each.shape),
    xaxis: axisOf(alongLabel(), {
      tickvals: ages.length <= 6 ? ages : undefined,
      range: [ages[0] - pad, ages.at(-1) + pad],
    }),
    yaxis: axisOf("", { range }),
  });
  Plotly.react(box, curveTraces(lines, series, colorOf(algorithm), raw), layout, CONFIG);
}

function drawCurves() {
  const host = byId("epochs-plots"),
    series = curveSeries(),
    raw = curves.raw === "raw";
  for (const box of host.querySelectorAll(".plot")) Plotly.purge(box);
  if (!series || !series.lines.length)
    return fill(host, note("Nothing to draw: no value of this measurement in this category, of a config shown, has an epoch."));
  const column = DATA.columns[curves.column];
  const ends = series.lines.flat().flatMap((i) => [series.v[i] - (series.e[i] ?? 0), series.v[i] + (series.e[i] ?? 0)]);
  const range = paddedRange([...ends, series.base, series.real]);
  if (raw && !column.higher) range.reverse();
  const names = Object.keys(DATA.algorithms).filter((name) =>
    series.lines.some((ids) => DATA.points[ids[0]].algorithm === name),
  );
  const boxes = names.map((name) => [
    name,
    el("div", { class: "plot", role: "group", "aria-label": `${DATA.algorithms[name].label} over the epochs` }),
  ]);
  host.className = `plots ${names.length === 3 || names.length > 4 ? "three" : "two"}`;
  fill(
    host,
    ...boxes.map(([name, box]) =>
      el(
        "div",
        { class: "card" },
        el("h3", {}, swatch(colorOf(name)), DATA.algorithms[name].label),
        box,
        lineLegend(series.lines.map((ids) => DATA.points[ids[0]].config).filter((c) => DATA.configs[c].algorithm === name)),
      ),
    ),
  );
  for (const [name, box] of boxes) drawCurve(box, name, series, range, raw);
  return (byId("epochs-axis").textContent =
    `Vertical: ${axisTitle(column, raw, Infinity)}, ${column.details || "no encoder"}. ` +
    "All charts share the scale; up is better.");
}

function startCurves() {
  const host = byId("epochs-plots");
  if (!DATA.columns.length || !DATA.points.length) return fill(host, note("No checkpoint was scored."));
  if (DATA.moments.length < 2)
    return fill(
      host,
      note(`Every config has one checkpoint in time (${DATA.moments[0]}), so there is no curve to draw.`),
    );
  fill(
    byId("epochs-controls"),
    selector("Category", categoryOptions(), curves.category, (value) => {
      curves.category = value;
      drawCurves();
    }),
    selector("Measurement", columnOptions(DATA.columns.map((_, i) => i)), curves.column, (value) => {
      curves.column = Number(value);
      drawCurves();
    }),
    selector(
      "Axis",
      [
        ["score", "Normalised scores"],
        ["raw", "Raw values, with base model and real images"],
      ],
      curves.raw,
      (value) => {
        curves.raw = value;
        drawCurves();
      },
    ),
    DATA.along.length > 1
      ? selector(
          "Along",
          [
            ["epoch", "epochs"],
            ["step", "steps"],
          ],
          curves.along,
          (value) => {
            curves.along = value;
            drawCurves();
          },
        )
      : null,
  );
  configBar(byId("epochs-controls"));
  host.before(el("p", { class: "hint", id: "epochs-axis" }));
  live(byId("epochs"), drawCurves);
  return redraws.push(drawCurves);
}
startCurves();
