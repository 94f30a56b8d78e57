// The runs of a sweep: filters, a heat map, and the chosen run.
const MOST_CHOICES = 30, MOST_CELLS = 4000, MOST_MEMBERS = 40;

function prepareRuns() {
  const { runs, axes, numbers, most_lines: mostLines } = DATA;
  const rows = findAll('table[data-rows="run"] tbody tr');
  const varying = axes.filter((axis) => valuesOf(axis).length > 1);
  const filters = new Map(); // axis -> whether a run is shown
  let chosen = -1, members = [];

  // The values of an axis in order; undefined, the last, stands for runs without the axis.
  function valuesOf(axis) {
    const values = [...new Set(runs.map((run) => run.axes[axis]))];
    return values.sort((a, b) => (a === undefined) - (b === undefined) || compareKeys(a, b));
  }

  const isNumeric = (axis) => valuesOf(axis).every((value) => typeof value === "number");
  const tidy = (value) => (typeof value === "number" ? shortNumber(value) : value === undefined ? "-" : String(value));
  // A number of a run, or its log10; -Infinity is the log10 of 0, which JSON cannot hold.
  const numberOf = (run, name) => (run.numbers?.[name] === "zero" ? -Infinity : (run.numbers?.[name] ?? null));
  const isShown = (run) => [...filters.values()].every((allows) => allows(run));
  const shownRuns = () => runs.filter(isShown);

  function selection(label, options, onchange) {
    const select = make("select", { onchange: () => onchange(select.value) });
    select.append(...options.map(([value, words]) => make("option", { value }, words)));
    return make("label", {}, `${label} `, select);
  }

  function setFilter(axis, allows) {
    if (allows) filters.set(axis, allows);
    else filters.delete(axis);
    draw();
  }

  // Few values are chosen from a list; many numbers by their range, many words by a part of the word.
  function filterOf(axis, values, read) {
    if (values.length <= MOST_CHOICES) {
      const options = [["", "all"], ...values.map((value, number) => [String(number), value === undefined ? "-" : String(value)])];
      return selection(axis, options, (number) => setFilter(axis, number && ((run) => read(run) === values[Number(number)])));
    }
    if (values.every((value) => typeof value === "number")) {
      const ends = [values[0], values.at(-1)].map((end, side) =>
        make("input", { type: "number", step: "any", placeholder: shortNumber(end), "aria-label": `${axis} ${side ? "to" : "from"}` }));
      const set = () => {
        const [low, high] = ends.map((end) => (end.value === "" ? null : Number(end.value)));
        setFilter(axis, (run) => (low === null || read(run) >= low) && (high === null || read(run) <= high));
      };
      for (const end of ends) end.oninput = set;
      return make("span", {}, `${axis} `, ends[0], " to ", ends[1]);
    }
    const part = make("input", { type: "search", placeholder: "contains ..." });
    part.oninput = () => setFilter(axis, (run) => String(read(run)).includes(part.value));
    return make("label", {}, `${axis} `, part);
  }

  function prepareFilters() {
    const form = find("#filters");
    for (const axis of varying) form.append(filterOf(axis, valuesOf(axis), (run) => run.axes[axis]));
    const verdicts = [...new Set(runs.map((run) => run.verdict))];
    if (verdicts.length > 1) form.append(filterOf("verdict", verdicts, (run) => run.verdict));
    form.onsubmit = (event) => event.preventDefault();
    form.hidden = form.children.length === 0;
  }

  const map = { x: null, y: null, value: "verdict" };

  function prepareMap() {
    if (varying.length < 2) return;
    const rank = (axis) => (axis === "seed" ? 2 : isNumeric(axis) ? 0 : 1); // seeds are means, not an axis
    [map.x, map.y] = [...varying].sort((a, b) => rank(a) - rank(b));
    const options = (first) => [first, ...varying.filter((axis) => axis !== first)].map((axis) => [axis, axis]);
    const values = [["verdict", "verdict"], ...numbers.filter(({ name }) => name !== "layer").map(({ name, label }) => [name, label])];
    find("#map-tools").append(
      selection("across", options(map.x), (value) => { map.x = value; drawMap(); }),
      selection("down", options(map.y), (value) => { map.y = value; drawMap(); }),
      selection("colour", values, (value) => { map.value = value; drawMap(); }));
    find("#map").hidden = false;
  }

  // The shown runs of each cell, by the places of its values.
  function cellsOf(across, down) {
    const place = (values) => new Map(values.map((value, number) => [value, number]));
    const [columns, lines] = [place(across), place(down)], cells = new Map();
    for (const run of shownRuns()) {
      const key = `${lines.get(run.axes[map.y])} ${columns.get(run.axes[map.x])}`;
      if (!cells.has(key)) cells.set(key, []);
      cells.get(key).push(run);
    }
    return cells;
  }

  function drawMap() {
    if (varying.length < 2) return;
    const shown = shownRuns();
    const used = (axis) => valuesOf(axis).filter((value) => shown.some((run) => run.axes[axis] === value));
    const across = used(map.x), down = used(map.y), table = find(".heat"), words = find("#map-words");
    if (across.length * down.length > MOST_CELLS) {
      table.replaceChildren();
      words.textContent = `${across.length} x ${down.length} cells are too many: filter the runs or choose another axis.`;
      return;
    }
    const entry = numbers.find(({ name }) => name === map.value);
    const values = shown.map((run) => numberOf(run, map.value)).filter((value) => value != null && value > -Infinity);
    const range = values.length ? [Math.min(...values), Math.max(...values)] : [0, 1];
    const cells = cellsOf(across, down);
    const heading = (scope, words) => make("th", { scope }, make("span", {}, words));
    const head = make("tr", {}, heading("col", `${map.y} \\ ${map.x}`), ...across.map((value) => heading("col", tidy(value))));
    const body = down.map((y, line) => make("tr", {}, heading("row", tidy(y)),
      ...across.map((x, column) => make("td", {}, cell(cells.get(`${line} ${column}`), entry, range)))));
    table.replaceChildren(make("thead", {}, head), make("tbody", {}, ...body));
    const several = [...cells.values()].some((inside) => inside.length > 1);
    words.textContent = "Choose a cell to see its run." + (several ? ` A cell with several runs ${entry ? `shows their ${entry.log ? "geometric mean" : "mean"} and` : ""} lists them.` : "");
  }

  function cell(inside, entry, range) {
    if (!inside) return "";
    const button = make("button", { type: "button", onclick: () => choose(runs.indexOf(inside[0]), inside) });
    if (!entry) {
      const verdicts = [...new Set(inside.map((run) => run.verdict))];
      const healthy = inside.filter((run) => run.level === "healthy").length;
      button.textContent = verdicts.length > 1 ? `${healthy} of ${inside.length} survive` : verdicts[0];
      button.className = healthy === inside.length ? "word-survives" : healthy ? "level-warning" : `level-${worstOf(inside)}`;
    } else {
      const values = inside.map((run) => numberOf(run, entry.name)).filter((value) => value != null);
      const mean = values.reduce((a, b) => a + b, 0) / values.length;
      button.textContent = values.length ? (entry.log ? fromLog(mean) : shortNumber(mean)) : "-";
      if (values.length) button.style.background = shade(Math.max((mean - range[0]) / (range[1] - range[0] || 1), 0));
    }
    button.title = inside.map((run) => `${run.name}: ${run.verdict}`).slice(0, 8).join("\n");
    button.members = inside;
    button.classList.toggle("chosen", inside.includes(runs[chosen]));
    return button;
  }

  const worstOf = (inside) => ["failed", "error", "warning", "healthy"].find((level) => inside.some((run) => run.level === level));
  // Blue to yellow, light enough for black text at both ends.
  const shade = (share) => `hsl(${220 - 170 * share} 75% ${72 + 6 * share}%)`;

  // One run for each setting: the seeds of a setting would cover each other.
  function firstSeeds(several) {
    const settings = new Map(several.toReversed().map((run) => [run.label, run]));
    return [...settings.values()].reverse();
  }

  function chartOf(name, title, drawn, key) {
    const depth = Math.max(1, ...drawn.map((run) => run.series[key].length));
    const x = Array.from({ length: depth }, (_, number) => number + 1);
    const padded = (values) => x.map((_, number) => values[number] ?? null);
    return { name, title, x_label: "layer", x, log: true, whole: true, lines: drawn.map((run) => ({ label: run.line, kind: "measured", values: padded(run.series[key]), zeros: run.series[`${key}_zeros`], last: run.series[key].length })) };
  }

  // Show a run; `inside` are the runs of its cell of the heat map.
  function choose(index, inside = null) {
    chosen = index;
    members = inside || members;
    chooseRow(rows, index);
    const run = runs[index], place = find("#run");
    place.hidden = false;
    place.replaceChildren(make("h2", {}, run.name), ...others(run), verdictOf(run));
    if (run.command) place.append(make("p", { class: "quiet" }, "Measure it alone:"), copied(run.command));
    prepareCopying(place);
    if (run.series) drawRun(run, place);
    for (const button of findAll(".heat button")) button.classList.toggle("chosen", button.members.includes(run));
    if (inside) place.scrollIntoView({ block: "nearest" });
  }

  // Buttons for the runs of the same cell.
  function others(run) {
    if (members.length < 2 || !members.includes(run)) return [];
    const differing = varying.filter((axis) => members.some((other) => other.axes[axis] !== members[0].axes[axis]));
    const nameOf = (other) => differing.map((axis) => `${axis}=${tidy(other.axes[axis])}`).join(" ") || other.name;
    const buttons = members.slice(0, MOST_MEMBERS).map((other) => make("button", {
      type: "button", class: other === run ? "chosen" : null, "aria-pressed": String(other === run),
      onclick: () => choose(runs.indexOf(other), members),
    }, `${nameOf(other)}: ${other.verdict}`));
    const more = members.length > buttons.length ? ` and ${members.length - buttons.length} more: filter them` : "";
    return [make("p", { class: "members" }, `${members.length} runs in this cell: `, ...buttons, more)];
  }

  function verdictOf(run) {
    const box = make("div", { class: `verdict ${run.level}` }, make("p", { class: "words" },
      run.layer ? `${run.verdict} from layer ${run.layer}` : run.verdict));
    if (run.words) box.append(make("p", {}, run.words));
    if (run.fix) box.append(make("p", {}, make("b", {}, "Fix")), copied(run.fix));
    return box;
  }

  const copied = (text) => make("div", { class: "code" }, make("pre", {}, make("code", {}, text)),
    make("button", { type: "button", class: "copy", hidden: true }, "Copy"));

  function drawRun(run, place) {
    const pair = make("div", { class: "charts" });
    place.append(pair);
    const drawn = [["output", "Variance of the output h"], ["gradient", "Variance of the gradient dL/dh"]].map(([key, title]) => {
      const chart = chartOf(`run-${key}`, title, [run], key);
      chart.lines[0].label = "measured";
      const theory = run.series[`${key}_theory`];
      if (theory.some((value) => value != null)) chart.lines.push({ label: "theory", kind: "theory", values: theory });
      const figure = make("figure", { class: "chart" }, make("figcaption", {}, title));
      pair.append(figure);
      return [figure, chart];
    });
    for (const [figure, chart] of drawn) drawChart(figure, chart);
  }

  function draw() {
    const shown = new Set(shownRuns());
    for (const row of rows) row.hidden = !shown.has(runs[Number(row.dataset.index)]);
    const done = firstSeeds([...shown].filter((run) => run.series)), lines = done.slice(0, mostLines);
    find("#shown").textContent = `${shown.size} of ${runs.length} runs` + (done.length > lines.length ? `; the first ${lines.length} settings as lines` : "");
    for (const [key, title] of [["output", "Variance of the output h"], ["gradient", "Variance of the gradient dL/dh"]]) {
      const figure = find(`[data-chart="overview-${key}"]`);
      figure.hidden = !lines.length;
      delete figure.place;
      if (lines.length) drawChart(figure, chartOf(`overview-${key}`, title, lines, key));
    }
    drawMap();
    if (chosen >= 0) choose(chosen);
  }

  prepareFilters();
  prepareMap();
  for (const row of rows) {
    row.tabIndex = 0;
    row.onclick = () => choose(Number(row.dataset.index));
    row.onkeydown = (event) => event.key === "Enter" && choose(Number(row.dataset.index));
  }
  return draw;
}
