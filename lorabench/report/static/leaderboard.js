// The leaderboard: rows are points of a view, columns measurements; sortable.
const board = { category: "all", view: 0, columns: "headline", sort: null, ascending: false, intervals: "asked" };
const firstHeadline = DATA.columns.findIndex((c, i) => c.headline && meansOf(i, "all"));
if (firstHeadline >= 0) board.sort = firstHeadline;
const BOARD_KEYS = [...DATA.columns.map((c) => c.key), "name"];
keep("leaderboard", board, {
  category: oneOf(DATA.categories.map((c) => c.key)),
  view: indexIn(DATA.views.map((v) => v.label)),
  columns: oneOf(["headline", ...new Set(DATA.columns.map((c) => c.criterion))]),
  sort: {
    write: (key) => (key === null ? "" : key === "name" ? "name" : DATA.columns[key].key),
    read: (text) => (text === "name" ? "name" : BOARD_KEYS.includes(text) ? BOARD_KEYS.indexOf(text) : undefined),
  },
  ascending: oneOf([true, false]),
  intervals: oneOf(["asked", "shown"]),
});
const opened = new Set(); // cells whose interval is shown
// Factors of the study's own have columns while they leave room for scores; of many a config names those in which it is
// not as most are.
const OWN_COLUMNS = DATA.own.length <= 3 ? DATA.own : [];
const USUAL = DATA.own.map((_, k) => {
  const counts = new Map();
  for (const p of DATA.points) counts.set(p.own[k], (counts.get(p.own[k]) ?? 0) + 1);
  return [...counts].sort((a, b) => b[1] - a[1])[0]?.[0];
});
const ownWords = (p) =>
  OWN_COLUMNS.length
    ? ""
    : DATA.own
        .map((label, k) => (p.own[k] && p.own[k] !== USUAL[k] ? `${label}: ${p.own[k]}` : ""))
        .filter((words) => words)
        .join(", ");

function boardColumns() {
  const numbers = DATA.columns.map((_, i) => i).filter((i) => meansOf(i, board.category));
  if (board.columns === "headline") return numbers.filter((i) => DATA.columns[i].headline);
  return numbers.filter((i) => DATA.columns[i].criterion === board.columns);
}

// Of a measurement that fails its audit: it is shown, and not to be leaned on.
const doubtful = (column) => (DATA.columns[column].doubts.length ? "doubted" : "");

function meter(score, error) {
  const at = (v) => 100 * Math.min(1, Math.max(0, v));
  const parts = [
    el("rect", { class: "track", width: 100, height: 10, rx: 1.5 }),
    el("rect", { class: "fill", width: at(score), height: 10, rx: 1.5 }),
  ];
  if (error !== null) {
    const [a, b] = [at(score - error), at(score + error)];
    for (const [x1, y1, x2, y2] of [
      [a, 5, b, 5],
      [a, 2, a, 8],
      [b, 2, b, 8],
    ])
      parts.push(el("line", { x1, y1, x2, y2 }));
  }
  return el(
    "svg",
    { class: "meter", viewBox: "0 0 100 10", preserveAspectRatio: "none", "aria-hidden": "true" },
    parts,
  );
}

const MARKS = { best: "★", tied: "≈", "cannot be told": "?" };

// How a point stands to the best of its column: verdict, and in words by how much.
function standing(column, point, category = board.category, view = board.view) {
  const marks = DATA.views[view].marks[column]?.[category],
    at = marks ? marks.points.indexOf(point) : -1;
  if (at < 0) return { verdict: "", words: "" };
  const verdict = marks.verdict[at];
  if (verdict === "best") return { verdict, words: "highest mean" };
  const by = `${fixed(-marks.difference[at], 3)} below ${DATA.points[marks.best].config}`;
  if (verdict === "cannot be told" && marks.low[at] === null) return { verdict, words: `${by}, which cannot be tested` };
  const interval = `95 %: ${fixed(-marks.high[at], 3)} to ${fixed(-marks.low[at], 3)}, ${marks.q[at] === null ? "whenever one had stopped" : `q ${marks.q[at] === 0 ? "below 0.001" : fixed(marks.q[at], 3)}`}`;
  return { verdict, words: `${by} (${interval}): ${{ tied: "not told apart", worse: "worse" }[verdict] ?? verdict}` };
}

