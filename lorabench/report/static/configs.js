// Which configs the page shows, and which of them stand out: one choice for all sections.
const chosen = { text: "", hidden: new Set(), lit: new Set() };
keep("configs", chosen, {
  text: anyText,
  hidden: someOf(Object.keys(DATA.algorithms)),
  lit: someOf(Object.keys(DATA.configs)),
});
const CONFIGS = Object.keys(DATA.configs);
// What a filter looks at: the name, the algorithm's, and the settings.
const CONFIG_WORDS = new Map(
  DATA.points.map((p) => [p.config, `${p.config} ${DATA.algorithms[p.algorithm].label} ${p.settings}`.toLowerCase()]),
);

// Words must all occur, one after "-" must not; a comma stands between alternatives.
function matches(config, text) {
  const found = (word) =>
    word.startsWith("-") && word.length > 1
      ? !CONFIG_WORDS.get(config).includes(word.slice(1))
      : CONFIG_WORDS.get(config).includes(word);
  const ways = text.toLowerCase().split(",").map((way) => way.split(/\s+/).filter(Boolean));
  const asked = ways.filter((way) => way.length);
  return !asked.length || asked.some((way) => way.every(found));
}
const showsConfig = (config) => !chosen.hidden.has(DATA.configs[config].algorithm) && matches(config, chosen.text);
const shown = (point) => showsConfig(DATA.points[point].config);
// Where some are lit, the others fade.
const litConfig = (config) => !chosen.lit.size || chosen.lit.has(config);
const strength = (config) => (litConfig(config) ? 1 : 0.13);

const configBars = [];
function chooseConfigs() {
  for (const draw of configBars) draw();
  redrawAll();
}
function toggle(set, name) {
  if (!set.delete(name)) set.add(name);
  chooseConfigs();
}

// A field that filters, what it leaves, and a button that takes it all back.
function configBar(host) {
  let timer = 0;
  const field = el("input", {
    type: "search",
    placeholder: "e.g. lora attention, -lr1e-2",
    value: chosen.text,
    spellcheck: "false",
    autocomplete: "off",
    oninput: () => {
      clearTimeout(timer);
      timer = setTimeout(() => {
        chosen.text = field.value;
        chooseConfigs();
      }, 200);
    },
  });
  const clear = el(
    "button",
    {
      type: "button",
      class: "button small",
      onclick: () => {
        chosen.text = "";
        chosen.hidden.clear();
        chosen.lit.clear();
        chooseConfigs();
      },
    },
    "Show all",
  );
  const say = el("span", { role: "status" });
  host.append(
    el("label", {}, "Filter configs", field),
    el("span", { class: "chosen" }, say, clear),
  );
  const draw = () => {
    if (document.activeElement !== field) field.value = chosen.text;
    const left = CONFIGS.filter(showsConfig).length;
    const lit = chosen.lit.size ? `, ${chosen.lit.size} highlighted` : "";
    say.textContent = left < CONFIGS.length || lit ? `${left} of ${CONFIGS.length} configs${lit}` : "";
    clear.hidden = !say.textContent;
  };
  configBars.push(draw);
  draw();
}

const swatch = (color) => el("span", { class: "swatch", style: `background:${color}` });
const chip = (kind, pressed, title, mark, text, onclick) =>
  el("button", { class: kind, type: "button", "aria-pressed": String(pressed), title, onclick }, mark, text);
const configChip = (config, mark = configMark) =>
  chip(
    `mark-chip${litConfig(config) ? "" : " faded"}`,
    chosen.lit.has(config),
    "Highlight in every section",
    mark(config),
    config,
    () => toggle(chosen.lit, config),
  );

// The legend: an algorithm is shown or hidden, a config stands out.
const configLegend = () =>
  Object.entries(DATA.algorithms).map(([name, look]) =>
    el(
      "div",
      { class: "family" },
      chip("chip", !chosen.hidden.has(name), "Show or hide", swatch(colorOf(name)), look.label, () =>
        toggle(chosen.hidden, name),
      ),
      CONFIGS.filter((config) => DATA.configs[config].algorithm === name && showsConfig(config)).map((config) => configChip(config)),
    ),
  );
// That of a chart of lines; several merge ratios of a config are one mark.
const lineLegend = (configs) => el("div", { class: "family" }, [...new Set(configs)].map((config) => configChip(config, lineMark)));
