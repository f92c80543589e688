/* The front page: sorting and filtering of the tables; the charts show the entries that the filters leave. */
(() => {
  const CURVES = 8; // as many lines as can be told apart; entries come best first
  const form = document.querySelector(".filters");
  if (!form) return;
  const sections = [...document.querySelectorAll("section.dataset")];

  /* Sorting: each body of a table by itself, so that marked runs stay apart from ranked ones. */
  const valueOf = (row, index) => row.cells[index].dataset.value;
  const compare = (a, b, numeric) => (numeric ? Number(a) - Number(b) : a.localeCompare(b));

  const sort = (table, header, direction) => {
    const index = header.cellIndex;
    const numeric = header.classList.contains("number");
    const sign = direction === "ascending" ? 1 : -1;
    for (const body of table.tBodies) {
      const rows = [...body.rows].filter((row) => row.dataset.entry);
      rows.sort((a, b) => {
        const [left, right] = [valueOf(a, index), valueOf(b, index)];
        // What was not measured is last in either direction.
        if (left === undefined || right === undefined) return (left === undefined) - (right === undefined);
        return sign * compare(left, right, numeric);
      });
      body.append(...rows);
    }
    for (const other of header.parentElement.cells) other.removeAttribute("aria-sort");
    header.setAttribute("aria-sort", direction);
  };

  for (const table of document.querySelectorAll(".results table")) {
    for (const button of table.querySelectorAll("th button")) {
      const header = button.closest("th");
      const cheapFirst = header.dataset.key === "name" || header.dataset.key.startsWith("cost-");
      button.addEventListener("click", () => {
        const first = cheapFirst ? "ascending" : "descending";
        const second = cheapFirst ? "descending" : "ascending";
        sort(table, header, header.getAttribute("aria-sort") === first ? second : first);
      });
    }
  }

  /* Charts of one dataset. */
  const option = (value, words) => {
    const element = document.createElement("option");
    element.value = value;
    element.textContent = words;
    return element;
  };

  const chartsOf = (section) => {
    const box = section.querySelector(".charts");
    if (!box) return () => {};
    const data = Charts.data(box.dataset.source);
    const labels = new Map(data.columns.map((column) => [column.id, column.label]));
    const choose = (name) => box.querySelector(`select[name=${name}]`);
    const [number, cost, hardware, classes] = ["number", "cost", "hardware", "classes"].map(choose);

    const counts = new Map();
    for (const entry of data.entries) {
      for (const column of Object.keys(entry.values)) counts.set(column, (counts.get(column) || 0) + 1);
    }
    const present = data.columns.filter((column) => counts.has(column.id));
    // The end of the pipeline, unless a single entry got that far.
    const usual = present.findLast((column) => counts.get(column.id) > 1) || present.at(-1);
    for (const select of [number, classes]) {
      select.append(...present.map((column) => option(column.id, column.label)));
      select.value = usual.id;
    }
    const machines = [...new Set(data.entries.map((entry) => entry.hardware))].sort();
    const most = (name) => data.entries.filter((entry) => entry.hardware === name).length;
    hardware.append(...machines.map((name) => option(name, name)), option("", "all, not comparable"));
    hardware.value = machines.reduce((best, name) => (most(name) > most(best) ? name : best));
    hardware.closest("label").hidden = machines.length < 2;

    const nameOf = (entry) => (entry.full ? entry.name : `${entry.name} (marked)`);
    let entries = data.entries;
    const draw = {
      scatter: () => {
        const found = entries
          .filter((entry) => number.value in entry.values && cost.value in entry.costs)
          .filter((entry) => !hardware.value || entry.hardware === hardware.value);
        const { words, axis } = data.costs[cost.value];
        const most = Math.max(...found.map((entry) => entry.costs[cost.value]));
        const units = Object.entries(axis);
        const [unit, size] = units.find(([, one]) => most >= one) || units.at(-1);
        const points = found.map((entry) => {
          const [x, y] = [entry.costs[cost.value] / size, entry.values[number.value]];
          const detail = `${nameOf(entry)}: ${labels.get(number.value)} ${y.toFixed(1)} %, ${x.toPrecision(3)} ${unit}`;
          return { x, y, label: entry.name, detail, href: entry.href, full: entry.full };
        });
        Charts.scatter(box.querySelector(".scatter"), points, {
          title: `${labels.get(number.value)} against ${words}`,
          xLabel: words.endsWith(unit) ? words : `${words}, ${unit}`,
          yLabel: `${labels.get(number.value)}, mIoU %`,
          none: "No run has both, with these filters.",
        });
      },
      classes: () => {
        const rows = entries
          .filter((entry) => classes.value in entry.classes)
          .map((entry) => ({
            label: nameOf(entry),
            href: entry.href,
            apart: !entry.full,
            values: entry.classes[classes.value],
          }));
        Charts.heatMap(box.querySelector(".heat"), data.classes, rows, {
          caption: `IoU per class of ${labels.get(classes.value)}, %`,
          none: "No run has this number, with these filters.",
          best: true,
        });
      },
      curves: () => {
        const series = entries
          .filter((entry) => entry.curve)
          .slice(0, CURVES)
          .map((entry) => ({ name: nameOf(entry), href: entry.href, ...Charts.inPercent(entry.curve) }));
        Charts.lines(box.querySelector(".curves"), series, {
          title: "mIoU of seeds over the threshold",
          xLabel: "threshold",
          yLabel: "seed, mIoU %",
          none: "No run has a sweep, with these filters.",
          height: 340,
        });
      },
    };
    for (const select of box.querySelectorAll("select")) {
      select.addEventListener("change", () => draw[select.dataset.chart]());
    }
    return (shown) => {
      entries = data.entries.filter((entry) => shown.has(entry.id));
      for (const one of Object.values(draw)) one();
    };
  };

  const redraw = new Map(sections.map((section) => [section, chartsOf(section)]));

  /* Filters. */
  const count = form.querySelector(".count");
  const filter = () => {
    const { dataset, method, kind, text } = Object.fromEntries(new FormData(form));
    const wanted = text.trim().toLowerCase();
    let [shown, all] = [0, 0];
    for (const section of sections) {
      section.hidden = dataset !== "" && section.dataset.dataset !== dataset;
      const visible = new Set();
      for (const row of section.querySelectorAll("tr[data-entry]")) {
        const fits =
          (!method || row.dataset.method === method) &&
          (!kind || row.dataset.kind === kind) &&
          row.dataset.text.includes(wanted);
        row.hidden = !fits;
        if (fits) visible.add(row.dataset.entry);
        if (!section.hidden) {
          all += 1;
          shown += Number(fits);
        }
      }
      for (const title of section.querySelectorAll(".unranked-title")) {
        title.hidden = ![...title.parentElement.rows].some((row) => row.dataset.entry && !row.hidden);
      }
      if (!section.hidden) redraw.get(section)(visible);
    }
    const words = all === 1 ? "entry" : "entries";
    count.textContent = shown === all ? `${all} ${words}` : `${shown} of ${all} ${words}`;
  };

  form.elements.text.addEventListener("input", filter);
  form.addEventListener("change", filter);
  form.addEventListener("submit", (event) => event.preventDefault());
  filter();
})();