function boardCell(column, point) {
  const m = meansOf(column, board.category);
  const score = m.score[point];
  const raw = m.raw[point] === null ? null : el("span", { class: "raw" }, `raw ${significant(m.raw[point])}`);
  if (score === null)
    return el("td", {}, el("div", { class: "value" }, el("span", { class: "raw" }, "not measured")), raw);
  const { verdict, words } = standing(column, point);
  const kind = verdict === "best" ? "best" : verdict in MARKS ? "tied" : "";
  const mark = kind ? el("span", { class: `mark ${kind}`, "aria-hidden": "true" }, MARKS[verdict]) : null;
  const all = [words, `${m.n[point]} class × seed rows`].filter(Boolean).join("; ");
  const name = `${board.view} ${board.category} ${column} ${point}`;
  const open = () => board.intervals === "shown" || printing || opened.has(name);
  const interval = el("small", { class: "interval", hidden: !open() }, all);
  // A button, because an interval that takes a mouse to see is none on a phone and for a keyboard.
  const value = el(
    "button",
    {
      type: "button",
      class: "value",
      "aria-expanded": String(open()),
      title: all,
      onclick: () => {
        if (!opened.delete(name)) opened.add(name);
        interval.hidden = !open();
        value.setAttribute("aria-expanded", String(open()));
      },
    },
    el(
      "span",
      {},
      el("b", {}, fixed(score, 2)),
      m.scoreError[point] === null ? "" : ` ± ${fixed(m.scoreError[point], 2)}`,
    ),
    mark,
  );
  return el(
    "td",
    { class: `${kind} ${doubtful(column)}`.trim() },
    value,
    meter(score, m.scoreError[point]),
    raw,
    interval,
  );
}

function boardHead(columns) {
  const sortButton = (key, ...content) => {
    // On paper there is nothing to press, and Chromium repeats no buttons at the head of the next sheet.
    if (printing) return el("span", {}, content);
    const sort = () => {
      board.ascending = board.sort === key ? !board.ascending : key === "name";
      board.sort = key;
      drawBoard();
      byId("leaderboard-table").querySelector(`[data-key="${key}"]`)?.focus();
    };
    return el("button", { type: "button", onclick: sort, "data-key": key }, content);
  };
  const arrow = (key) => (board.sort === key ? (board.ascending ? " ▲" : " ▼") : "");
  const order = (key) => (board.sort === key ? (board.ascending ? "ascending" : "descending") : "none");
  return el(
    "thead",
    {},
    el(
      "tr",
      {},
      el("th", { scope: "col", "aria-sort": order("name") }, sortButton("name", `Config${arrow("name")}`)),
      OWN_COLUMNS.map((name) => el("th", { scope: "col" }, el("span", { class: "column" }, name))),
      columns.map((i) => {
        const c = DATA.columns[i];
        return el(
          "th",
          { scope: "col", "aria-sort": order(i), class: doubtful(i), title: c.doubts.join("; ") || null },
          sortButton(
            i,
            el("span", { class: "column" }, (board.columns === "headline" ? c.criterionLabel : c.label) + arrow(i)),
            el("small", {}, board.columns === "headline" ? columnText(c) : c.details),
            c.doubts.length && board.columns !== "headline" ? el("small", {}, "fails its audit") : null,
            el("small", {}, `raw: ${c.higher ? "higher" : "lower"} is better`),
          ),
        );
      }),
    ),
  );
}

