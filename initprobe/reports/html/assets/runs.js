// The runs of a sweep: filters, a heat map, and the chosen run.

function prepareRuns() {
  const { runs, axes, numbers, most_lines: mostLines } = DATA;
  const rows = findAll('table[data-rows="run"] tbody tr');
  const varying = axes.filter((axis) => valuesOf(axis).length > 1);
  const filters = new Map();
  let chosen = -1;

  function valuesOf(axis) {
    const values = [...new Set(runs.map((run) => run.axes[axis]))].filter((value) => value !== undefined);
    return values.sort((a, b) => compareKeys(a, b));
  }

  const isShown = (run) =>
    [...filters].every(([axis, value]) => value === "" || String(axis === "verdict" ? run.verdict : run.axes[axis]) === value);
  const shownRuns = () => runs.filter(isShown);

  function selection(label, options, onchange) {
    const select = make("select", { onchange: () => onchange(select.value) });
    select.append(...options.map(([value, words]) => make("option", { value }, words)));
    return make("label", {}, `${label} `, select);
  }

  function prepareFilters() {
    const form = find("#filters");
    const verdicts = [...new Set(runs.map((run) => run.verdict))];
    for (const [axis, values] of [...varying.map((axis) => [axis, valuesOf(axis)]), ["verdict", verdicts]]) {
      if (values.length < 2 || values.length > 100) continue;
      const options = [["", "all"], ...values.map((value) => [String(value), String(value)])];
      form.append(selection(axis, options, (value) => { filters.set(axis, value); draw(); }));
    }
    form.onsubmit = (event) => event.preventDefault();
    form.hidden = form.children.length === 0;
  }

  const map = { x: varying.at(-1), y: varying.at(-2), value: "verdict" };

  function prepareMap() {
    if (varying.length < 2) return;
    const rank = (axis) => (axis === "seed" ? 2 : isNumeric(axis) ? 0 : 1);
    const sorted = [...varying].sort((a, b) => rank(a) - rank(b)); // seeds are means, not an axis
    [map.x, map.y] = sorted;
    const options = (first) => [first, ...varying.filter((axis) => axis !== first)].map((axis) => [axis, axis]);
    const values = [["verdict", "verdict"], ...numbers.filter(({ name }) => name !== "layer").map(({ name, label }) => [name, label])];
    find("#map-tools").append(
      selection("across", options(map.x), (value) => { map.x = value; drawMap(); }),
      selection("down", options(map.y), (value) => { map.y = value; drawMap(); }),
      selection("colour", values, (value) => { map.value = value; drawMap(); }));
    find("#map").hidden = false;
  }

  const isNumeric = (axis) => valuesOf(axis).every((value) => typeof value === "number");

  function drawMap() {
    if (varying.length < 2) return;
    const across = valuesOf(map.x), down = valuesOf(map.y), table = find(".heat");
    const entry = numbers.find(({ name }) => name === map.value);
    const means = shownRuns().map((run) => run.numbers && run.numbers[map.value]).filter((value) => value != null);
    const range = [Math.min(...means), Math.max(...means)];
    const head = make("tr", {}, make("th", { scope: "col" }, `${map.y} \\ ${map.x}`),
      ...across.map((value) => make("th", { scope: "col" }, tidy(value))));
    const body = down.map((y) => make("tr", {}, make("th", { scope: "row" }, tidy(y)),
      ...across.map((x) => make("td", {}, cell(x, y, entry, range)))));
    table.replaceChildren(head, ...body);
  }

  function cell(x, y, entry, range) {
    const inside = shownRuns().filter((run) => run.axes[map.x] === x && run.axes[map.y] === y);
    if (!inside.length) return "";
    const button = make("button", { type: "button", onclick: () => choose(runs.indexOf(inside[0]), true) });
    if (!entry) {
      const verdicts = [...new Set(inside.map((run) => run.verdict))];
      const healthy = inside.filter((run) => run.level === "healthy").length;
      button.textContent = verdicts.length > 1 ? `${healthy}/${inside.length} survive` : verdicts[0];
      button.className = inside[0].level === "healthy" && verdicts.length === 1 ? "word-survives" : `level-${worstOf(inside)}`;
    } else {
      const values = inside.map((run) => run.numbers && run.numbers[entry.name]).filter((value) => value != null);
      const mean = values.reduce((a, b) => a + b, 0) / values.length;
      button.textContent = values.length ? (entry.log ? fromLog(mean) : shortNumber(mean)) : "-";
      if (values.length) button.style.background = shade((mean - range[0]) / (range[1] - range[0] || 1));
    }
    button.title = inside.map((run) => `${run.name}: ${run.verdict}`).slice(0, 8).join("\n");
    button.classList.toggle("chosen", inside.includes(runs[chosen]));
    return button;
  }

  const worstOf = (inside) => ["failed", "error", "warning", "healthy"].find((level) => inside.some((run) => run.level === level));
  const tidy = (value) => (typeof value === "number" ? shortNumber(value) : String(value));
  // Blue to yellow, light enough for black text at both ends.
  const shade = (share) => `hsl(${220 - 170 * share} 75% ${72 + 6 * share}%)`;

  const labelOf = (run) => varying.filter((axis) => axis !== "seed").map((axis) => tidy(run.axes[axis])).join(" ") || run.name;

  // One run for each setting: the seeds of a setting would cover each other.
  function firstSeeds(members) {
    const settings = new Map(members.toReversed().map((run) => [labelOf(run), run]));
    return [...settings.values()].reverse();
  }

  function chartOf(name, title, members, key) {
    const depth = Math.max(1, ...members.map((run) => run.series[key].length));
    const x = Array.from({ length: depth }, (_, number) => number + 1);
    const padded = (values) => x.map((_, number) => values[number] ?? null);
    return { name, title, x_label: "layer", x, log: true, whole: true, lines: members.map((run) => ({ label: labelOf(run), kind: "measured", values: padded(run.series[key]) })) };
  }

  function choose(index, scroll = false) {
    chosen = index;
    for (const row of rows) row.classList.toggle("chosen", Number(row.dataset.index) === index);
    const run = runs[index], place = find("#run");
    place.hidden = false;
    place.replaceChildren(make("h2", {}, run.name), verdictOf(run));
    if (run.command) place.append(make("p", { class: "quiet" }, "Measure it alone:"), copied(run.command));
    prepareCopying(place);
    if (run.series) drawRun(run, place);
    drawMap();
    if (scroll) place.scrollIntoView({ block: "nearest" });
  }

  function verdictOf(run) {
    const box = make("div", { class: `verdict ${run.level}` }, make("p", { class: "words" },
      run.layer ? `${run.verdict} from layer ${run.layer}` : run.verdict));
    if (run.words) box.append(make("p", {}, run.words));
    if (run.fix) box.append(make("p", {}, "Fix"), copied(run.fix));
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
    const overview = find('[data-chart="overview"]'), gradient = find('[data-chart="overview-gradient"]');
    overview.hidden = gradient.hidden = !lines.length;
    if (lines.length) {
      drawChart(overview, chartOf("overview", "Variance of the output h", lines, "output"));
      drawChart(gradient, chartOf("overview-gradient", "Variance of the gradient dL/dh", lines, "gradient"));
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
