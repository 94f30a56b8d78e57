// Small helpers, copy buttons and tables that can be sorted.
const DATA = JSON.parse(document.getElementById("data").textContent);
const find = (selector, root = document) => root.querySelector(selector);
const findAll = (selector, root = document) => [...root.querySelectorAll(selector)];

function make(tag, attributes = {}, ...children) {
  const svg = ["svg", "rect", "path", "polyline", "text", "line", "title"].includes(tag) && attributes.html !== true;
  const node = svg ? document.createElementNS("http://www.w3.org/2000/svg", tag) : document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else if (value === true) node.setAttribute(name, "");
    else if (value !== false && value != null) node.setAttribute(name, value);
  }
  node.append(...children.filter((child) => child != null));
  return node;
}

// At most three significant digits.
function shortNumber(value) {
  if (value == null) return "-";
  if (value === 0) return "0";
  const size = Math.abs(value);
  return size < 1e-3 || size >= 1e5 ? value.toExponential(1).replace("+", "") : String(Number(value.toPrecision(3)));
}

// A number from its log10, also where no float can hold it.
function fromLog(log) {
  if (log == null) return "-";
  if (log === -Infinity) return "0";
  if (Math.abs(log) < 300) return shortNumber(10 ** log);
  const power = Math.floor(log), digits = (10 ** (log - power)).toFixed(1);
  return digits === "10.0" ? `1.0e${power + 1}` : `${digits}e${power}`;
}

function prepareCopying(root = document) {
  for (const words of findAll(".with-script", root)) words.hidden = false;
  for (const button of findAll("button.copy", root)) {
    button.hidden = false;
    button.onclick = async () => {
      const code = find("code", button.parentNode);
      try {
        await navigator.clipboard.writeText(code.textContent);
      } catch {
        getSelection().selectAllChildren(code); // without the clipboard's permission: ready for Ctrl-C
        document.execCommand("copy");
      }
      button.textContent = "Copied";
      setTimeout(() => (button.textContent = "Copy"), 1500);
    };
  }
}

function sortKey(row, column) {
  const cell = row.children[column];
  const value = cell.dataset.value;
  return value ? Number(value) : cell.textContent.trim();
}

function compareKeys(a, b) {
  if (typeof a === "number" && typeof b === "number") return a - b;
  if (typeof a !== typeof b) return typeof a === "number" ? -1 : 1; // words and empty cells last
  return String(a).localeCompare(String(b)); // a value of an axis may be true or false
}

function sortTable(table, column, heading) {
  const order = heading.getAttribute("aria-sort") === "ascending" ? "descending" : "ascending";
  for (const other of findAll("thead th", table)) other.setAttribute("aria-sort", "none");
  heading.setAttribute("aria-sort", order);
  const sign = order === "ascending" ? 1 : -1;
  const rows = findAll("tbody tr", table).map((row) => [sortKey(row, column), row]);
  rows.sort(([a], [b]) => (typeof a === typeof b ? sign : 1) * compareKeys(a, b));
  find("tbody", table).append(...rows.map(([, row]) => row));
}

function prepareTables() {
  for (const table of findAll("table.sortable")) {
    findAll("thead th", table).forEach((heading, column) => {
      heading.setAttribute("aria-sort", "none");
      const button = make("button", { type: "button", html: true, onclick: () => sortTable(table, column, heading) });
      button.append(...heading.childNodes);
      heading.append(button);
    });
  }
}

function chooseRow(rows, index) {
  for (const row of rows) {
    const isChosen = Number(row.dataset.index) === index;
    row.classList.toggle("chosen", isChosen);
    if (isChosen) row.setAttribute("aria-current", "true");
    else row.removeAttribute("aria-current");
  }
}

// The meaning of an underlined word, when one points at it or moves to it with the keyboard.
function prepareGlossary() {
  const tip = make("div", { id: "tip", role: "tooltip", hidden: true, html: true });
  document.body.append(tip);
  const hide = () => (tip.hidden = true);
  for (const word of findAll("abbr[title]")) {
    const meaning = word.title, host = word.closest("button") || word;
    word.removeAttribute("title"); // the browser would show it a second time
    host.setAttribute("aria-description", meaning);
    if (host === word) word.tabIndex = 0;
    const show = () => {
      tip.textContent = meaning;
      tip.hidden = false;
      const box = host.getBoundingClientRect(), below = box.bottom + 6;
      tip.style.left = `${Math.max(8, Math.min(box.left, innerWidth - tip.offsetWidth - 8))}px`;
      tip.style.top = `${below + tip.offsetHeight > innerHeight ? Math.max(8, box.top - tip.offsetHeight - 6) : below}px`;
    };
    host.addEventListener("mouseenter", show);
    host.addEventListener("focus", show);
    host.addEventListener("mouseleave", hide);
    host.addEventListener("blur", hide);
  }
  addEventListener("keydown", (event) => event.key === "Escape" && hide());
  addEventListener("scroll", hide, { capture: true, passive: true });
}