function boardName(point) {
  const p = DATA.points[point],
    every = DATA.views[board.view].label === "every epoch";
  const differs = every || DATA.views[board.view].points.some((q) => DATA.points[q].moment !== p.moment);
  return el(
    "th",
    { scope: "row" },
    el(
      "span",
      { class: "name" },
      configMark(p.config),
      el(
        "button",
        {
          type: "button",
          class: "highlight",
          title: "Highlight in every section",
          "aria-pressed": String(chosen.lit.has(p.config)),
          "data-config": p.config,
          onclick: () => {
            toggle(chosen.lit, p.config);
            byId("leaderboard-table").querySelector(`[data-config="${CSS.escape(p.config)}"]`)?.focus();
          },
        },
        p.config,
      ),
    ),
    el("small", {}, `${DATA.algorithms[p.algorithm].label}${p.settings ? ` · ${p.settings}` : ""}`),
    ownWords(p) ? el("small", {}, ownWords(p)) : null,
    differs ? el("small", {}, p.moment) : null,
  );
}

function sortedPoints(columns) {
  const points = DATA.views[board.view].points.filter(shown);
  if (board.sort !== "name" && !columns.includes(board.sort)) {
    board.sort = columns[0] ?? "name";
    board.ascending = board.sort === "name";
  }
  if (board.sort === "name") return board.ascending ? points : points.reverse();
  const score = meansOf(board.sort, board.category).score,
    sign = board.ascending ? 1 : -1;
  // Points without a score come last, whichever way the column is sorted.
  return points.sort((a, b) => (score[a] === null) - (score[b] === null) || sign * (score[a] - score[b]) || a - b);
}

function drawBoard() {
  const columns = boardColumns();
  const table = byId("leaderboard-table"),
    say = byId("leaderboard-note");
  if (!columns.length || !DATA.points.length) {
    fill(
      table,
      el(
        "tbody",
        {},
        el(
          "tr",
          {},
          el(
            "td",
            {},
            DATA.points.length ? "Nothing of this kind was measured for this category." : "No checkpoint was scored.",
          ),
        ),
      ),
    );
    say.textContent = "";
    return;
  }
  const rows = sortedPoints(columns).map((point) =>
    el(
      "tr",
      { class: chosen.lit.has(DATA.points[point].config) ? "lit" : null },
      boardName(point),
      OWN_COLUMNS.map((_, k) => el("td", {}, DATA.points[point].own[k])),
      columns.map((i) => boardCell(i, point)),
    ),
  );
  const reference = (key, name, what) =>
    el(
      "tr",
      { class: "floor" },
      el(
        "th",
        { scope: "row" },
        el("span", { class: "name" }, el("span", { class: "dot" }), name),
        el("small", {}, what),
      ),
      OWN_COLUMNS.map(() => el("td", {})),
      columns.map((i) =>
        el("td", {}, el("span", { class: "raw" }, `raw ${significant(meansOf(i, board.category)[key])}`)),
      ),
    );
  const real = reference("real", "real images", "some training images among the others: the ceiling; not ranked");
  const base = reference("base", "base model", "floor of fidelity; not ranked");
  fill(table, boardHead(columns), el("tbody", {}, rows, real, base));
  const counts = columns.flatMap((i) => meansOf(i, board.category).n).filter((n) => n);
  const few = counts.length && Math.min(...counts) < 5;
  say.textContent = few
    ? `With as few as ${Math.min(...counts)} class × seed rows here, the standard errors themselves are uncertain.`
    : "";
}

function drawBoardControls() {
  const change = (key) => (value) => {
    board[key] = key === "view" ? Number(value) : value;
    drawBoard();
  };
  const criteria = [...new Map(DATA.columns.map((c) => [c.criterion, `${c.criterionLabel}: every measurement`]))];
  fill(
    byId("leaderboard-controls"),
    selector("Category", categoryOptions(), board.category, change("category")),
    selector(
      "Epoch",
      DATA.views.map((v, i) => [i, v.label]),
      board.view,
      change("view"),
    ),
    selector("Columns", [["headline", "One for each criterion"], ...criteria], board.columns, change("columns")),
    selector(
      "Intervals",
      [
        ["asked", "of a cell that is pressed"],
        ["shown", "in every cell"],
      ],
      board.intervals,
      change("intervals"),
    ),
  );
  configBar(byId("leaderboard-controls"));
}
drawBoardControls();
drawBoard();
redraws.push(drawBoard);
