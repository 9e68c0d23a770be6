// Heat map: which measurements order the checkpoints alike.
const agreement = { set: 0 };
keep("correlations", agreement, { set: indexIn(DATA.correlations.sets.map((set) => set.key)) });
const AGREEMENT_COLORS = {
  light: [
    [0, "#2166ac"],
    [0.5, "#f7f7f7"],
    [1, "#b2182b"],
  ],
  dark: [
    [0, "#4393c3"],
    [0.5, "#20262e"],
    [1, "#d6604d"],
  ],
};

function agreementLabels(columns) {
  const metrics = new Set(columns.map((c) => c.metric));
  return columns.map((c) => {
    const parts = metrics.size > 1 ? [c.metric, c.prompt] : [c.prompt, c.details];
    return plain(parts.filter(Boolean).join(", "));
  });
}

function drawAgreement() {
  const box = byId("correlations-plot"),
    numbers = DATA.correlations.sets[agreement.set].columns,
    columns = numbers.map((i) => DATA.columns[i]),
    labels = agreementLabels(columns),
    r = numbers.map((i) => numbers.map((j) => DATA.correlations.r[i][j]));
  const space = box.parentElement.clientWidth,
    room = 16 + Math.max(...labels.map((label) => textWidth(label, 12)));
  // Labels keep their room: where the page is narrower, the map scrolls.
  const cell = Math.max(printing ? 6 : 20, Math.min(44, (space - room - 60) / numbers.length));
  const side = cell * numbers.length;
  const hover = r.map((row, i) =>
    row.map((value, j) => {
      const pair = [columns[i], columns[j]].map((c) => plain(columnText(c))).join("<br>");
      return `${pair}<br><b>${value === null ? "too few values, or a constant" : `r = ${signed(value, 2)}`}</b>`;
    }),
  );
  const trace = {
    type: "heatmap",
    z: r,
    text: r.map((row) => row.map((value) => (cell < 28 || value === null ? "" : fixed(value, 2)))),
    texttemplate: "%{text}",
    textfont: { size: 11 },
    customdata: hover,
    hovertemplate: "%{customdata}<extra></extra>",
    zmin: -1,
    zmax: 1,
    xgap: 1,
    ygap: 1,
    colorscale: AGREEMENT_COLORS[isDark() ? "dark" : "light"],
    colorbar: { thickness: 10, len: 0.9, outlinewidth: 0, tickfont: { size: 11, color: cssColor("muted") } },
  };
  const ticks = { tickvals: numbers.map((_, k) => k), ticktext: labels, showgrid: false, nticks: undefined };
  const layout = layoutOf({
    width: room + side + 60,
    height: room + side + 20,
    margin: { l: room, r: 60, t: TOP, b: room },
    dragmode: false,
    plot_bgcolor: cssColor("muted"),
    xaxis: axisOf("", { ...ticks, tickangle: 90, fixedrange: true }),
    yaxis: axisOf("", { ...ticks, autorange: "reversed", fixedrange: true }),
  });
  Plotly.react(box, [trace], layout, CONFIG);
}

function startAgreement() {
  const { sets } = DATA.correlations;
  if (!sets.length)
    return fill(byId("correlations-plot"), note("Fewer than two measurements: there is nothing to compare."));
  fill(
    byId("correlations-controls"),
    selector("Measurements", sets.map((set, k) => [k, set.label]), agreement.set, (value) => {
      agreement.set = Number(value);
      drawAgreement();
    }),
  );
  live(byId("correlations"), drawAgreement);
  return redraws.push(drawAgreement);
}
startAgreement();
