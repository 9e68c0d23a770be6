// What was seen of trainings, step by step: one small chart an algorithm, a line a config. The loss of a step is mostly
// the luck of its noise, so what is drawn is a running mean; configs share that noise, so that the difference of two
// says more than either.
const losses = { shown: "loss", part: "", less: "", seed: "mean", window: 9 };
const { runs: TRAININGS, floors: FLOORS } = DATA.trainings;
const RUNS_SEEN = Object.values(TRAININGS).flat();
const LOSS_SEEDS = [...new Set(RUNS_SEEN.map((run) => run.seed))];
LOSS_SEEDS.sort((a, b) => a - b);
const WINDOWS = [1, 5, 9, 25];
const CURVE_WORDS = {
  loss: "Loss",
  rate: "Learning rate",
  grad_norm: "Norm of the gradient",
  held_out_loss: "Held-out loss",
  training_loss: "Loss on training pictures, by the draws of held-out loss",
  loss_gap: "Held-out loss less that on training pictures",
  norm: "Norm of the update",
  spectral_norm: "Spectral norm of the update",
  stable_rank: "Stable rank of the update",
  first_direction: "Share of the update's first direction",
  relative_norm: "Norm of the update to that of the weights",
};
// "measure", or "measure|part" of what is known part by part.
const CURVES_SEEN = [...new Set(RUNS_SEEN.flatMap((run) => Object.keys(run.curves)))];
const curveMeasure = (name) => name.split("|")[0];
const curvePart = (name) => name.split("|")[1] ?? "";
const MEASURES_SEEN = Object.keys(CURVE_WORDS).filter((name) => CURVES_SEEN.some((curve) => curveMeasure(curve) === name));
const partsOf = (measure) => CURVES_SEEN.filter((curve) => curveMeasure(curve) === measure).map(curvePart);
const shownCurve = () => (losses.part ? `${losses.shown}|${losses.part}` : losses.shown);
const curveWords = (name) => CURVE_WORDS[curveMeasure(name)] + (curvePart(name) ? `: ${curvePart(name)}` : "");
losses.shown = MEASURES_SEEN[0] ?? "loss";
keep("losses", losses, {
  shown: oneOf(MEASURES_SEEN),
  part: oneOf(["", ...CURVES_SEEN.map(curvePart)]),
  less: oneOf(["", ...Object.keys(TRAININGS)]),
  seed: oneOf(["mean", ...LOSS_SEEDS]),
  window: oneOf(WINDOWS),
});
if (!partsOf(losses.shown).includes(losses.part)) losses.part = partsOf(losses.shown)[0] ?? "";

// Means of `width` neighbours, fewer at the ends.
const running = (values, width) =>
  values.map((_, i) => {
    const near = values.slice(Math.max(0, i - (width >> 1)), i + (width >> 1) + 1);
    return near.reduce((sum, v) => sum + v, 0) / near.length;
  });

// Of a config's trainings what is shown of them, by seed.
const curvesOf = (config) =>
  (TRAININGS[config] ?? [])
    .filter((run) => (losses.seed === "mean" || run.seed === losses.seed) && run.curves[shownCurve()])
    .map((run) => ({ seed: run.seed, ...run.curves[shownCurve()] }));

// The same less another config's with the same seed, where both have the same steps.
function differencesOf(config) {
  const others = new Map(curvesOf(losses.less).map((curve) => [curve.seed, curve]));
  return curvesOf(config)
    .filter((curve) => others.get(curve.seed)?.steps.join() === curve.steps.join())
    .map((curve) => ({
      ...curve,
      values: curve.values.map((value, i) => value - others.get(curve.seed).values[i]),
    }));
}

// One line a config: of one seed, or the mean over those that have the same steps.
function lossOf(config) {
  const curves = losses.less ? differencesOf(config) : curvesOf(config);
  if (!curves.length) return null;
  const { steps } = curves[0];
  const same = curves.filter((curve) => curve.steps.length === steps.length);
  const mean = steps.map((_, i) => same.reduce((sum, curve) => sum + curve.values[i], 0) / same.length);
  const smooth = losses.shown === "loss" || losses.shown === "grad_norm";
  return { config, steps, loss: smooth ? running(mean, losses.window) : mean, seeds: same.map((curve) => curve.seed) };
}

const seenWords = () =>
  curveWords(shownCurve()).toLowerCase() + (losses.less ? ` less that of ${plain(losses.less)}` : "");

