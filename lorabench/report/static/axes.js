// What an axis of a trade-off can show: every measurement, and what a config costs. Numbers of axes are those of the
// measurements, then those of the costs.
const COSTS = [
  ["mib", "size of the file", "MiB"],
  ["seconds", "seconds of training", "s"],
  ["memory", "device memory, peak", "GiB"],
  ["energy", "energy of training, of the device", "Wh"],
].filter(([key]) => DATA.costs[key].some((v) => v !== null));
const AXES = [
  ...DATA.columns.map((c, column) => ({ key: c.key, column, label: c.label, higher: c.higher })),
  ...COSTS.map(([key, label, unit]) => ({ key, column: null, label, unit, higher: false })),
];
const axisOptions = () => [
  ...columnOptions(DATA.columns.map((_, i) => i)),
  ...(COSTS.length ? [["Costs", COSTS.map(([, label, unit], k) => [DATA.columns.length + k, `${label} (${unit})`])]] : []),
];

// Values, errors and counts of every point, and the base model's value; null where nothing of it was measured.
function axisValues(number, category, raw) {
  const { key, column } = AXES[number];
  const none = DATA.points.map(() => null);
  if (column === null) return { v: DATA.costs[key], e: none, n: none, base: null, higher: false, log: isWide(key) };
  const m = meansOf(column, category);
  if (!m) return null;
  return raw
    ? { v: m.raw, e: m.rawError, n: m.n, base: m.base, higher: AXES[number].higher, log: false }
    : { v: m.score, e: m.scoreError, n: m.n, base: null, higher: true, log: false };
}
// Costs that differ by more than a factor of 20 are drawn by their logarithm.
function isWide(key) {
  const values = DATA.costs[key].filter((v) => v !== null);
  return Math.min(...values) > 0 && Math.max(...values) > 20 * Math.min(...values);
}
function axisWords(number, raw, length) {
  const { column, label, unit } = AXES[number];
  if (column !== null) return axisTitle(DATA.columns[column], raw, length);
  return twoLines(`${label}, ${unit}`, "(lower is better, axis reversed)", length);
}
// Ticks at 1, 2 and 5 of each power of ten within a range of logarithms: plotly shortens its own to their first digit.
function logTicks([from, to]) {
  const [low, high] = [Math.min(from, to), Math.max(from, to)];
  const powers = Array.from({ length: Math.ceil(high) - Math.floor(low) + 1 }, (_, k) => Math.floor(low) + k);
  const values = powers.flatMap((power) => [1, 2, 5].map((digit) => Number(`${digit}e${power}`)));
  const inside = values.filter((v) => Math.log10(v) >= low && Math.log10(v) <= high);
  return { tickvals: inside, ticktext: inside.map((v) => v.toLocaleString("en")), nticks: undefined };
}
// How a value of an axis is written: scores with two digits, the others with three significant ones.
const axisDigits = (number, raw) => (raw || AXES[number].column === null ? significant : (v) => fixed(v, 2));

// Those of `points` that no other of them beats in both directions, from left to right; errors play no part in it.
const bothKnown = (x, y) => DATA.points.map((_, i) => i).filter((i) => x.v[i] !== null && y.v[i] !== null);
function paretoFront(x, y, points) {
  const at = (side, i) => (side.higher ? 1 : -1) * side.v[i];
  const beaten = (i) =>
    points.some((j) => {
      const [dx, dy] = [at(x, j) - at(x, i), at(y, j) - at(y, i)];
      return dx >= 0 && dy >= 0 && (dx > 0 || dy > 0);
    });
  return points.filter((i) => !beaten(i)).sort((a, b) => x.v[a] - x.v[b]);
}
