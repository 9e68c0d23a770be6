// What merging leaves of each parent, and how two parents' updates agree by layer.
const MERGES = DATA.merges;
const mergeColumns = MERGES ? [...new Set(MERGES.rows.map((row) => row.column))].sort((a, b) => a - b) : [];
const FEW_SEEDS = 2;
const mergeParents = MERGES ? [...new Set(MERGES.rows.map((row) => row.parent))] : [];
const headlineOf = (numbers) => numbers.find((i) => DATA.columns[i].headline) ?? numbers[0];
const dilution = { column: headlineOf(mergeColumns), concept: MERGES?.concepts[0], pair: 0 };
const PAIRS = (MERGES?.layers ?? []).map((each) => `${each.merge}: ${each.first} and ${each.second}`);
if (MERGES)
  keep("merges", dilution, { column: oneOf(mergeColumns), concept: oneOf(MERGES.concepts), pair: indexIn(PAIRS) });

// The same measurement where both are asked for in one prompt.
function togetherOf(number) {
  const { metric, details } = DATA.columns[number];
  const same = (c) => c.metric === metric && c.details === details && c.prompt === "together";
  const found = mergeColumns.find((i) => same(DATA.columns[i]));
  return found === undefined || found === number ? null : found;
}

const mergeVaries = (key) => new Set(MERGES.rows.map((row) => row[key])).size > 1;
const mergeName = (row) =>
  row.merge +
  (mergeVaries("epoch") && row.epoch !== null ? `, epoch ${row.epoch}` : "") +
  (mergeVaries("scale") ? `, × ${row.scale}` : "");
const dilutionRows = (parent, column) =>
  MERGES.rows.filter((row) => row.parent === parent && row.column === column && row.concept === dilution.concept);
// Beside the parent at the merge's own scale it may be drawn at its share of it.
const atOwnScale = (row) => row.alone_scale === row.scale;
const DILUTION_MARKS = { worse: "less", better: "more", tied: "≈", "cannot be told": "?" };

// As many decimals as half the interval has with two digits, and no fewer than show the difference itself with two.
function differenceText(row) {
  const half = row.low === null ? 0 : (row.high - row.low) / 2;
  const smaller = Math.min(...[half, Math.abs(row.difference)].filter((v) => v > 0));
  const digits = Number.isFinite(smaller) ? Math.max(0, Math.min(6, 1 - Math.floor(Math.log10(smaller)))) : 3;
  return signed(row.difference, digits) + (half > 0 ? ` ± ${fixed(half, digits)}` : "");
}

function dilutionText(row) {
  const c = DATA.columns[row.column];
  const kept = row.kept === null ? "" : `<br>${(100 * row.kept).toFixed(0)} % of the way from the base model`;
  return (
    `<b>${plain(mergeName(row))}</b> (${plain(MERGES.made[row.merge] ?? "")})<br>${plain(columnText(c))}` +
    `<br>base model ${significant(row.floor)}, ${plain(row.parent)} alone at × ${row.alone_scale} ${significant(row.alone)}` +
    `<br>merge ${significant(row.mean)}: ${differenceText(row)}${kept}`
  );
}

function dilutionTraces(rows, names) {
  const color = isDark() ? "#58a6ff" : "#0b62c4";
  const at = (row) => names.indexOf(mergeName(row));
  const own = rows.filter(atOwnScale),
    shares = rows.filter((row) => !atOwnScale(row));
  const marks = (of, value, marker) => ({
    type: "scatter",
    mode: "markers",
    x: of.map(value),
    y: of.map(at),
    text: of.map(dilutionText),
    hovertemplate: "%{text}<extra></extra>",
    marker,
  });
  const hollow = (ink, symbol) => ({ symbol, size: 11, color: cssColor("surface"), line: { width: 2, color: ink } });
  return [
    marks(own, (row) => row.floor, { symbol: "line-ns", size: 11, line: { width: 2.5, color: cssColor("muted") } }),
    marks(own, (row) => row.alone, hollow(cssColor("ink"), "circle")),
    marks(shares, (row) => row.alone, hollow(cssColor("muted"), "diamond")),
    {
      ...marks(own, (row) => row.mean, { symbol: "circle", size: 10, color }),
      error_x: {
        type: "data",
        symmetric: false,
        array: own.map((row) => (row.high === null ? 0 : row.high - row.difference)),
        arrayminus: own.map((row) => (row.low === null ? 0 : row.difference - row.low)),
        color,
        thickness: 1.6,
        width: 5,
      },
    },
  ];
}

