/* Charts drawn from data that the page carries: scatter, lines, heat map. Text from records only ever becomes
   text nodes and attributes. Charts are drawn for the width that they have, and again when it changes. */
const Charts = (() => {
  const SVG = "http://www.w3.org/2000/svg";
  const SERIES = 8;
  const STRONG = 0.655; // from here on a cell of a heat map takes the other ink

  const node = (name, attributes = {}, ...children) => {
    const element = document.createElementNS(SVG, name);
    for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
    element.append(...children);
    return element;
  };

  const html = (name, attributes = {}, ...children) => {
    const element = document.createElement(name);
    for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
    element.append(...children);
    return element;
  };

  /* Numbers as a reader expects them: 0.004, 12.3, 1,200. */
  const short = (value) =>
    value === 0 || Math.abs(value) >= 1000
      ? Math.round(value).toLocaleString("en")
      : String(Number(value.toPrecision(3)));

  const ticks = (low, high, count) => {
    const raw = (high - low) / Math.max(count, 1) || 1;
    const power = 10 ** Math.floor(Math.log10(raw));
    const step = [1, 2, 5, 10].map((factor) => factor * power).find((size) => size >= raw * 0.99);
    const found = [];
    for (let index = Math.ceil(low / step - 1e-9); index * step <= high + step * 1e-9; index += 1) {
      found.push(Number((index * step).toPrecision(12)));
    }
    return found;
  };

  const logTicks = (low, high) => {
    const found = [];
    for (let power = Math.floor(Math.log10(low)); power <= Math.ceil(Math.log10(high)); power += 1) {
      for (const factor of [1, 2, 5]) found.push(Number((factor * 10 ** power).toPrecision(12)));
    }
    const inside = found.filter((value) => value >= low * 0.999 && value <= high * 1.001);
    const decades = inside.filter((value) => Number.isInteger(Math.log10(value)));
    return inside.length > 8 && decades.length > 2 ? decades : inside;
  };

  const extent = (values, margin) => {
    const low = Math.min(...values);
    const high = Math.max(...values);
    const room = (high - low || Math.abs(high) || 1) * margin;
    return [low - room, high + room];
  };

  /* A frame with axes: places for values, and the group to draw into. */
  const frame = (host, { title, x, y, xLabel, yLabel, log = false, height, right = 16 }) => {
    const width = Math.max(host.clientWidth, 240);
    const box = { left: 46, top: 22, right: width - right, bottom: height - 42 };
    const svg = node("svg", { viewBox: `0 0 ${width} ${height}`, height, role: "group", "aria-label": title });
    const fraction = log
      ? (value) => (Math.log(value) - Math.log(x[0])) / (Math.log(x[1]) - Math.log(x[0]))
      : (value) => (value - x[0]) / (x[1] - x[0]);
    const toX = (value) => box.left + fraction(value) * (box.right - box.left);
    const toY = (value) => box.bottom - ((value - y[0]) / (y[1] - y[0])) * (box.bottom - box.top);
    const axes = node("g", { "aria-hidden": "true" });
    for (const value of ticks(y[0], y[1], Math.round((box.bottom - box.top) / 48))) {
      axes.append(
        node("line", { class: "grid", x1: box.left, x2: box.right, y1: toY(value), y2: toY(value) }),
        node("text", { x: box.left - 8, y: toY(value) + 4, "text-anchor": "end" }, short(value)),
      );
    }
    const across = Math.max(2, Math.round((box.right - box.left) / 90));
    for (const value of log ? logTicks(x[0], x[1]) : ticks(x[0], x[1], across)) {
      axes.append(
        node("line", { class: "axis", x1: toX(value), x2: toX(value), y1: box.bottom, y2: box.bottom + 5 }),
        node("text", { x: toX(value), y: box.bottom + 18, "text-anchor": "middle" }, short(value)),
      );
    }
    axes.append(
      node("line", { class: "axis", x1: box.left, x2: box.right, y1: box.bottom, y2: box.bottom }),
      node("text", { x: box.left - 38, y: 10 }, yLabel),
      node("text", { x: box.right, y: height - 6, "text-anchor": "end" }, xLabel),
    );
    svg.append(axes);
    return { svg, box, toX, toY, width };
  };

  /* Draw now and whenever the width changes; what is hidden is drawn when it is shown. */
  const onWidth = (host, draw) => {
    let drawn = 0;
    const update = () => {
      if (host.clientWidth && host.clientWidth !== drawn) {
        drawn = host.clientWidth;
        draw();
      }
    };
    host.observer?.disconnect();
    host.observer = new ResizeObserver(update);
    host.observer.observe(host);
    update();
  };

  /* Points that no other is better than: none is at least as accurate for less. Sorted by cost. */
  const paretoFront = (points) => {
    let best = -Infinity;
    return [...points]
      .sort((a, b) => a.x - b.x || b.y - a.y)
      .filter((point) => {
        if (point.y <= best) return false;
        best = point.y;
        return true;
      });
  };

  const diamond = (x, y, r) => `M${x} ${y - r}L${x + r} ${y}L${x} ${y + r}L${x - r} ${y}Z`;

  /* Names beside points where they hide no point, no step of the front and no other name. */
  const placeNames = (points, front, { svg, box, toX, toY }) => {
    const taken = points.map((point) => {
      const [x, y] = [toX(point.x), toY(point.y)];
      return [x - 6, y - 6, x + 6, y + 6];
    });
    front.slice(1).forEach((point, index) => {
      taken.push([toX(point.x) - 1, toY(point.y), toX(point.x) + 1, toY(front[index].y)]);
    });
    for (const point of [...points].sort((a, b) => b.named - a.named || b.y - a.y)) {
      const width = point.label.length * 6.6;
      const [x, y] = [toX(point.x), toY(point.y)];
      const spots = [
        [x + 7, y - 8, "start", x + 7],
        [x + 9, y + 4, "start", x + 9],
        [x - 9, y + 4, "end", x - 9 - width],
        [x, y - 11, "middle", x - width / 2],
        [x, y + 19, "middle", x - width / 2],
      ];
      const free = spots.find(([, base, , left]) => {
        const area = [left, base - 10, left + width, base + 3];
        const inside = area[0] >= box.left && area[2] <= box.right && area[1] >= 12 && area[3] <= box.bottom;
        const clear = taken.every(
          (other) => area[2] < other[0] || area[0] > other[2] || area[3] < other[1] || area[1] > other[3],
        );
        return inside && clear && taken.push(area);
      });
      if (free) {
        svg.append(
          node(
            "text",
            { class: "label halo", x: free[0], y: free[1], "text-anchor": free[2], "aria-hidden": "true" },
            point.label,
          ),
        );
      }
    }
  };

  /* points: {x, y, label, detail, href, full}; x > 0. Only full runs can be on the front. */
  const scatter = (host, points, { title, xLabel, yLabel, none }) => {
    const readout = html("p", { class: "readout", "aria-live": "polite" });
    const draw = () => {
      const costs = points.map((point) => point.x);
      const log = Math.max(...costs) / Math.min(...costs) > 12;
      const room = log ? (Math.max(...costs) / Math.min(...costs)) ** 0.06 : 1;
      const x = log
        ? [Math.min(...costs) / room, Math.max(...costs) * room]
        : [0, Math.max(...costs) * 1.12];
      const y = extent(points.map((point) => point.y), 0.12);
      const height = Math.min(440, Math.max(300, host.clientWidth * 0.5));
      const chart = frame(host, { title, x, y, xLabel, yLabel, log, height });
      const front = paretoFront(points.filter((point) => point.full));
      if (front.length) {
        let path = "";
        front.forEach((point, index) => {
          const [px, py] = [chart.toX(point.x), chart.toY(point.y)];
          path += index ? `H${px}V${py}` : `M${px} ${py}`;
        });
        chart.svg.append(node("path", { class: "front", d: `${path}H${chart.box.right}` }));
      }
      for (const point of points) point.named = front.includes(point) ? 2 : Number(point.full);
      for (const point of [...points].sort((a, b) => a.named - b.named)) {
        const [px, py] = [chart.toX(point.x), chart.toY(point.y)];
        const words = `${point.detail}${point.named === 2 ? "; on the Pareto front" : ""}`;
        const dot = point.full
          ? node("circle", { class: `dot full${point.named === 2 ? " on-front" : ""}`, cx: px, cy: py, r: 5.5 })
          : node("path", { class: "dot marked", d: diamond(px, py, 6) });
        const link = node("a", { href: point.href, "aria-label": words }, node("title", {}, words), dot);
        for (const event of ["focus", "pointerenter"]) {
          link.addEventListener(event, () => {
            readout.textContent = words;
          });
        }
        chart.svg.append(link);
      }
      placeNames(points, front, chart);
      host.replaceChildren(chart.svg, readout);
    };
    if (!points.length) {
      host.observer?.disconnect();
      host.replaceChildren(html("p", { class: "empty" }, none));
      return;
    }
    onWidth(host, draw);
  };

  const lineSample = (index) =>
    node("svg", { "aria-hidden": "true", class: `s${index % SERIES}` }, node("path", { class: "line", d: "M0 6H26" }));

  /* A curve as a path; a value that is no number leaves a gap. */
  const pathOf = (xs, ys, { toX, toY }) => {
    let [path, open] = ["", false];
    xs.forEach((x, index) => {
      const known = Number.isFinite(ys[index]) && Number.isFinite(x);
      if (known) path += `${open ? "L" : "M"}${toX(x).toFixed(1)} ${toY(ys[index]).toFixed(1)}`;
      open = known;
    });
    return path;
  };

  const nearest = (xs, value) =>
    xs.reduce((best, x, index) => (Math.abs(x - value) < Math.abs(xs[best] - value) ? index : best), 0);

  /* series: {name, x: [], y: [], href?, spots?: [{x, y, name, filled}]}. Arrow keys move along the x axis. */
  const lines = (host, series, { title, xLabel, yLabel, none, height = 300, floor = null }) => {
    if (!series.length) {
      host.observer?.disconnect();
      host.replaceChildren(html("p", { class: "empty" }, none));
      return;
    }
    const readout = html("p", { class: "readout", "aria-live": "polite" });
    const legend = html("ul", { class: "legend" });
    let paths = [];
    const single = (chosen) => {
      paths.forEach((path, index) => path.classList.toggle("faded", chosen !== null && index !== chosen));
    };
    series.forEach((one, index) => {
      const name = one.href ? html("a", { href: one.href }, one.name) : one.name;
      const item = html("li", {}, lineSample(index), name);
      item.addEventListener("pointerenter", () => single(index));
      item.addEventListener("pointerleave", () => single(null));
      item.addEventListener("focusin", () => single(index));
      item.addEventListener("focusout", () => single(null));
      legend.append(item);
    });
    const draw = () => {
      const xs = series.flatMap((one) => one.x).filter(Number.isFinite);
      const ys = series.flatMap((one) => one.y).filter(Number.isFinite);
      const y = extent(ys.length ? ys : [0, 1], 0.06);
      if (floor !== null) y[0] = Math.max(y[0], floor);
      const chart = frame(host, { title, x: extent(xs, xs.length > 1 ? 0.01 : 0.1), y, xLabel, yLabel, height });
      paths = series.map((one, index) =>
        node("path", { class: `line s${index % SERIES}`, d: pathOf(one.x, one.y, chart) }),
      );
      chart.svg.append(...paths);
      series.forEach((one, index) => {
        for (const spot of one.spots || []) {
          const place = { cx: chart.toX(spot.x), cy: chart.toY(spot.y), r: 4.5 };
          const words = `${one.name}: ${spot.name}`;
          const kind = `spot s${index % SERIES}${spot.filled ? " filled" : ""}`;
          chart.svg.append(node("circle", { class: kind, ...place }, node("title", {}, words)));
        }
      });
      const hair = node("line", { class: "hair", y1: chart.box.top, y2: chart.box.bottom, visibility: "hidden" });
      chart.svg.append(hair);
      const grid = [...new Set(xs)].sort((a, b) => a - b);
      let at = null;
      const show = (index) => {
        at = Math.min(Math.max(index, 0), grid.length - 1);
        const value = grid[at];
        hair.setAttribute("x1", chart.toX(value));
        hair.setAttribute("x2", chart.toX(value));
        hair.setAttribute("visibility", "visible");
        const found = series
          .map((one) => ({ name: one.name, y: one.y[one.x.indexOf(value)] }))
          .filter((one) => Number.isFinite(one.y))
          .sort((a, b) => b.y - a.y);
        const words = found.slice(0, 6).map((one) => `${one.name} ${short(one.y)}`);
        readout.textContent = `${xLabel} ${short(value)}: ${words.join(", ")}${found.length > 6 ? ", …" : ""}`;
      };
      chart.svg.setAttribute("tabindex", "0");
      chart.svg.setAttribute("role", "application");
      chart.svg.setAttribute("aria-label", `${title}. Left and right arrow keys read the values.`);
      chart.svg.addEventListener("keydown", (event) => {
        const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
        if (step === undefined) return;
        event.preventDefault();
        show(at === null ? (step > 0 ? 0 : grid.length - 1) : at + step);
      });
      chart.svg.addEventListener("pointermove", (event) => {
        const part = (event.clientX - chart.svg.getBoundingClientRect().left) / chart.svg.clientWidth;
        const inside = (part * chart.width - chart.toX(grid[0])) / (chart.toX(grid.at(-1)) - chart.toX(grid[0]) || 1);
        show(nearest(grid, grid[0] + inside * (grid.at(-1) - grid[0])));
      });
      chart.svg.addEventListener("pointerleave", () => hair.setAttribute("visibility", "hidden"));
      host.replaceChildren(chart.svg, readout, ...(series.length > 1 || series[0].href ? [legend] : []));
    };
    onWidth(host, draw);
  };

  /* rows: {label, href?, apart?, values: [fraction or null per class]}; with `best` the highest of
     each class is framed, which rows apart never are. */
  const heatMap = (host, classes, rows, { caption, none, best = false }) => {
    if (!rows.length) {
      host.replaceChildren(html("p", { class: "empty" }, none));
      return;
    }
    // What reads the same is the same.
    const read = (value) => Math.round(100 * (value ?? -1));
    const ranked = rows.filter((row) => !row.apart);
    const highest = classes.map((_, index) => Math.max(...ranked.map((row) => read(row.values[index]))));
    const head = html("tr", {}, html("td", {}));
    for (const name of classes) head.append(html("th", { scope: "col" }, html("span", {}, name)));
    const body = html("tbody");
    for (const row of rows) {
      const label = row.href ? html("a", { href: row.href }, row.label) : row.label;
      const line = html("tr", row.apart ? { class: "apart" } : {}, html("th", { scope: "row", title: row.label }, label));
      row.values.forEach((value, index) => {
        if (value === null || value === undefined) {
          line.append(html("td", { class: "none", title: `${classes[index]}: not there` }, "–"));
          return;
        }
        const top = best && ranked.length > 1 && !row.apart && read(value) === highest[index];
        const kind = `${value > STRONG ? "strong" : ""}${top ? " top" : ""}`.trim();
        const title = `${row.label}, ${classes[index]}: ${(100 * value).toFixed(1)} %${top ? ", the highest" : ""}`;
        const cell = html("td", { title, ...(kind && { class: kind }) }, String(read(value)));
        cell.style.setProperty("--value", value.toFixed(3));
        line.append(cell);
      });
      body.append(line);
    }
    const hidden = html("caption", { class: "visually-hidden" }, caption);
    host.replaceChildren(html("table", {}, hidden, html("thead", {}, head), body));
  };

  /* A curve of fractions as one of percentages. */
  const inPercent = ({ x, y, spots = [] }) => ({
    x,
    y: y.map((value) => (value === null ? null : 100 * value)),
    spots: spots.map((spot) => ({ ...spot, y: 100 * spot.y })),
  });

  const data = (id) => JSON.parse(document.getElementById(id).textContent);

  return { scatter, lines, heatMap, paretoFront, inPercent, data };
})();
