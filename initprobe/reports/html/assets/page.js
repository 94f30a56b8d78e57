// The page of one result, and what every page does at the start.
function prepareRun() {
  const plots = DATA.charts.map((chart) => ({ chart, figure: find(`[data-chart="${chart.name}"]`) }));
  const byLayer = plots.filter(({ chart }) => chart.x_label === "layer");
  const theory = find("#theory"), tensor = find("#tensor"), histogram = find("#histogram");
  const rows = findAll('table[data-rows="layer"] tbody tr');
  const layers = byLayer.length ? byLayer[0].chart.x : [];
  let chosen = 0;

  // `pointed` is the chart with the mouse, whose cursor is there already.
  function choose(index, pointed = null) {
    chosen = Math.max(0, Math.min(index, rows.length - 1));
    chooseRow(rows, chosen);
    for (const { chart, figure } of byLayer) {
      figure.place = chosen;
      if (figure !== pointed) pointAt(figure.plot, chart, chosen);
    }
    const data = DATA.histograms[tensor.value][chosen];
    drawHistogram(find("#bars"), layers[chosen] ?? chosen + 1, data, DATA.symbols[tensor.value], theory.checked);
  }

  function draw() {
    for (const { chart, figure } of plots) {
      const point = (index, byKey = false) => choose(index, byKey ? null : figure);
      const plot = drawChart(figure, chart, chart.x_label === "layer" ? point : null);
      showTheory(plot, chart, theory.checked);
    }
    queueMicrotask(() => choose(chosen));
  }

  find(".tools").hidden = histogram.hidden = false;
  theory.parentNode.hidden = !DATA.charts.some((chart) => chart.lines.some((line) => line.kind === "theory"));
  theory.onchange = draw;
  tensor.onchange = () => choose(chosen);
  find("#previous").onclick = () => choose(chosen - 1);
  find("#next").onclick = () => choose(chosen + 1);
  for (const row of rows) {
    row.tabIndex = 0;
    row.onclick = row.onfocus = () => choose(Number(row.dataset.index));
  }
  return draw;
}

function preparePlain() {
  return () => DATA.charts.forEach((chart) => drawChart(find(`[data-chart="${chart.name}"]`), chart));
}

function start() {
  prepareCopying();
  prepareTables();
  prepareGlossary();
  const draw = DATA.histograms ? prepareRun() : DATA.runs ? prepareRuns() : DATA.pairs ? preparePairs() : preparePlain();
  draw();
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", draw);
  let waiting;
  addEventListener("resize", () => {
    clearTimeout(waiting);
    waiting = setTimeout(draw, 150);
  });
}

start();
