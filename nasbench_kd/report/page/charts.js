// Line charts with bands: one panel a task, values on hover or by arrow keys, lines switched in one legend.

const DASHES = ["", "7 3", "2 2", "8 3 2 3"];
const MARKERS = [
  "M-3.5,0a3.5,3.5 0 1,0 7,0a3.5,3.5 0 1,0 -7,0", "M-3.2,-3.2h6.4v6.4h-6.4z", "M0,-4.4L4.4,0L0,4.4L-4.4,0z",
  "M0,-4.2L4,3.2H-4z", "M0,4.2L4,-3.2H-4z", "M-1.3,-4h2.6v2.7h2.7v2.6h-2.7v2.7h-2.6v-2.7h-2.7v-2.6h2.7z",
];
const colour = (number) => `var(--c${number % 10})`;

const svgNode = (name, attributes = {}, text = null) => {
  const node = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
  if (text !== null) node.textContent = text;
  return node;
};

const scale = (from, to, start, end, log) => {
  const f = log ? Math.log : (x) => x;
  const [a, b] = [f(from), f(to)];
  return (value) => start + ((f(value) - a) / (b - a || 1)) * (end - start);
};

const ticks = (from, to, log) => {
  const found = [];
  if (log) {
    for (let power = Math.floor(Math.log10(from)); power <= Math.log10(to); power++) {
      for (const digit of [1, 2, 5]) found.push(digit * 10 ** power);
    }
  } else {
    const rough = (to - from) / 4 || 1;
    const power = 10 ** Math.floor(Math.log10(rough));
    const step = [1, 2, 5, 10].find((digit) => digit * power >= rough) * power;
    for (let value = Math.ceil(from / step) * step; value <= to; value += step) found.push(value);
  }
  return found.map((value) => Number(value.toPrecision(6))).filter((value) => value >= from && value <= to);
};

const lineLook = (number) => ({
  fill: "none", stroke: colour(number), "stroke-width": 1.8, "stroke-dasharray": DASHES[number % DASHES.length],
});

const marker = (number, x, y) =>
  svgNode("path", { d: MARKERS[number % MARKERS.length], transform: `translate(${x},${y})`, fill: colour(number) });

const WIDTH = 400, HEIGHT = 290, LEFT = 46, RIGHT = 392, TOP = 10, BOTTOM = 244;

