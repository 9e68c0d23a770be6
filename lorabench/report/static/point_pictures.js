// What is behind a point of the trade-offs: pictures from the same noise as the base's and another point's, what sets
// the two configs apart, and which checkpoints they are.
const pointCard = el("div", { class: "card whole" });
const pointName = (i) => `${DATA.points[i].config}, ${DATA.points[i].moment}`;

// Its numbers, for who cannot hover: each criterion with its error, and how it stands to the best.
function pointNumbers() {
  const view = DATA.views.findIndex((each) => each.points.includes(trade.point));
  const best = `Against the best, ${DATA.views[view].label}`;
  const head = ["Criterion", "Score", "Raw", best].map((word) => el("th", { scope: "col" }, word));
  const rows = DATA.columns.flatMap((c, i) => {
    const m = c.headline ? meansOf(i, trade.category) : null;
    if (!m || m.score[trade.point] === null) return [];
    const raw = significant(m.raw[trade.point]);
    const error = m.rawError[trade.point];
    return el(
      "tr",
      {},
      el("th", { scope: "row" }, c.criterionLabel, el("small", {}, c.label)),
      el("td", {}, withError(m.score[trade.point], m.scoreError[trade.point])),
      el("td", {}, error === null ? raw : `${raw} ± ${significant(error, 2)}`),
      el("td", {}, standing(i, trade.point, trade.category, view).words || "–"),
    );
  });
  if (!rows.length) return null;
  return el(
    "div",
    { class: "scroll", tabindex: 0, role: "region", "aria-label": "Numbers of the point" },
    el("table", { class: "plain numbers" }, el("thead", {}, el("tr", {}, head)), el("tbody", {}, rows)),
  );
}

function pointStrips(concept, row, other) {
  const places = [...new Map(concept.columns.map((c, k) => [c.type, k])).values()].slice(0, 4);
  const strip = (word, shownRow, name) => [
    el("small", {}, word),
    el("div", { class: "strip" }, shownRow ? places.map((k) => thumbnail(concept, shownRow, k, name)) : "no pictures"),
  ];
  const heads = places.map((k) => el("small", {}, concept.columns[k].type));
  const seed = row.seed === null ? "" : `, training seed ${row.seed}`;
  return [
    el("p", { class: "hint", style: "margin:10px 0 2px" }, `${concept.name.replaceAll("_", " ")}${seed}`),
    el(
      "div",
      { class: "pair-strips" },
      [el("span"), el("div", { class: "strip heads" }, heads)],
      strip("base", baseRow(concept, trade.point), "base model"),
      strip("this", row, pointName(trade.point)),
      trade.other === null ? null : strip("other", other, pointName(trade.other)),
    ),
  ];
}

// Only what differs: two configs of a grid share most of their settings.
function pointDifference() {
  const [mine, theirs] = [DATA.points[trade.point].facts, DATA.points[trade.other].facts];
  const names = [...new Set([...Object.keys(mine), ...Object.keys(theirs)])].filter((n) => mine[n] !== theirs[n]);
  if (!names.length) return el("p", { class: "hint" }, "No setting that this page knows differs.");
  const cells = (name) => [mine[name], theirs[name]].map((value) => el("td", {}, value ?? "none"));
  const head = ["Differs", "this", "other"].map((word) => el("th", { scope: "col" }, word));
  const rows = names.map((name) => el("tr", {}, el("th", { scope: "row" }, name), cells(name)));
  return el("table", { class: "plain difference" }, el("thead", {}, el("tr", {}, head)), el("tbody", {}, rows));
}

function pointOrigin() {
  const p = DATA.points[trade.point];
  const made = Object.entries(p.made).map(([name, value]) => `${name} ${value}`);
  const list = el("ul", {}, p.checkpoints.map((name) => el("li", {}, el("code", {}, name))));
  return el("details", { class: "origin" }, el("summary", {}, `Checkpoints: ${made.join("; ")}`), list);
}

function drawPointPictures() {
  const head = el("h3", {}, "Behind a point");
  if (trade.point === null) return fill(pointCard, head, el("p", { class: "hint" }, "There is no point to show."));
  const rowOf = (concept, point) => concept.rows.find((r) => r.point === point);
  // Two concepts are enough beside the charts; the section of pictures has them all.
  const strips = DATA.gallery.concepts
    .filter((c) => (trade.category === "all" || c.category === trade.category) && rowOf(c, trade.point))
    .slice(0, 2)
    .map((c) => pointStrips(c, rowOf(c, trade.point), rowOf(c, trade.other)));
  const kept = DATA.gallery.concepts.length
    ? note("No pictures of this point are in the page.")
    : el("p", { class: "hint" }, "This run kept no thumbnails.");
  const options = DATA.points.map((_, i) => [i, pointName(i)]);
  return fill(
    pointCard,
    head,
    el("p", { class: "hint" }, "Click a point of a chart, or choose one here."),
    el(
      "div",
      { class: "controls" },
      selector("Point", options, trade.point, (value) => showPoint(Number(value))),
      selector("Compare with", [["", "the base model only"], ...options], trade.other ?? "", (value) => {
        trade.other = value === "" ? null : Number(value);
        drawPointPictures();
      }),
    ),
    pointNumbers(),
    strips.length ? strips.flat() : kept,
    trade.other === null ? null : pointDifference(),
    pointOrigin(),
  );
}

function showPoint(point) {
  trade.point = point;
  drawPointPictures();
}
