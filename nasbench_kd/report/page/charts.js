// Line charts: one panel a task on one scale. Chosen methods are coloured and have bands, the others are grey and
// named where the pointer meets them. Values are read by pointer or arrow keys; every chart has a legend.

const DASHES = ["", "7 3", "2 2", "8 3 2 3"];
const MARKERS = [
  "M-3.5,0a3.5,3.5 0 1,0 7,0a3.5,3.5 0 1,0 -7,0", "M-3.2,-3.2h6.4v6.4h-6.4z", "M0,-4.4L4.4,0L0,4.4L-4.4,0z",
  "M0,-4.2L4,3.2H-4z", "M0,4.2L4,-3.2H-4z", "M-1.3,-4h2.6v2.7h2.7v2.6h-2.7v2.7h-2.6v-2.7h-2.7v-2.6h2.7z",
];

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
    const digits = to > 300 * from ? [1] : [1, 2, 5];
    for (let power = Math.floor(Math.log10(from)); power <= Math.log10(to); power++) {
      for (const digit of digits) found.push(digit * 10 ** power);
    }
  } else {
    const rough = (to - from) / 4 || 1;
    const power = 10 ** Math.floor(Math.log10(rough));
    const step = [1, 2, 5, 10].find((digit) => digit * power >= rough) * power;
    for (let value = Math.ceil(from / step) * step; value <= to; value += step) found.push(value);
  }
  return found.map((value) => Number(value.toPrecision(6))).filter((value) => value >= from && value <= to);
};

const colour = (look) => `var(--c${look.colour})`;
const lineLook = (look) => ({
  fill: "none", stroke: colour(look), "stroke-width": 1.8, "stroke-dasharray": DASHES[look.variant % DASHES.length],
});
const marker = (look, x, y) =>
  svgNode("path", {
    d: MARKERS[(look.colour + look.variant) % MARKERS.length], transform: `translate(${x},${y})`, fill: colour(look),
  });

const CHARTS = {
  anytime: {
    label: "regret in points, lower is better", name: "Interquartile mean regret in percentage points",
  },
  ranks: { label: "mean rank, 1 is best", name: "Mean rank" },
};
const WIDTH = 400, HEIGHT = 290, LEFT = 58, RIGHT = 392, TOP = 10, BOTTOM = 244;
const NEAR = 14; // how far from a grey line the pointer may be, in units of the drawing

// The scale that all panels of a chart share: that of the lines; bands beyond it are cut. Regret has a logarithmic one,
// on which the least that is drawn stands for less.
const domain = (kind, data) => {
  const curves = data.tasks.flatMap((task) => data[kind][task]);
  const all = (key) => curves.flatMap((curve) => curve[key]);
  let [low, high] = [Math.min(...all("y")), Math.max(...all("y"))];
  const log = kind === "anytime";
  const least = log && low <= data.least ? data.least : null;
  if (log) [low, high] = [Math.max(low, data.least) / 1.25, Math.max(high, data.least) * 1.15];
  else [low, high] = [low - 0.05 * (high - low || 1), high + 0.05 * (high - low || 1)];
  return { low, high, log, least, from: Math.min(...all("x")), to: Math.max(...all("x")) };
};

let clips = 0;

