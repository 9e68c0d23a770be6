// Pictures behind a point of the trade-offs: the chosen config beside the base model.
const pointCard = el("div", { class: "card" });
function drawPointPictures() {
  const head = el("h3", {}, "Pictures behind a point");
  if (!DATA.gallery.concepts.length)
    return fill(pointCard, head, el("p", { class: "hint" }, "This run kept no thumbnails."));
  if (trade.point === null)
    trade.point = DATA.pairs.flatMap((pair) => pair.fronts[trade.category]?.score ?? [])[0] ?? DATA.last[0] ?? null;
  if (trade.point === null) return fill(pointCard, head, el("p", { class: "hint" }, "There is no point to show."));
  const p = DATA.points[trade.point];
  const concepts = DATA.gallery.concepts.filter((c) => trade.category === "all" || c.category === trade.category);
  const some = concepts
    .map((c) => [c, c.rows.find((r) => r.point === trade.point)])
    .filter(([, row]) => row)
    .slice(0, 2);
  const body = some.map(([concept, row]) => {
    const places = [...new Map(concept.columns.map((c, k) => [c.type, k])).values()].slice(0, 4);
    const strip = (cells, name) => places.map((k) => (cells ? thumbnail(concept, cells, k, name) : null));
    return [
      el("p", { class: "hint", style: "margin:10px 0 2px" }, concept.name.replaceAll("_", " ")),
      el(
        "div",
        { class: "pair-strips" },
        el("small", {}, "base"),
        el("div", { class: "strip" }, strip(concept.base, "base model")),
        el("small", {}, "this"),
        el("div", { class: "strip" }, strip(row.cells, `${p.config}, ${p.moment}`)),
      ),
    ];
  });
  const pick = selector(
    "Point",
    DATA.points.map((q, i) => [i, `${q.config}, ${q.moment}`]),
    trade.point,
    (value) => showPoint(Number(value)),
  );
  return fill(
    pointCard,
    head,
    el("p", { class: "hint" }, "Click a point of a chart, or choose one here."),
    el("div", { class: "controls" }, pick),
    some.length ? body.flat() : note("No pictures of this point are in the page."),
  );
}

function showPoint(point) {
  trade.point = point;
  drawPointPictures();
}
