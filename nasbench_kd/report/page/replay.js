// Replays a run step by step: what was asked, at which fidelity, what it cost, what was known then.

const OPERATIONS = ["none", "skip_connect", "nor_conv_1x1", "nor_conv_3x3", "avg_pool_3x3"];
const EDGES = [[0, 1], [0, 2], [1, 2], [0, 3], [1, 3], [2, 3]];
const NODES = [[24, 100], [132, 40], [204, 160], [316, 100]];
const AROUND = 6;

const cellText = (codes) => {
  const names = [...codes].map((code, edge) => `${OPERATIONS[code]}~${EDGES[edge][0]}`);
  return `|${names[0]}|+|${names.slice(1, 3).join("|")}|+|${names.slice(3).join("|")}|`;
};

const drawCell = (index, codes) => {
  const svg = svgNode("svg", { viewBox: "0 0 340 196", role: "img", "aria-label": `Cell ${index}: ${cellText(codes)}` });
  EDGES.forEach(([source, target], edge) => {
    const [[x1, y1], [x2, y2]] = [NODES[source], NODES[target]];
    const none = codes[edge] === "0";
    svg.append(svgNode("line", {
      x1, y1, x2, y2, stroke: none ? "var(--line)" : "var(--quiet)", "stroke-width": none ? 1 : 2,
      "stroke-dasharray": none ? "3 4" : "",
    }));
  });
  EDGES.forEach(([source, target], edge) => {
    const [[x1, y1], [x2, y2]] = [NODES[source], NODES[target]];
    const share = source === 0 && target === 3 ? 0.62 : target - source === 1 && source === 1 ? 0.25 : 0.5;
    const name = OPERATIONS[codes[edge]].replace("nor_", "");
    svg.append(svgNode("text", {
      x: x1 + share * (x2 - x1), y: y1 + share * (y2 - y1) + 4, "text-anchor": "middle", stroke: "var(--page)",
      "stroke-width": 4, "paint-order": "stroke", class: codes[edge] === "0" ? "quiet" : "",
    }, name));
  });
  NODES.forEach(([cx, cy], node) => {
    svg.append(svgNode("circle", { cx, cy, r: 13, fill: "var(--panel)", stroke: "var(--text)" }));
    svg.append(svgNode("text", { x: cx, y: cy + 4, "text-anchor": "middle" }, node));
  });
  return svg;
};

const duration = (seconds) => {
  const [hours, minutes] = [Math.floor(seconds / 3600), Math.floor((seconds % 3600) / 60)];
  return hours ? `${hours} h ${minutes} min` : minutes ? `${minutes} min ${seconds % 60} s` : `${seconds} s`;
};

const percent = (value) => (value === null ? "diverged" : `${value.toFixed(2)} %`);