const drawPanel = (kind, task, data, shared) => {
  const curves = data[kind][task];
  const figure = document.createElement("figure");
  const caption = document.createElement("figcaption");
  caption.textContent = task;
  const values = document.createElement("div");
  values.className = "values";
  values.setAttribute("role", "status");
  figure.append(caption);
  if (!curves.length) {
    values.textContent = "No optimizer has an answer in half of its runs.";
    values.classList.add("alone");
    figure.append(values);
    return { figure, show: () => {} };
  }
  const { low, high, log, least, from, to } = shared;
  const x = scale(from, to, LEFT, RIGHT, true);
  const place = scale(low, high, BOTTOM, TOP, log);
  const y = (value) => place(log ? Math.max(value, data.least) : value);
  const svg = svgNode("svg", {
    viewBox: `0 0 ${WIDTH} ${HEIGHT}`, role: "img", tabindex: 0,
    "aria-label": `${CHARTS[kind].name} on ${task} over ${data.unit}, ${curves.length} optimizers. Arrow keys read values.`,
  });
  for (const tick of ticks(low, high, log)) {
    svg.append(svgNode("line", { x1: LEFT, x2: RIGHT, y1: y(tick), y2: y(tick), class: "grid" }));
    svg.append(svgNode("text", { x: LEFT - 6, y: y(tick) + 4, "text-anchor": "end" },
      tick === least ? `\u2264 ${tick}` : tick));
  }
  let last = -Infinity;
  for (const tick of ticks(from, to, true)) {
    svg.append(svgNode("line", { x1: x(tick), x2: x(tick), y1: TOP, y2: BOTTOM, class: "grid" }));
    if (x(tick) - last < 30) continue;
    last = x(tick);
    svg.append(svgNode("text", { x: last, y: BOTTOM + 17, "text-anchor": "middle" }, tick));
  }
  const middle = (TOP + BOTTOM) / 2;
  svg.append(svgNode("text", { x: (LEFT + RIGHT) / 2, y: BOTTOM + 36, "text-anchor": "middle" }, data.unit));
  svg.append(svgNode("text", {
    x: 12, y: middle, "text-anchor": "middle", transform: `rotate(-90 12 ${middle})`,
  }, CHARTS[kind].label));
  const clip = `clip-${(clips += 1)}`;
  const definition = svgNode("clipPath", { id: clip });
  definition.append(svgNode("rect", { x: LEFT, y: TOP, width: RIGHT - LEFT, height: BOTTOM - TOP }));
  const [grey, front] = [svgNode("g"), svgNode("g")];
  const plot = svgNode("g", { "clip-path": `url(#${clip})` });
  plot.append(grey, front);
  svg.append(definition, plot);

  const points = (curve, ys) => curve.x.map((value, i) => `${x(value).toFixed(1)},${y(ys[i]).toFixed(1)}`);
  const groups = curves.map((curve) => {
    const look = data.looks[curve.optimizer];
    const group = svgNode("g", { "data-optimizer": curve.optimizer });
    if (curve.low) {
      const band = [...points(curve, curve.low), ...points(curve, curve.high).reverse()].join(" ");
      group.append(svgNode("polygon", { points: band, fill: colour(look) }));
    }
    group.append(svgNode("polyline", { points: points(curve, curve.y).join(" "), ...lineLook(look) }));
    const every = Math.max(1, Math.floor(curve.x.length / 6));
    for (let i = curve.optimizer % every; i < curve.x.length; i += every) {
      group.append(marker(look, x(curve.x[i]), y(curve.y[i])));
    }
    return group;
  });
  const show = (chosen) =>
    curves.forEach((curve, i) => {
      const coloured = chosen.has(curve.optimizer);
      groups[i].setAttribute("class", coloured ? "line chosen" : "line");
      (coloured ? front : grey).append(groups[i]);
    });
  const cursor = svgNode("line", { y1: TOP, y2: BOTTOM, class: "cursor", visibility: "hidden" });
  svg.append(cursor);
  const holder = document.createElement("div");
  holder.className = "plot";
  holder.append(svg, values);
  figure.append(holder);

  const grid = [...new Set(curves.flatMap((curve) => curve.x))].sort((a, b) => a - b);
  let at = -1;
  const isChosen = (i) => groups[i].classList.contains("chosen");
  const read = (position, height = null) => {
    at = Math.max(0, Math.min(grid.length - 1, position));
    const value = grid[at];
    cursor.setAttribute("x1", x(value));
    cursor.setAttribute("x2", x(value));
    cursor.setAttribute("visibility", "visible");
    const here = curves
      .map((curve, i) => ({ curve, i, j: curve.x.indexOf(value) }))
      .filter(({ j }) => j >= 0)
      .sort((a, b) => a.curve.y[a.j] - b.curve.y[b.j]);
    let met = null;
    if (height !== null) {
      const away = (entry) => Math.abs(y(entry.curve.y[entry.j]) - height);
      met = here.reduce((best, entry) => (best === null || away(entry) < away(best) ? entry : best), null);
      if (met !== null && away(met) > NEAR) met = null;
    }
    groups.forEach((group, i) => group.classList.toggle("met", met !== null && met.i === i));
    const list = document.createElement("ol");
    for (const { curve, i, j } of here.filter((entry) => isChosen(entry.i) || entry === met)) {
      const item = document.createElement("li");
      const name = document.createElement("span");
      name.textContent = data.optimizers[curve.optimizer];
      if (isChosen(i)) name.style.color = colour(data.looks[curve.optimizer]);
      if (met !== null && met.i === i) item.className = "met";
      const band = curve.low ? ` [${curve.low[j].toFixed(2)}, ${curve.high[j].toFixed(2)}]` : "";
      item.append(name, `${curve.y[j].toFixed(2)}${band}`);
      list.append(item);
    }
    values.classList.toggle("left", x(value) > (LEFT + RIGHT) / 2);
    values.replaceChildren(`${Number(value.toPrecision(3))} ${data.unit}`, list);
  };
  const clear = () => {
    at = -1;
    cursor.setAttribute("visibility", "hidden");
    for (const group of groups) group.classList.remove("met");
    values.replaceChildren();
  };
  svg.addEventListener("pointermove", (event) => {
    const box = svg.getBoundingClientRect();
    const across = ((event.clientX - box.left) / box.width) * WIDTH;
    const height = ((event.clientY - box.top) / box.height) * HEIGHT;
    const distances = grid.map((value) => Math.abs(x(value) - across));
    read(distances.indexOf(Math.min(...distances)), height);
  });
  svg.addEventListener("pointerleave", clear);
  svg.addEventListener("keydown", (event) => {
    const moves = { ArrowLeft: at - 1, ArrowRight: at + 1, Home: 0, End: grid.length - 1 };
    if (event.key in moves) {
      event.preventDefault();
      read(moves[event.key]);
    } else if (event.key === "Escape") clear();
  });
  return { figure, show };
};

