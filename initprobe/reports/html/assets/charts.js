// Line charts by uPlot, in place of the still pictures; and histograms.
const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
const SUPERSCRIPTS = { "-": "⁻", 0: "⁰", 1: "¹", 2: "²", 3: "³", 4: "⁴", 5: "⁵", 6: "⁶", 7: "⁷", 8: "⁸", 9: "⁹" };
const powerOfTen = (log) => "10" + [...String(log)].map((digit) => SUPERSCRIPTS[digit]).join("");
// Whole numbers between the marks of an axis.
const STEPS = [1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10000];

// At least one decade, so that rounding does not look like a slope.
function rangeOf(lines, log) {
  const values = lines.flatMap((line) => line.values).filter((value) => value != null);
  if (!values.length) return [0, 1];
  let low = Math.min(...values), high = Math.max(...values);
  const least = log ? 1 : 1e-3 * Math.max(Math.abs(high), 1e-300);
  const room = Math.max(least - (high - low), 0) / 2;
  const margin = 0.05 * Math.max(high - low, least);
  return [low - room - margin, high + room + margin];
}

function seriesOf(line, number, log) {
  const theory = line.kind === "theory";
  return {
    label: line.label,
    stroke: theory ? colour("--quiet") : colour(`--c${number % 8}`),
    width: 2,
    dash: theory ? [6, 4] : undefined,
    points: { show: line.values.length < 60 && !theory, size: 5 },
    value: (plot, value) => (log ? fromLog(value) : shortNumber(value)),
  };
}

function optionsOf(chart, width, range) {
  const axis = { stroke: colour("--ink"), grid: { stroke: colour("--rule"), width: 1 }, ticks: { show: false } };
  const decades = { incrs: STEPS, values: (plot, logs) => logs.map(powerOfTen) };
  return {
    width, height: 260,
    scales: { x: { time: false }, y: { range: range || rangeOf(chart.lines, chart.log) } },
    axes: [{ ...axis, label: chart.x_label, labelSize: 18, size: 30, ...(chart.whole ? { incrs: STEPS } : {}) }, { ...axis, size: 62, ...(chart.log ? decades : {}) }],
    series: [{ label: chart.x_label }, ...chart.lines.map((line, number) => seriesOf(line, number, chart.log))],
    legend: { show: chart.lines.length <= 12 },
    cursor: { y: false, drag: { x: false, y: false } },
  };
}

// Draw a chart into a figure; `range` fixes the y axis, so that two charts can be compared.
function drawChart(figure, chart, onPoint, range) {
  findAll(".still, .uplot", figure).forEach((old) => old.remove());
  const width = Math.max(figure.clientWidth, 280);
  const plot = new uPlot(optionsOf(chart, width, range), [chart.x, ...chart.lines.map((line) => line.values)], figure);
  plot.root.setAttribute("role", "img");
  plot.root.setAttribute("aria-label", `${chart.title}, by ${chart.x_label}; the table holds the numbers`);
  const indexAt = (event) => plot.posToIdx(event.clientX - plot.over.getBoundingClientRect().left);
  if (onPoint) plot.over.addEventListener("mousemove", (event) => onPoint(indexAt(event)));
  figure.plot = plot;
  return plot;
}

function showTheory(plot, chart, shown) {
  chart.lines.forEach((line, number) => line.kind === "theory" && plot.setSeries(number + 1, { show: shown }));
}

function pointAt(plot, chart, index) {
  plot.setCursor({ left: plot.valToPos(chart.x[index], "x"), top: 10 });
}

const WIDTH = 900, HEIGHT = 220, FLOOR = 190;

// The height of the axis: a spike of zeros is cut off, so that the rest can be seen.
function cutOff(counts) {
  const sorted = [...counts].sort((a, b) => b - a);
  return sorted[0] > 4 * (sorted[1] || 0) && sorted[1] ? 1.4 * sorted[1] : sorted[0];
}

function drawHistogram(place, layer, data, symbol, withTheory) {
  const words = [`layer ${layer}, ${symbol}`];
  place.replaceChildren();
  if (!data.counts) {
    place.append(make("p", {}, `${words[0]}: no histogram (${data.status})`));
    return;
  }
  words.push(`std ${shortNumber(data.std)}`, `${shortNumber(data.low)} to ${shortNumber(data.high)}`);
  if (data.zero) words.push(`${(100 * data.zero).toPrecision(3)}% exactly 0`);
  const top = cutOff(data.counts), bin = WIDTH / data.counts.length, total = data.counts.reduce((a, b) => a + b, 0);
  const bars = data.counts.map((count, number) => {
    const height = (FLOOR - 10) * Math.min(count / top, 1);
    return make("rect", { x: number * bin, y: FLOOR - height, width: bin, height, class: count > top ? "capped" : null });
  });
  const picture = make("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, class: "bars" }, ...bars);
  if (withTheory && data.shares) {
    const points = data.shares.map((share, number) =>
      `${(number + 0.5) * bin},${FLOOR - (FLOOR - 10) * Math.min((share * total) / top, 1)}`);
    picture.append(make("polyline", { class: "theory", points: points.join(" ") }));
  }
  const spike = data.counts.findIndex((count) => count > top);
  if (spike >= 0) {
    const share = ((100 * data.counts[spike]) / total).toPrecision(3);
    const right = spike < data.counts.length / 2;
    picture.append(make("text", { x: (spike + (right ? 2 : -1)) * bin, y: 18, "text-anchor": right ? "start" : "end" },
      `bar cut off: ${share}% of the entries`));
  }
  for (const [x, value, anchor] of [[0, data.low, "start"], [WIDTH, data.high, "end"]])
    picture.append(make("text", { x, y: HEIGHT - 12, "text-anchor": anchor }, shortNumber(value)));
  place.setAttribute("aria-label", `Histogram: ${words.join(", ")}`);
  place.append(make("p", {}, words.join("; ")), picture);
}
