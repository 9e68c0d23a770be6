// SHAP values: a row a factor, a dot a checkpoint; categorical levels have a colour and a shape each, numbers a scale.
const swarm = { column: null, category: "all" };
const EXPLAINED = [...new Set(DATA.swarm.targets.map((t) => t.column))].sort((a, b) => a - b);
if (EXPLAINED.length) {
  const hasValues = (i) => DATA.swarm.targets.some((t) => t.column === i && t.shap);
  swarm.column = EXPLAINED.find((i) => DATA.columns[i].headline && hasValues(i)) ?? EXPLAINED[0];
  const targets = DATA.swarm.targets.filter((t) => t.column === swarm.column);
  if (!targets.some((t) => t.category === "all")) swarm.category = targets[0].category;
}
keep("factors", swarm, {
  column: indexIn(DATA.columns.map((c, i) => (EXPLAINED.includes(i) ? c.key : ""))),
  category: oneOf(DATA.categories.map((c) => c.key)),
});
const LEVEL_COLORS = [
  ["#56b4e9", "#7cc8f2"],
  ["#a6518a", "#dd94bb"],
  ["#5b5f66", "#a9b0ba"],
  ["#b8860b", "#f0d060"],
  ["#0f7f7f", "#5fd0d0"],
];
const LEVEL_SYMBOLS = ["circle", "square", "diamond", "triangle-up", "cross", "x"];
const SCALES = {
  light: [
    [0, "#46039f"],
    [0.5, "#bd3786"],
    [1, "#f0962f"],
  ],
  dark: [
    [0, "#8f6bf0"],
    [0.5, "#e0609f"],
    [1, "#fdc257"],
  ],
};

function levelStyle(factor, level) {
  const key = factor.keys[level],
    dark = isDark();
  if (factor.name === "algorithm" && DATA.algorithms[key])
    return { color: colorOf(key), symbol: DATA.algorithms[key].symbol };
  return {
    color: LEVEL_COLORS[level % LEVEL_COLORS.length][dark ? 1 : 0],
    symbol: LEVEL_SYMBOLS[level % LEVEL_SYMBOLS.length],
  };
}
function scaleColor(t) {
  const stops = SCALES[isDark() ? "dark" : "light"],
    k = t < 0.5 ? 0 : 1,
    u = (t - stops[k][0]) / 0.5;
  const rgb = (hex) => [1, 3, 5].map((i) => parseInt(hex.slice(i, i + 2), 16));
  const [a, b] = [rgb(stops[k][1]), rgb(stops[k + 1][1])];
  return `rgb(${a.map((v, i) => Math.round(v + (b[i] - v) * u)).join(",")})`;
}
const levelPlace = (factor, level) => {
  const known = factor.keys.filter((key) => key !== "").length;
  return known < 2 ? 0.5 : level / (known - 1);
};
const levelColor = (factor, level) =>
  factor.keys[level] === ""
    ? cssColor("muted")
    : factor.numeric
      ? scaleColor(levelPlace(factor, level))
      : levelStyle(factor, level).color;

// Dots that would cover each other move up and down in turn; returns offsets in units of a row.
function swarmOffsets(values, width, span) {
  const bins = new Map();
  const size = (6 * span) / Math.max(width, 1);
  const offsets = new Array(values.length).fill(0);
  for (const i of values.map((_, k) => k).sort((a, b) => values[a] - values[b])) {
    const bin = Math.round(values[i] / size),
      k = bins.get(bin) ?? 0;
    bins.set(bin, k + 1);
    offsets[i] = (k % 2 ? 1 : -1) * Math.ceil(k / 2);
  }
  const most = Math.max(1, ...offsets.map(Math.abs));
  return offsets.map((o) => o * Math.min(0.085, 0.42 / most));
}

function swarmTraces(factors, target, width) {
  const all = target.shap.flatMap((row) => row ?? []).filter((v) => v !== null);
  const span = Math.max(...all) - Math.min(...all) || 1;
  return factors.flatMap(([factor, f], row) => {
    const ids = target.shap[f].map((v, i) => (v === null ? -1 : i)).filter((i) => i >= 0);
    const offsets = swarmOffsets(
      ids.map((i) => target.shap[f][i]),
      width,
      span,
    );
    const groups = new Map();
    ids.forEach((i, k) => {
      const level = factor.level[i];
      if (!groups.has(level)) groups.set(level, []);
      groups.get(level).push([i, k]);
    });
    return [...groups].map(([level, members]) => ({
      type: "scatter",
      mode: "markers",
      x: members.map(([i]) => target.shap[f][i] / 1e4),
      y: members.map(([, k]) => factors.length - 1 - row + offsets[k]),
      marker: {
        size: 7.5,
        opacity: 0.85,
        color: levelColor(factor, level),
        symbol: factor.numeric ? "circle" : levelStyle(factor, level).symbol,
        line: { width: 0.5, color: cssColor("surface") },
      },
      text: members.map(
        ([i]) =>
          `<b>${plain(DATA.swarm.checkpoints[i])}</b><br>${plain(factor.label)}: ${plain(factor.levels[level])}` +
          `<br>SHAP ${signed(target.shap[f][i] / 1e4, 3)}`,
      ),
      hovertemplate: "%{text}<extra></extra>",
    }));
  });
}

