// Line charts by uPlot, in place of the still pictures; and histograms.
const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
const SUPERSCRIPTS = { "-": "⁻", 0: "⁰", 1: "¹", 2: "²", 3: "³", 4: "⁴", 5: "⁵", 6: "⁶", 7: "⁷", 8: "⁸", 9: "⁹" };
const superscript = (whole) => [...String(whole)].map((digit) => SUPERSCRIPTS[digit]).join("");
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

// The rule of `log_ticks` in log_axis.py: whole powers over many decades, else digits as fine as three marks need.
function logTicks(low, high) {
  const whole = (from, to) => Array.from({ length: to - from + 1 }, (_, number) => from + number);
  if (high - low >= 2.5) {
    const step = Math.max(Math.ceil((high - low) / 8), 1);
    return whole(Math.ceil(low), Math.floor(high)).filter((power) => power % step === 0);
  }
  let ticks = [];
  const halves = whole(2, 19).map((number) => number / 2), twentieths = whole(20, 199).map((number) => number / 20);
  for (const digits of [[1, 2, 5], [1, 1.5, 2, 3, 5, 7], halves, twentieths]) {
    const places = whole(Math.floor(low) - 1, Math.ceil(high)).flatMap((power) => digits.map((digit) => power + Math.log10(digit)));
    ticks = places.filter((place) => low <= place && place <= high);
    if (ticks.length > 2) break;
  }
  return ticks;
}

function tickText(log) {
  const power = Math.round(log);
  if (Math.abs(log - power) < 1e-9 && Math.abs(power) > 3) return `10${superscript(power)}`;
  return Math.abs(log) < 300 ? String(Number((10 ** log).toPrecision(5))) : fromLog(log);
}

function seriesOf(line, number, log) {
  const theory = line.kind === "theory";
  return {
    label: line.label,
    stroke: theory ? colour("--quiet") : colour(`--c${number % 8}`),
    width: 2,
    dash: theory ? [6, 4] : undefined,
    points: { show: line.values.length < 60 && !theory, size: 5 },
    value: (plot, value, _, index) => {
      if (value == null && line.zeros?.includes(plot.data[0][index])) return "0"; // it has no log
      if (line.last && plot.data[0][index] > line.last) return `ends at layer ${line.last}`;
      return log ? fromLog(value) : shortNumber(value);
    },
  };
}

function optionsOf(chart, width, range) {
  const axis = { stroke: colour("--ink"), grid: { stroke: colour("--rule"), width: 1 }, ticks: { show: false } };
  const decades = { splits: (plot, number, low, high) => logTicks(low, high), values: (plot, logs) => logs.map(tickText) };
  const places = { splits: () => chart.x, filter: (plot, all) => all, values: (plot, values) => values.map(String) };
  const across = chart.x_log ? places : chart.whole ? { incrs: STEPS } : {};
  return {
    width, height: 260,
    scales: { x: { time: false, ...(chart.x_log ? { distr: 3, range: [chart.x[0] / 1.1, chart.x.at(-1) * 1.1] } : {}) }, y: { range: range || rangeOf(chart.lines, chart.log) } },
    axes: [{ ...axis, label: chart.x_label, labelSize: 18, size: 30, ...across }, { ...axis, size: 62, ...(chart.log ? decades : {}) }],
    series: [{ label: chart.x_label }, ...chart.lines.map((line, number) => seriesOf(line, number, chart.log))],
    legend: { show: chart.lines.length <= 12 },
    cursor: { y: false, drag: { x: false, y: false } },
  };
}

// Draw a chart into a figure; `range` fixes the y axis, so that two charts can be compared. `onPoint` is called with
// the place on the x axis that is pointed at, by mouse or by arrow keys; without it, the legend shows the numbers there.
function drawChart(figure, chart, onPoint, range) {
  findAll(".still, .uplot", figure).forEach((old) => old.remove());
  const width = Math.max(figure.clientWidth, 280);
  const plot = new uPlot(optionsOf(chart, width, range), [chart.x, ...chart.lines.map((line) => line.values)], figure);
  const picture = find(".u-wrap", plot.root), legend = find(".u-legend", plot.root);
  picture.setAttribute("role", "img");
  picture.setAttribute("aria-label", `${chart.title}, by ${chart.x_label}; the table holds the numbers`);
  figure.plot = plot;
  figure.place ??= chart.x.length - 1;
  const show = (index) => {
    figure.place = Math.max(0, Math.min(index, chart.x.length - 1));
    pointAt(plot, chart, figure.place);
  };
  const indexAt = (event) => plot.posToIdx(event.clientX - plot.over.getBoundingClientRect().left);
  plot.over.addEventListener("mousemove", (event) => (onPoint ? onPoint(indexAt(event)) : (figure.place = indexAt(event))));
  plot.over.addEventListener("mouseleave", () => queueMicrotask(() => show(figure.place)));
  figure.tabIndex = 0;
  figure.setAttribute("role", "group");
  figure.setAttribute("aria-label", `${chart.title}; the left and right arrow keys move along the ${chart.x_label} axis`);
  figure.onkeydown = (event) => {
    const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (!step || event.target !== figure) return;
    event.preventDefault();
    if (onPoint) onPoint(figure.place + step, true);
    else show(figure.place + step);
  };
  if (legend && !onPoint) legend.setAttribute("aria-live", "polite");
  queueMicrotask(() => show(figure.place)); // uPlot sets its scales in a microtask of its own
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
  const caption = make("p", { role: "status" });
  place.replaceChildren(caption);
  if (!data.counts || data.low === data.high) {
    caption.textContent = data.counts ? `${words[0]}: every entry is ${shortNumber(data.low)}` : `${words[0]}: no histogram (${data.status})`;
    return;
  }
  words.push(`std ${shortNumber(data.std)}`, `${shortNumber(data.low)} to ${shortNumber(data.high)}`);
  if (data.zero) words.push(`${(100 * data.zero).toPrecision(3)}% exactly 0`);
  const top = cutOff(data.counts), bin = WIDTH / data.counts.length, total = data.counts.reduce((a, b) => a + b, 0);
  const bars = data.counts.map((count, number) => {
    const height = (FLOOR - 10) * Math.min(count / top, 1);
    return make("rect", { x: number * bin, y: FLOOR - height, width: bin, height, class: count > top ? "capped" : null });
  });
  const label = `Histogram: ${words.join(", ")}`;
  const picture = make("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, class: "bars", role: "img", "aria-label": label }, ...bars);
  if (withTheory && data.shares) {
    const points = data.shares.map((share, number) =>
      `${(number + 0.5) * bin},${FLOOR - (FLOOR - 10) * Math.min((share * total) / top, 1)}`);
    picture.append(make("polyline", { class: "theory", points: points.join(" ") }));
    words.push("dashed: theory");
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
  caption.textContent = words.join("; ");
  place.append(picture);
}