function drawDilution(box, rows, column) {
  const c = DATA.columns[column];
  const names = [...new Set(rows.map(mergeName))].reverse();
  const room = 14 + Math.min(200, Math.max(...names.map((name) => textWidth(name, 12))));
  const ends = rows.flatMap((row) => [row.floor, row.alone, row.mean, row.low === null ? null : row.mean - row.difference + row.low, row.high === null ? null : row.mean - row.difference + row.high]);
  const range = paddedRange(ends);
  const layout = layoutOf({
    width: box.clientWidth,
    height: TOP + 62 + 30 * names.length,
    margin: { l: room, r: 14, t: TOP, b: 52 },
    xaxis: axisOf(axisTitle(c, true, box.clientWidth - room - 30), { range: c.higher ? range : range.reverse() }),
    yaxis: axisOf("", { tickvals: names.map((_, k) => k), ticktext: names.map(plain), range: [-0.6, names.length - 0.4], nticks: undefined }),
  });
  Plotly.react(box, dilutionTraces(rows, names), layout, CONFIG);
}

function dilutionTable(columns) {
  const head = ["Merge", "Base model", "Parent alone", "Merge", "Difference", "Kept of the way", ""];
  const rows = mergeParents.flatMap((parent) => columns.flatMap((column) => dilutionRows(parent, column)));
  const cells = (row) => {
    const alone = `${significant(row.alone)}${atOwnScale(row) ? "" : ` at × ${row.alone_scale}`}`;
    const share = row.kept === null ? "–" : `${(100 * row.kept).toFixed(0)} %`;
    const texts = [significant(row.floor), alone, significant(row.mean), differenceText(row), minus(share), DILUTION_MARKS[row.verdict]];
    return el(
      "tr",
      {},
      el("th", { scope: "row", title: MERGES.made[row.merge] ?? null }, mergeName(row), el("small", {}, `${row.parent}, ${DATA.columns[row.column].prompt} prompts`)),
      texts.map((text) => el("td", { class: "number" }, text)),
    );
  };
  return el(
    "table",
    { class: "plain" },
    el("thead", {}, el("tr", {}, head.map((text, k) => el("th", { scope: "col", class: k ? "number" : null }, text)))),
    el("tbody", {}, rows.map(cells)),
  );
}

function drawMerges() {
  if (MERGES.rows.length) {
    const columns = [dilution.column, togetherOf(dilution.column)].filter((i) => i !== null);
    const host = byId("merges-plots");
    for (const box of host.querySelectorAll(".plot")) Plotly.purge(box);
    const panels = mergeParents.flatMap((parent) => columns.map((column) => ({ parent, column, rows: dilutionRows(parent, column) })));
    const used = panels.filter((panel) => panel.rows.length).map((panel) => {
      const label = `What is left of ${panel.parent}: ${DATA.columns[panel.column].label}`;
      return { ...panel, label, box: el("div", { class: "plot", role: "group", "aria-label": label }) };
    });
    const kind = used.length === 1 ? "card whole" : "card";
    fill(host, used.map((panel) => el("div", { class: kind }, el("h3", {}, panel.label), panel.box)));
    for (const panel of used) drawDilution(panel.box, panel.rows, panel.column);
    if (!used.length) fill(host, note("Nothing was measured of these concepts so."));
    fill(byId("merges-table"), dilutionTable(columns));
  }
  if (PAIRS.length) drawLayers();
}

// What the marks on the charts are, as far as they are there.
function mergeNote() {
  const shares = MERGES.rows.some((row) => !atOwnScale(row));
  const few = MERGES.rows.some((row) => row.low !== null && row.n_seeds <= FEW_SEEDS);
  return el(
    "p",
    { class: "hint" },
    "○ the parent alone, ● the merge, | the base model" + (shares ? ", ◇ the parent alone at its share of the merge" : "") + ".",
    few ? " Two seeds: an interval of one degree of freedom says little." : "",
  );
}

// --- layers ---
const PARTS = [
  ["text_encoder_2.", "text 2"],
  ["text_encoder.", "text"],
  ["unet.down_blocks.", "down"],
  ["unet.mid_block.", "mid"],
  ["unet.up_blocks.", "up"],
];
const partOf = (name) => PARTS.find(([start]) => name.startsWith(start))?.[1] ?? "other";