const setUpReplay = (data) => {
  const { runs, total, fidelities, signals, sources, codes, texts } = data.replay;
  const text = (cell) => (texts[run.task] ? texts[run.task][cell] : cellText(codes[cell]));
  const drawing = (cell) => (texts[run.task] ? [] : [drawCell(cell, codes[cell])]);
  const byId = (name) => document.getElementById(`replay-${name}`);
  const selects = { optimizer: byId("optimizer"), task: byId("task"), repetition: byId("repetition") };
  const slider = byId("step");
  let run = runs[0];
  byId("note").textContent =
    `${runs.length} of ${total} runs are in this page: the first repetitions of every optimizer on every task. ` +
    "Regret is the report's knowledge; the search saw what it was told alone.";

  const place = (i) => ({
    asked: run.cell[i], fidelity: fidelities[run.fidelity[i]], source: sources[run.source[i]],
    spent: data.timed ? duration(run.spent[i]) : `${run.spent[i]} evaluations`,
  });
  const reading = (i) => {
    const signal = signals[run.signal[i]];
    if (run.value[i] === null || signal === "valid_accuracy") return percent(run.value[i]);
    return `${signal} ${signal.endsWith("accuracy") ? percent(run.value[i]) : run.value[i].toPrecision(4)}`;
  };
  const answerText = (i) => {
    const answer = run.answer[i];
    if (answer < 0) return "no answer yet";
    const told = run.cell.map((cell, j) => j).filter((j) => j <= i && run.cell[j] === answer && run.value[j] !== null);
    const basis = told.length ? `told ${reading(told[told.length - 1])}` : "never evaluated";
    return `cell ${answer} (${basis})`;
  };
  const facts = (i) => {
    const { asked, fidelity, source, spent } = place(i);
    const list = document.createElement("dl");
    const teacher = run.teacher[i] ? `, and ${duration(run.teacher[i])} for the teacher` : "";
    const entries = {
      Step: `${i + 1} of ${run.steps}`,
      Asked: `cell ${asked} at ${fidelity}`,
      Architecture: text(asked),
      Told: `${reading(i)}${signals[run.signal[i]] === "valid_accuracy" ? " validation accuracy" : ""} (training seed ${run.training_seed[i]}, ${source})`,
      Cost: `${run.charged[i] ? duration(run.charged[i]) : "nothing, it was already paid"}${teacher}`,
      "On the clock": `from ${duration(run.start[i])} to ${duration(run.finish[i])}`,
      "Spent by then": spent,
      "Answer by then": answerText(i),
      "Its regret": run.regret[i] === null ? "none" : `${run.regret[i].toFixed(2)} percentage points`,
    };
    if (i + 1 === run.steps) entries["The run ended"] = `${run.ending}: ${run.reason}`;
    for (const [name, text] of Object.entries(entries)) {
      const [term, detail] = [document.createElement("dt"), document.createElement("dd")];
      term.textContent = name;
      detail.textContent = text;
      list.append(term, detail);
    }
    return list;
  };
  const rows = (i) => {
    const head = document.createElement("thead");
    const body = document.createElement("tbody");
    const line = (parent, texts, header) => {
      const row = parent.insertRow();
      texts.forEach((text, column) => {
        const cell = document.createElement(header || column === 0 ? "th" : "td");
        cell.scope = header ? "col" : "row";
        cell.textContent = text;
        row.append(cell);
      });
      return row;
    };
    line(head, ["step", "cell", "fidelity", "told", "cost", "spent", "source", "answer", "its regret"], true);
    const first = Math.max(0, Math.min(i - AROUND, run.cell.length - 2 * AROUND - 1));
    for (let j = first; j < Math.min(run.cell.length, first + 2 * AROUND + 1); j++) {
      const { asked, fidelity, source, spent } = place(j);
      const regret = run.regret[j] === null ? "" : run.regret[j].toFixed(2);
      const answer = run.answer[j] < 0 ? "" : run.answer[j];
      const texts = [j + 1, asked, fidelity, reading(j), duration(run.charged[j]), spent, source, answer, regret];
      const row = line(body, texts, false);
      if (j === i) {
        row.className = "now";
        row.setAttribute("aria-current", "step");
      }
    }
    return [head, body];
  };
  const course = (i) => {
    const known = run.regret.map((value, j) => [run.spent[j], value]).filter(([, value]) => value !== null);
    if (known.length < 2) return [];
    const height = 110;
    const top = Math.max(...known.map(([, value]) => value));
    const x = scale(0, run.spent[run.spent.length - 1], 46, 724, false);
    const y = scale(Math.min(0, ...known.map(([, value]) => value)), top, height - 22, 8, false);
    const svg = svgNode("svg", { viewBox: `0 0 736 ${height}`, role: "img", "aria-label": "Regret of the answer over what was spent" });
    let path = "";
    known.forEach(([spent, value], j) => {
      path += j ? `H${x(spent).toFixed(1)}V${y(value).toFixed(1)}` : `M${x(spent).toFixed(1)},${y(value).toFixed(1)}`;
    });
    svg.append(svgNode("line", { x1: 46, x2: 724, y1: y(0), y2: y(0), class: "axis" }));
    svg.append(svgNode("path", { d: path, ...lineLook(data.looks[run.optimizer]), "stroke-dasharray": "" }));
    svg.append(svgNode("line", { x1: x(run.spent[i]), x2: x(run.spent[i]), y1: 4, y2: height - 22, class: "cursor" }));
    svg.append(svgNode("text", { x: 40, y: 14, "text-anchor": "end" }, top.toFixed(1)));
    svg.append(svgNode("text", { x: 40, y: y(0) + 4, "text-anchor": "end" }, "0"));
    svg.append(svgNode("text", { x: 385, y: height - 4, "text-anchor": "middle", class: "quiet" }, "regret of the answer over what was spent"));
    return [svg];
  };
  const show = () => {
    if (!run.cell.length) {
      byId("facts").textContent = `This run has no steps. It ended: ${run.ending}: ${run.reason}`;
      for (const name of ["cell", "course", "table"]) byId(name).replaceChildren();
      return;
    }
    const i = Number(slider.value) - 1;
    slider.setAttribute("aria-valuetext", `step ${i + 1} of ${run.steps}`);
    byId("facts").replaceChildren(facts(i));
    byId("cell").replaceChildren(...drawing(run.cell[i]));
    byId("course").replaceChildren(...course(i));
    byId("table").replaceChildren(...rows(i));
  };
  const choose = () => {
    const matches = runs.filter(
      (entry) => entry.optimizer === Number(selects.optimizer.value) && entry.task === Number(selects.task.value)
    );
    const wanted = Number(selects.repetition.value);
    run = matches.find((entry) => entry.repetition === wanted) ?? matches[0];
    fillSelect(selects.repetition, matches.map((entry) => String(entry.repetition)));
    selects.repetition.value = String(run.repetition);
    slider.max = Math.max(1, run.cell.length);
    slider.disabled = run.cell.length < 2;
    slider.value = 1;
    show();
  };
  const present = (key, names) => {
    const used = [...new Set(runs.map((entry) => entry[key]))].sort((a, b) => a - b);
    fillSelect(selects[key], used.map((number) => names[number]), used);
  };
  present("optimizer", data.optimizers);
  present("task", data.tasks);
  for (const select of Object.values(selects)) select.addEventListener("change", choose);
  slider.addEventListener("input", show);
  for (const button of document.querySelectorAll("[data-step]")) {
    button.addEventListener("click", () => {
      const targets = {
        first: 1, previous: Number(slider.value) - 1, next: Number(slider.value) + 1, last: Number(slider.max),
      };
      slider.value = targets[button.dataset.step];
      show();
    });
  }
  choose();
};