const drawPanel = (kind, task, curves, data) => {
  const figure = document.createElement("figure");
  const caption = document.createElement("figcaption");
  caption.textContent = task;
  const values = document.createElement("div");
  values.className = "values";
  values.setAttribute("role", "status");
  values.style.minHeight = `${1.45 * (curves.length + 1)}em`; // so that reading values moves nothing
  figure.append(caption);
  if (!curves.length) {
    values.textContent = "No optimizer has an answer in half of its runs.";
    figure.append(values);
    return { figure, show: () => {} };
  }
  const all = (key) => curves.flatMap((curve) => curve[key] ?? curve.y); // a single run has no band
  const [lowest, highest] = [Math.min(...all("low")), Math.max(...all("high"))];
  const log = kind === "anytime" && lowest > 0;
  const [from, to] = [Math.min(...all("x")), Math.max(...all("x"))];
  const x = scale(from, to, LEFT, RIGHT, true);
  const y = scale(lowest, highest, BOTTOM, TOP, log);
  const what = kind === "anytime" ? "Interquartile mean regret in percentage points" : "Mean rank";
  const svg = svgNode("svg", {
    viewBox: `0 0 ${WIDTH} ${HEIGHT}`, role: "img", tabindex: 0,
    "aria-label": `${what} on ${task} over ${data.unit}, ${curves.length} optimizers. Arrow keys read values.`,
  });
  for (const tick of ticks(lowest, highest, log)) {
    svg.append(svgNode("line", { x1: LEFT, x2: RIGHT, y1: y(tick), y2: y(tick), class: "grid" }));
    svg.append(svgNode("text", { x: LEFT - 6, y: y(tick) + 4, "text-anchor": "end" }, tick));
  }
  let last = -Infinity;
  for (const tick of ticks(from, to, true)) {
    svg.append(svgNode("line", { x1: x(tick), x2: x(tick), y1: TOP, y2: BOTTOM, class: "grid" }));
    if (x(tick) - last < 30) continue;
    last = x(tick);
    svg.append(svgNode("text", { x: last, y: BOTTOM + 17, "text-anchor": "middle" }, tick));
  }
  svg.append(svgNode("text", { x: (LEFT + RIGHT) / 2, y: BOTTOM + 36, "text-anchor": "middle" }, data.unit));
  const groups = curves.map((curve) => {
    const group = svgNode("g");
    const points = (ys) => curve.x.map((value, i) => `${x(value).toFixed(1)},${y(ys[i]).toFixed(1)}`);
    if (curve.low) {
      const band = [...points(curve.low), ...points(curve.high).reverse()].join(" ");
      group.append(svgNode("polygon", { points: band, fill: colour(curve.optimizer), opacity: 0.14 }));
    }
    group.append(svgNode("polyline", { points: points(curve.y).join(" "), ...lineLook(curve.optimizer) }));
    const every = Math.max(1, Math.floor(curve.x.length / 6));
    for (let i = curve.optimizer % every; i < curve.x.length; i += every) {
      group.append(marker(curve.optimizer, x(curve.x[i]), y(curve.y[i])));
    }
    svg.append(group);
    return group;
  });
  const cursor = svgNode("line", { y1: TOP, y2: BOTTOM, class: "cursor", visibility: "hidden" });
  svg.append(cursor);
  figure.append(svg, values);

  const grid = [...new Set(all("x"))].sort((a, b) => a - b);
  let at = -1;
  const read = (position) => {
    at = Math.max(0, Math.min(grid.length - 1, position));
    const value = grid[at];
    cursor.setAttribute("x1", x(value));
    cursor.setAttribute("x2", x(value));
    cursor.setAttribute("visibility", "visible");
    const list = document.createElement("ol");
    const entries = curves
      .filter((curve, i) => groups[i].getAttribute("display") !== "none" && curve.x.includes(value))
      .map((curve) => [curve, curve.x.indexOf(value)])
      .sort(([a, i], [b, j]) => a.y[i] - b.y[j]);
    for (const [curve, i] of entries) {
      const item = document.createElement("li");
      const name = document.createElement("span");
      name.textContent = data.optimizers[curve.optimizer];
      name.style.color = colour(curve.optimizer);
      const band = curve.low ? ` [${curve.low[i].toFixed(2)}, ${curve.high[i].toFixed(2)}]` : "";
      const interval = `${curve.y[i].toFixed(2)}${band}`;
      item.append(name, interval);
      list.append(item);
    }
    values.replaceChildren(`${Number(value.toPrecision(3))} ${data.unit}`, list);
  };
  const clear = () => {
    at = -1;
    cursor.setAttribute("visibility", "hidden");
    values.replaceChildren();
  };
  svg.addEventListener("pointermove", (event) => {
    const box = svg.getBoundingClientRect();
    const place = ((event.clientX - box.left) / box.width) * WIDTH;
    const distances = grid.map((value) => Math.abs(x(value) - place));
    read(distances.indexOf(Math.min(...distances)));
  });
  svg.addEventListener("pointerleave", clear);
  svg.addEventListener("keydown", (event) => {
    const moves = { ArrowLeft: at - 1, ArrowRight: at + 1, Home: 0, End: grid.length - 1 };
    if (event.key in moves) {
      event.preventDefault();
      read(moves[event.key]);
    } else if (event.key === "Escape") clear();
  });
  const show = (optimizer, visible) =>
    curves.forEach((curve, i) => {
      if (curve.optimizer === optimizer) groups[i].setAttribute("display", visible ? "inline" : "none");
    });
  return { figure, show };
};

const setUpCharts = (data) => {
  const panels = [];
  for (const holder of document.querySelectorAll("[data-chart]")) {
    const kind = holder.dataset.chart;
    for (const task of data.tasks) {
      const panel = drawPanel(kind, task, data[kind][task], data);
      holder.append(panel.figure);
      panels.push(panel);
    }
  }
  const legend = document.querySelector(".legend");
  const drawn = new Set(data.tasks.flatMap((task) => data.anytime[task].map((curve) => curve.optimizer)));
  data.optimizers.forEach((name, number) => {
    if (!drawn.has(number)) return;
    const button = document.createElement("button");
    button.type = "button";
    button.setAttribute("aria-pressed", "true");
    const sample = svgNode("svg", { viewBox: "0 0 34 12", width: 34, height: 12, "aria-hidden": "true" });
    sample.style.width = "34px";
    sample.append(svgNode("line", { x1: 1, x2: 33, y1: 6, y2: 6, ...lineLook(number) }), marker(number, 17, 6));
    button.append(sample, name);
    button.addEventListener("click", () => {
      const visible = button.getAttribute("aria-pressed") !== "true";
      button.setAttribute("aria-pressed", String(visible));
      for (const panel of panels) panel.show(number, visible);
    });
    legend.append(button);
  });
};