function lossTrace(line, color) {
  const step = Math.max(1, Math.ceil(line.steps.length / 6));
  const look = lineLook(line.config, color);
  return {
    ...look,
    // A marker every so often: enough to tell the lines apart.
    marker: { ...look.marker, size: line.steps.map((_, i) => (i % step === step >> 1 ? 9 : 0)) },
    x: line.steps,
    y: line.loss,
    text: line.steps.map(
      (at, i) =>
        `<b>${plain(line.config)}</b>, step ${at}<br>${seenWords()} ${significant(line.loss[i])}` +
        `<br>${line.seeds.length > 1 ? `mean of seeds ${line.seeds.join(", ")}` : `seed ${line.seeds[0]}`}`,
    ),
    hovertemplate: "%{text}<extra></extra>",
  };
}

function drawLoss(box, algorithm, lines, range, most) {
  const [width, height] = [box.clientWidth, 280];
  const margin = { l: 50, r: 14, t: TOP, b: 44 };
  const layout = layoutOf({
    width,
    height,
    margin,
    xaxis: axisOf(DATA.trainings.hasSteps ? "Step" : DATA.ageLabel, { range: [0, most * 1.05 || 1] }),
    yaxis: axisOf("", { range }),
    shapes: losses.less || !(shownCurve() in FLOORS) ? [] : [floorLine(FLOORS[shownCurve()])],
  });
  Plotly.react(box, lines.map((line) => lossTrace(line, colorOf(algorithm))), layout, CONFIG);
}

// What the base model has of the same.
const floorLine = (y) => ({
  type: "line", xref: "paper", x0: 0, x1: 1, y0: y, y1: y, line: { color: cssColor("muted"), width: 1.5, dash: "dot" },
});

function drawLosses() {
  const host = byId("losses-plots");
  for (const box of host.querySelectorAll(".plot")) Plotly.purge(box);
  const lines = CONFIGS.filter(showsConfig).map(lossOf).filter((line) => line);
  if (!lines.length) return fill(host, note(`No config that is shown has this on record: ${seenWords()}.`));
  const floor = losses.less || !(shownCurve() in FLOORS) ? [] : [FLOORS[shownCurve()]];
  const range = paddedRange([...lines.flatMap((line) => line.loss), ...floor]);
  const most = Math.max(...lines.map((line) => line.steps.at(-1)));
  const names = Object.keys(DATA.algorithms).filter((name) => lines.some((l) => DATA.configs[l.config].algorithm === name));
  const boxes = names.map((name) => [
    name,
    el("div", { class: "plot", role: "group", "aria-label": `${DATA.algorithms[name].label}: ${seenWords()} over the steps` }),
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
        lineLegend(lines.map((line) => line.config).filter((c) => DATA.configs[c].algorithm === name)),
      ),
    ),
  );
  for (const [name, box] of boxes)
    drawLoss(box, name, lines.filter((l) => DATA.configs[l.config].algorithm === name), range, most);
}

function lossControls() {
  const change = (key, read) => (value) => {
    losses[key] = read(value);
    drawLosses();
  };
  const seeds = [["mean", "mean of all"], ...LOSS_SEEDS.map((seed) => [seed, String(seed)])];
  const configs = Object.keys(TRAININGS).map((name) => [name, name]);
  const parts = partsOf(losses.shown);
  fill(
    byId("losses-controls"),
    selector("Shown", MEASURES_SEEN.map((name) => [name, CURVE_WORDS[name]]), losses.shown, (value) => {
      losses.shown = value;
      losses.part = partsOf(value).includes(losses.part) ? losses.part : (partsOf(value)[0] ?? "");
      lossControls();
      drawLosses();
    }),
    parts.length > 1
      ? selector("Part", parts.map((part) => [part, part || "all"]), losses.part, change("part", String))
      : null,
    configs.length > 1
      ? selector("Less that of", [["", "nothing: as it is"], ...configs], losses.less, change("less", String))
      : null,
    LOSS_SEEDS.length > 1
      ? selector("Training seed", seeds, losses.seed, change("seed", (v) => (v === "mean" ? v : Number(v))))
      : null,
    ["loss", "grad_norm"].includes(losses.shown)
      ? selector(
          "Running mean of",
          WINDOWS.map((n) => [n, n === 1 ? "nothing: as recorded" : `${n} records`]),
          losses.window,
          change("window", Number),
        )
      : null,
  );
  configBar(byId("losses-controls"));
}

function startLosses() {
  if (!RUNS_SEEN.length)
    return fill(
      byId("losses-plots"),
      note("No losses are on record: given adapters were trained elsewhere, and runs of before did not gather them."),
    );
  lossControls();
  live(byId("losses"), drawLosses);
  return redraws.push(drawLosses);
}
startLosses();