const legendButton = (data, number) => {
  const look = data.looks[number];
  const button = document.createElement("button");
  button.type = "button";
  button.dataset.optimizer = number;
  const sample = svgNode("svg", { viewBox: "0 0 34 12", width: 34, height: 12, "aria-hidden": "true" });
  sample.style.width = "34px";
  sample.append(svgNode("line", { x1: 1, x2: 33, y1: 6, y2: 6, ...lineLook(look) }), marker(look, 17, 6));
  button.append(sample, data.optimizers[number]);
  return button;
};

const setUpCharts = (data) => {
  const chosen = new Set(data.best);
  const panels = [];
  const legends = [];
  const update = () => {
    for (const panel of panels) panel.show(chosen);
    for (const button of legends) {
      button.setAttribute("aria-pressed", String(chosen.has(Number(button.dataset.optimizer))));
    }
  };
  for (const holder of document.querySelectorAll("[data-chart]")) {
    const kind = holder.dataset.chart;
    const drawn = new Set(data.tasks.flatMap((task) => data[kind][task].map((curve) => curve.optimizer)));
    const legend = document.createElement("div");
    legend.className = "legend";
    legend.setAttribute("role", "group");
    legend.setAttribute("aria-label", "Optimizers that are coloured in the charts");
    for (const number of data.order.filter((each) => drawn.has(each))) {
      const button = legendButton(data, number);
      button.addEventListener("click", () => {
        if (!chosen.delete(number)) chosen.add(number);
        update();
      });
      legend.append(button);
      legends.push(button);
    }
    holder.before(legend);
    const shared = drawn.size ? domain(kind, data) : null;
    for (const task of data.tasks) {
      const panel = drawPanel(kind, task, data, shared);
      if (data[kind][task].length) panel.figure.firstChild.append(svgDownload(panel.figure, `${kind}-${task}.svg`));
      holder.append(panel.figure);
      panels.push(panel);
    }
  }
  update();
};