function drawLayerPlot(box, pair, title, lines, range) {
  const parts = pair.modules.map(partOf);
  const names = [...new Set(parts)];
  const centers = names.map((name) => (parts.indexOf(name) + parts.lastIndexOf(name)) / 2);
  const borders = names.slice(1).map((name) => parts.indexOf(name) - 0.5);
  const traces = lines.map(({ values, color, label, size }) => ({
    type: "scatter",
    mode: "markers",
    x: pair.modules.map((_, k) => k),
    y: values,
    marker: { color, size, opacity: 0.85 },
    text: pair.modules.map((name, k) => `${plain(name)}<br>${label} <b>${values[k] === null ? "–" : fixed(values[k], 3)}</b>`),
    hovertemplate: "%{text}<extra></extra>",
  }));
  const layout = layoutOf({
    width: box.clientWidth,
    height: 280,
    margin: { l: 50, r: 14, t: TOP, b: 44 },
    shapes: borders.map((x) => ({ type: "line", x0: x, x1: x, yref: "paper", y0: 0, y1: 1, line: { width: 1, color: cssColor("line") } })),
    xaxis: axisOf("", { tickvals: centers, ticktext: names, showgrid: false, nticks: undefined, range: [-1, pair.modules.length] }),
    yaxis: axisOf(title, { range }),
  });
  Plotly.react(box, traces, layout, CONFIG);
}

function drawLayers() {
  const pair = MERGES.layers[dilution.pair];
  const color = isDark() ? "#58a6ff" : "#0b62c4";
  const [one, two] = isDark() ? ["#58a6ff", "#f0a35e"] : ["#0b62c4", "#c2570c"];
  const most = 1.1 * Math.max(0.1, ...pair.cosine.map((v) => Math.abs(v ?? 0)));
  const strengths = [pair.first_strength, pair.second_strength].flat().some((v) => v !== null);
  const charts = [
    ["Cosine", "Do the updates pull the same way?", [{ values: pair.cosine, color, label: "cosine", size: 7 }], [-most, most]],
    [
      "Overlap",
      "Do they use the same directions?",
      [
        { values: pair.chance, color: cssColor("muted"), label: "overlap of random spaces", size: 4 },
        { values: pair.overlap, color, label: "overlap", size: 7 },
      ],
      [-0.03, 1.03],
    ],
  ];
  if (strengths) {
    const sizes = [...pair.first_strength, ...pair.second_strength];
    charts.push([
      "|ΔW| / |W|",
      "How large are they?",
      [
        { values: pair.first_strength, color: one, label: `size of ${plain(pair.first)}`, size: 7 },
        { values: pair.second_strength, color: two, label: `size of ${plain(pair.second)}`, size: 7 },
      ],
      [0, paddedRange(sizes)[1]],
    ]);
  }
  const host = byId("merges-layers-plots");
  for (const box of host.querySelectorAll(".plot")) Plotly.purge(box);
  host.className = `plots ${charts.length > 2 ? "three" : "two"}`;
  const boxes = charts.map(([name, heading]) => [el("div", { class: "plot", role: "group", "aria-label": `${name} by layer` }), heading]);
  const legend = el("p", { class: "hint" }, swatch(one), ` ${pair.first} `, swatch(two), ` ${pair.second}`);
  const card = ([box, heading], k) => el("div", { class: "card" }, el("h3", {}, heading), k === 2 ? legend : null, box);
  fill(host, boxes.map(card));
  charts.forEach(([name, , lines, range], k) => drawLayerPlot(boxes[k][0], pair, name, lines, range));
}

function startMerges() {
  const change = (key, read) => (value) => {
    dilution[key] = read(value);
    drawMerges();
  };
  if (MERGES.rows.length) byId("merges-controls").after(mergeNote());
  if (MERGES.rows.length)
    fill(
      byId("merges-controls"),
      selector("Measurement", columnOptions(mergeColumns), dilution.column, change("column", Number)),
      selector("Concepts", MERGES.concepts.map((name) => [name, name]), dilution.concept, change("concept", String)),
    );
  else fill(byId("merges-plots"), note("No parent is drawn alone here, so nothing is told of what a merge leaves of it."));
  if (PAIRS.length)
    fill(byId("merges-layers-controls"), selector("Merge", PAIRS.map((name, k) => [k, name]), dilution.pair, change("pair", Number)));
  live(byId("merges"), drawMerges);
  redraws.push(drawMerges);
}
if (MERGES) startMerges();
