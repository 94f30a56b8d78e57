// Two sets of results: both sides of the chosen run, on the same axes.
function preparePairs() {
  const rows = findAll('table[data-rows="pair"] tbody tr');
  const first = DATA.pairs.findIndex((pair) => pair.changes.length);
  let chosen = Math.max(first, 0);

  function choose(index) {
    chosen = index;
    chooseRow(rows, index);
    const pair = DATA.pairs[index], place = find("#pair");
    place.hidden = false;
    place.replaceChildren(make("h2", {}, pair.name));
    // The table above has the changes of a single run.
    if (pair.changes.length && DATA.pairs.length > 1) place.append(make("ul", {}, ...pair.changes.map((change) => make("li", {}, change))));
    const sides = make("div", { class: "sides" }, box("OLD", pair.old), box("NEW", pair.new));
    place.append(sides);
    for (const [key, title] of [["output", "Variance of the output h"], ["gradient", "Variance of the gradient dL/dh"]])
      drawBoth(sides, pair, key, title);
  }

  const box = (word, side) => make("div", { class: `verdict ${side.level}` },
    make("p", { class: "words" }, `${word}: ${side.words}`), side.name ? make("p", {}, side.name) : null, side.evidence ? make("p", {}, side.evidence) : null);

  const reasonOf = (values, zeros) => (zeros.length === values.length ? "0" : zeros.length ? "0 or lost" : "lost");

  // A row of two charts with the same y axis; a side without numbers has an empty place.
  function drawBoth(sides, pair, key, title) {
    const both = [["OLD", pair.old], ["NEW", pair.new]].map(([word, side]) => {
      const values = side[key], zeros = side[`${key}_zeros`];
      const isEmpty = values && values.every((value) => value == null);
      return [make("figure", { class: "chart" }, make("figcaption", {}, `${title}, ${word}`),
        isEmpty ? make("p", { class: "quiet" }, `${reasonOf(values, zeros)} in all layers`) : null), isEmpty ? null : values, zeros];
    });
    sides.append(...both.map(([figure]) => figure));
    const range = rangeOf(both.filter(([, values]) => values).map(([, values]) => ({ values })), true);
    for (const [figure, values, zeros] of both) {
      if (!values) continue;
      const x = values.map((_, number) => number + 1);
      const lines = [{ label: "measured", kind: "measured", values, zeros }];
      drawChart(figure, { title: find("figcaption", figure).textContent, x_label: "layer", x, log: true, whole: true, lines }, null, range);
    }
  }

  for (const row of rows) {
    row.tabIndex = 0;
    row.onclick = () => choose(Number(row.dataset.index));
    row.onkeydown = (event) => event.key === "Enter" && choose(Number(row.dataset.index));
  }
  return () => DATA.pairs.length && choose(chosen);
}
