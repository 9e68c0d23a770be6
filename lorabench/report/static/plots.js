// What all charts share: fonts, axes, sizes, and labels that do not cover each other.
const FONT = getComputedStyle(document.documentElement).getPropertyValue("--font").trim();
// Plotly reads a few tags in its texts; names must come out as they are.
const plain = (text) => String(text).replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;");
// The buttons are named one by one: plotly's own set grows, and has one that uploads the chart.
const CONFIG = {
  displaylogo: false,
  responsive: false,
  modeBarButtons: [["toImage", "resetScale2d"]],
  plotlyServerURL: "",
  topojsonURL: "none",
  toImageButtonOptions: { format: "svg", filename: "lorabench" },
  displayModeBar: "hover",
};
// On touch screens a drag scrolls the page, and the buttons are always there: they need room above the chart.
const isTouched = matchMedia("(pointer: coarse)").matches;
const dragmode = isTouched ? false : "zoom";
const TOP = isTouched ? 34 : 10;

function layoutOf(extra) {
  return {
    font: { family: FONT, size: 13, color: cssColor("ink") },
    paper_bgcolor: "rgba(0,0,0,0)",
    plot_bgcolor: "rgba(0,0,0,0)",
    showlegend: false,
    hovermode: "closest",
    modebar: { bgcolor: "rgba(0,0,0,0)", color: cssColor("muted"), activecolor: cssColor("ink") },
    dragmode,
    hoverlabel: {
      bgcolor: cssColor("surface"),
      bordercolor: cssColor("muted"),
      font: { family: FONT, size: 13, color: cssColor("ink") },
      align: "left",
    },
    ...extra,
  };
}
function axisOf(title, extra) {
  return {
    title: { text: plain(title).replaceAll("\n", "<br>"), font: { size: 13, color: cssColor("muted") }, standoff: 10 },
    gridcolor: cssColor("line"),
    zeroline: false,
    linecolor: cssColor("line"),
    tickfont: { color: cssColor("muted"), size: 12 },
    ticks: "",
    nticks: 6,
    ...extra,
  };
}

// Labels of axes in words: what, of which prompts and encoder, and which way is better.
function axisTitle(c, raw, length) {
  const way = !raw ? "score, higher is better" : c.higher ? "higher is better" : "lower is better, axis reversed";
  return twoLines(c.label, `(${way})`, length);
}
// Two lines where one is longer than `length` pixels.
const twoLines = (first, second, length) =>
  textWidth(`${first} ${second}`, 13) > length ? `${first}\n${second}` : `${first} ${second}`;

const canvas = document.createElement("canvas").getContext("2d");
function textWidth(text, size = 12) {
  canvas.font = `${size}px ${FONT}`;
  return canvas.measureText(text).width;
}
const overlap = (a, b) =>
  Math.max(0, Math.min(a[2], b[2]) - Math.max(a[0], b[0])) * Math.max(0, Math.min(a[3], b[3]) - Math.max(a[1], b[1]));

// Greedy: each label takes the free place nearest to its point; one without a free place is left to legend and hover text.
// Points and error bars are never covered, lines only where there is no better place.
// items: {x, y, text, ...} in pixels, the most important first; points, lines: [x, y] of each; bars: their two ends.
// Returns the items that found a place, x and y now the centres of their labels.
function placeLabels(items, points, bars, lines, width, height) {
  const taken = points.map(([x, y]) => [x - 6, y - 6, x + 6, y + 6]);
  for (const [[x0, y0], [x1, y1]] of bars)
    taken.push([Math.min(x0, x1) - 1, Math.min(y0, y1) - 1, Math.max(x0, x1) + 1, Math.max(y0, y1) + 1]);
  const placed = [];
  for (const item of items) {
    const w = textWidth(item.text) / 2 + 2,
      h = 8;
    const places = [];
    for (const gap of [10, 17, 26])
      for (const [dx, dy] of [
        [1, 0],
        [0, -1],
        [-1, 0],
        [0, 1],
        [0.8, -0.8],
        [-0.8, -0.8],
        [0.8, 0.8],
        [-0.8, 0.8],
      ])
        places.push([item.x + dx * (w + gap - 3), item.y + dy * (gap + 4)]);
    let best = null;
    for (const [x, y] of places) {
      const box = [x - w, y - h, x + w, y + h];
      if (
        box[0] < 0 ||
        box[1] < 0 ||
        box[2] > width ||
        box[3] > height ||
        taken.some((other) => overlap(box, other) > 0)
      )
        continue;
      const crossed = lines.filter((p) => p[0] > box[0] && p[0] < box[2] && p[1] > box[1] && p[1] < box[3]).length;
      if (!best || crossed < best.crossed) best = { x, y, box, crossed };
      if (crossed === 0) break;
    }
    if (best) {
      taken.push(best.box);
      placed.push({ ...item, x: best.x, y: best.y });
    }
  }
  return placed;
}

// Points every few pixels along a line through `corners`.
function along(corners) {
  return corners.slice(1).flatMap(([x, y], k) => {
    const [x0, y0] = corners[k],
      n = Math.ceil(Math.hypot(x - x0, y - y0) / 6);
    return Array.from({ length: n }, (_, i) => [x0 + ((x - x0) * i) / n, y0 + ((y - y0) * i) / n]);
  });
}

function paddedRange(values, fraction = 0.08) {
  const finite = values.filter((v) => v !== null && Number.isFinite(v));
  if (!finite.length) return [0, 1];
  const low = Math.min(...finite),
    high = Math.max(...finite);
  const pad = (high - low || Math.abs(high) || 1) * fraction;
  return [low - pad, high + pad];
}

// Draw now, and again when the box changes its width: labels are placed in pixels.
function live(node, draw) {
  let width = 0,
    timer = 0;
  new ResizeObserver(() => {
    if (node.clientWidth === width || node.clientWidth === 0) return;
    clearTimeout(timer);
    timer = setTimeout(() => {
      width = node.clientWidth;
      draw();
    }, 60);
  }).observe(node);
}