function swarmQuality(target) {
  const r2 = (v) => (v === null ? "–" : fixed(v, 2));
  const cell = (value, words, bad) => el("div", { class: bad ? "bad" : "" }, el("b", {}, value), words);
  const bad = target.trust === "low" || target.trust === "none" || target.trust === "unknown";
  const numbers = el(
    "div",
    { class: "quality" },
    cell(r2(target.r2_cv), "R² cross-validated by config", bad),
    cell(r2(target.r2_train), "R² on the rows it was fitted to"),
    cell(r2(target.rmse_cv), "typical error on held-out configs (score units)"),
    cell(String(target.n), "checkpoints"),
  );
  return [
    numbers,
    note(target.verdict, bad ? "warning" : "good"),
    target.reason ? el("p", { class: "hint" }, target.reason) : null,
  ];
}

function swarmLevels(factors, target) {
  const lists = factors.map(([factor, f]) => {
    const sums = factor.levels.map(() => [0, 0]);
    target.shap[f].forEach((v, i) => {
      if (v !== null) {
        sums[factor.level[i]][0] += v / 1e4;
        sums[factor.level[i]][1] += 1;
      }
    });
    // TreeSHAP's values of a factor need not average to zero; levels are told apart by what they add to its mean.
    const [all, count] = sums.reduce(([sum, n], [more, m]) => [sum + more, n + m], [0, 0]);
    return el(
      "div",
      {},
      el("h4", {}, factor.label),
      el(
        "ul",
        {},
        factor.levels.map((level, k) =>
          sums[k][1]
            ? el(
                "li",
                {},
                symbolMark(factor.numeric ? "circle" : levelStyle(factor, k).symbol, levelColor(factor, k)),
                el("span", {}, level),
                el("b", {}, signed(sums[k][0] / sums[k][1] - all / count, 3)),
              )
            : null,
        ),
      ),
    );
  });
  return [el("h3", {}, "Levels: mark, and mean SHAP value against the mean of the factor"), el("div", { class: "levels" }, lists)];
}

// A name in lines of about so many letters, words whole.
function inLines(name, letters) {
  const lines = [""];
  for (const word of name.split(" ")) {
    if (lines.at(-1) && lines.at(-1).length + word.length >= letters) lines.push("");
    lines.push(`${lines.pop()} ${word}`.trim());
  }
  return lines;
}

function drawSwarm() {
  const box = byId("factors-plot"),
    quality = byId("factors-quality"),
    levels = byId("factors-levels");
  const target = DATA.swarm.targets.find((t) => t.column === swarm.column && t.category === swarm.category);
  const clear = (node) => {
    Plotly.purge(box);
    fill(box);
    fill(levels);
    fill(quality, node);
  };
  if (!target) return clear(note("This measurement was not explained for this category."));
  if (!target.shap) return clear(note(`Cannot be explained: ${target.reason || "no SHAP values were kept"}`));
  const strength = (row) => row.reduce((sum, v) => sum + Math.abs(v ?? 0), 0);
  const factors = DATA.swarm.factors
    .map((factor, f) => [factor, f])
    .filter(([, f]) => target.shap[f]?.some((v) => v !== null));
  factors.sort((a, b) => strength(target.shap[b[1]]) - strength(target.shap[a[1]]));
  const width = box.clientWidth - 18,
    height = 78 * factors.length + 66,
    phone = width < 520;
  const margin = { l: phone ? 92 : 150, r: 14, t: TOP, b: 56 };
  const names = factors.map(([factor]) => inLines(factor.label, phone ? 10 : 18).map(plain).join("<br>"));
  fill(quality, ...swarmQuality(target));
  box.style.height = `${height + 14}px`;
  Plotly.react(
    box,
    swarmTraces(factors, target, width - margin.l - margin.r),
    layoutOf({
      width,
      height,
      margin,
      xaxis: axisOf(
        phone
          ? "SHAP value (right of 0: raises the score)"
          : "SHAP value, in units of the normalised score (right of 0: raises it)",
        { zeroline: true, zerolinecolor: cssColor("muted"), zerolinewidth: 1.5 },
      ),
      yaxis: axisOf("", {
        tickvals: factors.map((_, i) => factors.length - 1 - i),
        ticktext: names,
        range: [-0.6, factors.length - 0.4],
        tickfont: { color: cssColor("ink"), size: 13 },
      }),
    }),
    CONFIG,
  );
  return fill(levels, ...swarmLevels(factors, target));
}

function startSwarm() {
  if (!EXPLAINED.length)
    return fill(
      byId("factors-quality"),
      note("Nothing was explained in this run: the explanation needs several configs with scores."),
    );
  fill(
    byId("factors-controls"),
    selector("Category", categoryOptions(), swarm.category, (value) => {
      swarm.category = value;
      drawSwarm();
    }),
    selector("Measurement", columnOptions(EXPLAINED), swarm.column, (value) => {
      swarm.column = Number(value);
      drawSwarm();
    }),
  );
  live(byId("factors"), drawSwarm);
  return redraws.push(drawSwarm);
}
startSwarm();
