// Image grids: concept, epoch, training seed and prompt type are chosen; a click compares with the base model.
const gallery = { concept: 0, moment: "last", seed: DATA.gallery.seeds[0] ?? null, type: "every" };
keep("pictures", gallery, {
  concept: indexIn(DATA.gallery.concepts.map((c) => c.name)),
  moment: oneOf(["last", ...DATA.moments]),
  seed: oneOf(DATA.gallery.seeds),
  type: oneOf([...new Set(DATA.gallery.concepts.flatMap((c) => c.columns.map((k) => k.type)))]),
});
// What the base model drew in the way of a point; without one, in the study's own.
const OWN_FLOOR = -1;
const baseRow = (concept, point = null) =>
  concept.floors[point === null ? OWN_FLOOR : DATA.points[point].floor] ?? concept.floors[OWN_FLOOR] ?? null;

// A picture as a button that opens the viewer; a row's `cells` are numbers into DATA.gallery.pictures, -1 = none.
function thumbnail(concept, row, k, name) {
  const { cells } = row;
  if (cells[k] < 0) return el("span", { class: "none" }, "none");
  const column = concept.columns[k];
  return el(
    "button",
    {
      type: "button",
      class: "thumb",
      "aria-label": `${name}: ${column.prompt}`,
      onclick: () => view(concept, row, k, name),
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

// A thumbnail, and the whole picture in its place where it still lies beside the page: the page is complete without.
function figure(number, caption, file = "") {
  const img = el("img", { src: DATA.gallery.pictures[number], alt: caption });
  const words = el("figcaption", {}, caption);
  if (file) {
    const whole = new Image();
    whole.addEventListener("load", () => {
      img.src = whole.src;
      const link = el("a", { href: file, target: "_blank", rel: "noopener" }, `whole picture, ${whole.naturalWidth} × ${whole.naturalHeight}`);
      words.append(el("br"), link);
    });
    whole.src = file;
  }
  const sharpen = () => img.classList.toggle("small-source", img.naturalWidth <= 96);
  if (img.complete) sharpen();
  else img.addEventListener("load", sharpen);
  return el("figure", {}, img, words);
}

function view(concept, { cells, files, point = null }, k, name) {
  const column = concept.columns[k],
    training = concept.dataset[0],
    base = baseRow(concept, point);
  const draw = (place) => {
    k = place;
    const c = concept.columns[k];
    fill(
      byId("viewer-body"),
      el(
        "div",
        { class: "compare" },
        training ? figure(training.picture, "a training image") : null,
        base && base.cells[k] >= 0 && base.cells !== cells
          ? figure(base.cells[k], "base model", base.files?.[k])
          : null,
        figure(cells[k], name, files?.[k]),
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
    .filter((row) => inView(row) && shown(row.point) && (row.seed === null || row.seed === gallery.seed))
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

// Real pictures in a row, under their title; nothing where there are none.
function realStrip(title, pictures) {
  if (!pictures.length) return [];
  const image = ({ picture, caption }) =>
    el("img", { src: DATA.gallery.pictures[picture], alt: caption, title: caption, width: 92, height: 92 });
  const figures = pictures.map((each) => el("figure", {}, el("span", { class: "thumb", style: "cursor:default" }, image(each))));
  return [el("h3", {}, title), el("div", { class: "strip", tabindex: 0, role: "region", "aria-label": title }, figures)];
}

const inType = (concept, k) => gallery.type === "every" || concept.columns[k].type === gallery.type;

function drawGallery() {
  drawGrown();
  if (isSwept) drawSettings();
  const host = byId("pictures-grid"),
    concept = DATA.gallery.concepts[gallery.concept];
  const places = concept.columns.map((_, k) => k).filter((k) => inType(concept, k));
  const starts = (k, n) => (n === 0 || concept.columns[k].type !== concept.columns[places[n - 1]].type ? "starts" : "");
  const row = (head, shownRow, name, kind = "") =>
    el(
      "tr",
      { class: kind },
      head,
      places.map((k, n) => el("td", { class: starts(k, n) }, thumbnail(concept, shownRow, k, name))),
    );
  const base = baseRow(concept)
    ? row(
        el("th", { scope: "row" }, "base model", el("small", {}, "before fine-tuning")),
        baseRow(concept),
        "base model",
        "floor",
      )
    : null;
  const rows = galleryRows(concept).map((r) => {
    const p = DATA.points[r.point];
    const head = el(
      "th",
      { scope: "row" },
      configMark(p.config),
      ` ${p.config}`,
      el("small", {}, p.moment),
    );
    return row(head, r, `${p.config}, ${p.moment}`, chosen.lit.has(p.config) ? "lit" : "");
  });
  const real = [...realStrip("Training images", concept.dataset), ...realStrip("Held-out images", concept.held_out)];
  const none = rows.length ? null : note("No pictures of this epoch, seed and filter are in the page.");
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
  fill(host, ...real, el("h3", {}, "Generated"), table, none, left);
}

function startGallery() {
  if (!DATA.gallery.concepts.length)
    return fill(byId("pictures-grid"), note("This run kept no thumbnails, so there is nothing to show."));
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
          DATA.unit[0].toUpperCase() + DATA.unit.slice(1),
          [["last", `last ${DATA.unit} of each config`], ...DATA.moments.map((m) => [m, m])],
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
  configBar(byId("pictures-controls"));
  drawGallery();
  return redraws.push(drawGallery);
}
startGallery();
drawPointPictures();
returnToPlace();
