// Filters and sorts the leaderboard, whose rows are all in the page; `aria-sort` says how.

const fillSelect = (select, names, values = names) => {
  select.replaceChildren(
    ...names.map((name, position) => {
      const option = document.createElement("option");
      option.textContent = name;
      option.value = values[position];
      return option;
    })
  );
};

const setUpLeaderboard = (data) => {
  const table = document.querySelector("#leaderboard table");
  const body = table.tBodies[0];
  const status = document.getElementById("sort-status");
  const filters = {
    task: document.getElementById("task-filter"),
    budget: document.getElementById("budget-filter"),
  };
  fillSelect(filters.task, ["all tasks", ...data.tasks], ["", ...data.tasks]);
  fillSelect(filters.budget, [...data.budgets, "all budgets"], [...data.budgets, ""]);
  filters.budget.value = data.budgets[data.budgets.length - 1];

  const show = () => {
    for (const [key, select] of Object.entries(filters)) table.classList.toggle(`one-${key}`, select.value !== "");
    for (const row of body.rows) {
      row.hidden = Object.entries(filters).some(
        ([key, select]) => select.value !== "" && row.dataset[key] !== select.value
      );
    }
  };
  const valueOf = (row, column) => {
    const text = row.cells[column].dataset.value;
    const number = parseFloat(text);
    return Number.isNaN(number) ? text : number;
  };
  const compare = (a, b) => {
    if (a === "" || b === "") return (a === "") - (b === ""); // what is missing goes last
    return typeof a === "number" && typeof b === "number" ? a - b : String(a).localeCompare(String(b));
  };
  const sort = (header) => {
    const ascending = header.getAttribute("aria-sort") !== "ascending";
    for (const other of table.tHead.rows[0].cells) other.removeAttribute("aria-sort");
    header.setAttribute("aria-sort", ascending ? "ascending" : "descending");
    const column = header.cellIndex;
    const rows = [...body.rows].sort((first, second) => {
      const [a, b] = [valueOf(first, column), valueOf(second, column)];
      const missing = a === "" || b === "";
      return ascending || missing ? compare(a, b) : compare(b, a);
    });
    body.append(...rows);
    status.textContent = `Sorted by ${header.textContent.trim()}, ${ascending ? "ascending" : "descending"}`;
  };
  for (const header of table.tHead.rows[0].cells) {
    header.querySelector("button")?.addEventListener("click", () => sort(header));
  }
  for (const select of Object.values(filters)) select.addEventListener("change", show);
  show();
};
