// One config through its training; concept, seed and prompts are the gallery's. A row an epoch and a column a prompt; with
// several merge ratios a column an epoch and a row a prompt and ratio.
const grown = { config: null };
keep("training", grown, { config: { write: (name) => name ?? "", read: (text) => CONFIGS.find((c) => c === text) } });

function grownTable(concept, own, ages, scales) {
  const places = concept.columns.map((_, k) => k).filter((k) => inType(concept, k));
  const find = (age, scale) =>
    own.find((row) => DATA.points[row.point].age === age && DATA.points[row.point].scale === scale);
  const cell = (row, k) => el("td", {}, row ? thumbnail(concept, row, k, pointName(row.point)) : null);
  const base = (k) => el("td", {}, baseRow(concept) ? thumbnail(concept, baseRow(concept, own[0]?.point), k, "base model") : null);
  const momentAt = (age) => DATA.points[own.find((row) => DATA.points[row.point].age === age).point].moment;
  const words = (age) => (age === null ? "end of training" : momentAt(age).replace(/, scale .*/, ""));
  const row = (name, cells, kind = "") => el("tr", { class: kind }, el("th", { scope: "row" }, name), cells);
  if (scales.length === 1) {
    const rows = ages.map((age) =>
      row(
        words(age),
        places.map((k) => cell(find(age, scales[0]), k)),
      ),
    );
    return [galleryHead(concept, places, "Moment"), el("tbody", {}, row("base model", places.map(base), "floor"), rows)];
  }
  const head = ["Prompt and merge ratio", "base model", ...ages.map(words)];
  const rows = places.flatMap((k) =>
    scales.map((scale) =>
      row(
        [
          `${concept.columns[k].type} ${concept.columns[k].index + 1}, ${scale}`,
          el("small", {}, concept.columns[k].prompt),
        ],
        [base(k), ...ages.map((age) => cell(find(age, scale), k))],
      ),
    ),
  );
  return [el(
      "thead",
      {},
      el(
        "tr",
        {},
        head.map((text) => el("th", { scope: "col" }, text)),
      ),
    ), el("tbody", {}, rows)];
}

function drawGrown() {
  const concept = DATA.gallery.concepts[gallery.concept],
    host = byId("pictures-training");
  const rows = concept.rows.filter((row) => row.seed === null || row.seed === gallery.seed);
  const configs = [...new Set(rows.map((row) => DATA.points[row.point].config))];
  const config = configs.includes(grown.config) ? grown.config : configs[0];
  const own = rows.filter((row) => DATA.points[row.point].config === config);
  const distinct = (key) => [...new Set(own.map((row) => DATA.points[row.point][key]))].sort((a, b) => a - b);
  const [ages, scales] = [distinct("age"), distinct("scale")];
  if (DATA.moments.length < 2 || !own.length) return fill(host);
  const choose = selector(
    "Config",
    configs.map((name) => [name, name]),
    config,
    (value) => {
      grown.config = value;
      drawGrown();
    },
  );
  const table = el("table", { class: "grid" }, grownTable(concept, own, ages, scales));
  return fill(
    host,
    el("h3", {}, "One config through its training"),
    el("div", { class: "controls" }, choose),
    el("div", { class: "scroll tall", tabindex: 0, role: "region", "aria-label": "Pictures of one config" }, table),
  );
}
