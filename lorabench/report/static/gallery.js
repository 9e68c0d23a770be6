// Image grids: concept, epoch, training seed and prompt type are chosen; a click compares with the base model.
const gallery = { concept: 0, moment: "last", seed: null, type: "every" };

// A picture as a button that opens the viewer; `cells` are numbers into DATA.gallery.pictures, -1 = none.
function thumbnail(concept, cells, k, name) {
  if (cells[k] < 0) return el("span", { class: "none" }, "none");
  const column = concept.columns[k];
  return el(
    "button",
    {
      type: "button",
      class: "thumb",
      "aria-label": `${name}: ${column.prompt}`,
      onclick: () => view(concept, cells, k, name),
    },
    el("img", {
      src: DATA.gallery.pictures[cells[k]],
      alt: "",
      decoding: "async",
      width: 92,
      height: 92,
    }),
  );
}

function figure(number, caption) {
  const img = el("img", { src: DATA.gallery.pictures[number], alt: caption });
  const sharpen = () => img.classList.toggle("small-source", img.naturalWidth <= 96);
  if (img.complete) sharpen();
  else img.addEventListener("load", sharpen);
  return el("figure", {}, img, el("figcaption", {}, caption));
}

function view(concept, cells, k, name) {
  const column = concept.columns[k],
    training = concept.dataset[0];
  const draw = (place) => {
    k = place;
    const c = concept.columns[k];
    fill(
      byId("viewer-body"),
      el(
        "div",
        { class: "compare" },
        training ? figure(training.picture, "a training image") : null,
        concept.base && concept.base[k] >= 0 && concept.base !== cells ? figure(concept.base[k], "base model") : null,
        figure(cells[k], name),
      ),
      el("p", {}, el("b", {}, `${c.type} prompt: `), c.prompt),
      el(
        "p",
        { class: "hint" },
        `${concept.name.replaceAll("_", " ")}, picture ${c.index}${c.noise ? `, noise seed ${c.noise}` : ""}. ` +
          "Arrow keys: other prompts of this row.",
      ),
    );
  };
  const step = (by) => {
    let next = k;
    do next = (next + by + cells.length) % cells.length;
    while (cells[next] < 0);
    draw(next);
  };
  draw(concept.columns.indexOf(column));
  const dialog = byId("viewer");
  dialog.onkeydown = (event) => {
    if (event.key === "ArrowRight") step(1);
    else if (event.key === "ArrowLeft") step(-1);
  };
  dialog.showModal();
}
byId("viewer").addEventListener("click", (event) => {
  if (event.target === byId("viewer")) byId("viewer").close();
});

function galleryRows(concept) {
  const inView = (row) =>
    gallery.moment === "last" ? DATA.last.includes(row.point) : DATA.points[row.point].moment === gallery.moment;
  return concept.rows
    .filter((row) => inView(row) && (row.seed === null || row.seed === gallery.seed))
    .sort((a, b) => a.point - b.point);
}

function galleryHead(concept, places, first = "Checkpoint") {
  let last = null;
  const cells = places.map((k) => {
    const c = concept.columns[k],
      starts = c.type !== last;
    last = c.type;
    return el(
      "th",
      { scope: "col", class: starts ? "starts" : "", title: c.prompt },
      el("b", {}, `${c.type} ${c.index + 1}`),
      el("span", {}, c.prompt),
    );
  });
  return el("thead", {}, el("tr", {}, el("th", { scope: "col" }, first), cells));
}

const inType = (concept, k) => gallery.type === "every" || concept.columns[k].type === gallery.type;

function drawGallery() {
  drawGrown();
  const host = byId("pictures-grid"),
    concept = DATA.gallery.concepts[gallery.concept];
  const places = concept.columns.map((_, k) => k).filter((k) => inType(concept, k));
  const starts = (k, n) => (n === 0 || concept.columns[k].type !== concept.columns[places[n - 1]].type ? "starts" : "");
  const row = (head, cells, name, kind = "") =>
    el(
      "tr",
      { class: kind },
      head,
      places.map((k, n) => el("td", { class: starts(k, n) }, thumbnail(concept, cells, k, name))),
    );
  const base = concept.base
    ? row(
        el("th", { scope: "row" }, "base model", el("small", {}, "before fine-tuning")),
        concept.base,
        "base model",
        "floor",
      )
    : null;
  const rows = galleryRows(concept).map((r) => {
    const p = DATA.points[r.point];
    const head = el(
      "th",
      { scope: "row" },
      el("span", { class: "dot", "data-algorithm": p.algorithm, style: `background:${colorOf(p.algorithm)}` }),
      p.config,
      el("small", {}, p.moment),
    );
    return row(head, r.cells, `${p.config}, ${p.moment}`);
  });
  const training = concept.dataset.length
    ? [
        el("h3", {}, "Training images"),
        el(
          "div",
          { class: "strip", tabindex: 0, role: "region", "aria-label": "Training images" },
          concept.dataset.map((d) =>
            el(
              "figure",
              {},
              el(
                "span",
                { class: "thumb", style: "cursor:default" },
                el("img", {
                  src: DATA.gallery.pictures[d.picture],
                  alt: d.caption,
                  title: d.caption,
                  width: 92,
                  height: 92,
                }),
              ),
            ),
          ),
        ),
      ]
    : [];
  const none = rows.length ? null : note("No pictures of this epoch and seed are in the page.");
  const table = places.length
    ? el(
        "div",
        { class: "scroll tall", tabindex: 0, role: "region", "aria-label": "Pictures by checkpoint and prompt" },
        el("table", { class: "grid" }, galleryHead(concept, places), el("tbody", {}, base, rows)),
      )
    : note("No pictures of this prompt type were kept for this concept.");
  const left = DATA.gallery.left_out
    ? el(
        "p",
        { class: "hint" },
        `To keep this file small, not everything is in it: ${DATA.gallery.left_out}. ` +
          "All pictures are in the run's folder.",
      )
    : null;
  fill(host, ...training, el("h3", {}, "Generated"), table, none, left);
}

function startGallery() {
  if (!DATA.gallery.concepts.length)
    return fill(byId("pictures-grid"), note("This run kept no thumbnails, so there is nothing to show."));
  gallery.seed = DATA.gallery.seeds[0] ?? null;
  const groups = new Map();
  DATA.gallery.concepts.forEach((c, i) => {
    const label = DATA.categories.find((k) => k.key === c.category)?.label ?? c.category;
    if (!groups.has(label)) groups.set(label, []);
    groups.get(label).push([i, c.name.split("/").slice(1).join(", ") || c.name]);
  });
  const types = [...new Set(DATA.gallery.concepts.flatMap((c) => c.columns.map((k) => k.type)))];
  const set = (key, read) => (value) => {
    gallery[key] = read(value);
    drawGallery();
  };
  const moments =
    DATA.moments.length > 1
      ? selector(
          "Epoch",
          [["last", "last epoch of each config"], ...DATA.moments.map((m) => [m, m])],
          gallery.moment,
          set("moment", String),
        )
      : null;
  const seeds =
    DATA.gallery.seeds.length > 1
      ? selector(
          "Training seed",
          DATA.gallery.seeds.map((s) => [s, s]),
          gallery.seed,
          set("seed", String),
        )
      : null;
  fill(
    byId("pictures-controls"),
    selector("Concept", [...groups], gallery.concept, set("concept", Number)),
    moments,
    seeds,
    selector("Prompts", [["every", "every type"], ...types.map((t) => [t, t])], gallery.type, set("type", String)),
  );
  drawGallery();
  return redraws.push(drawGallery);
}
startGallery();
drawPointPictures();
