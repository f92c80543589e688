/* The page of a run: its charts, and how strongly masks cover their image. */
(() => {
  const data = Charts.data("data");

  const heat = document.querySelector(".heat");
  if (heat) {
    const measure = document.querySelector("select[name=measure]");
    const draw = () => {
      const rows = data.numbers
        .map((number) => ({ label: number.label, values: number[measure.value] }))
        .filter((row) => row.values.some((value) => value !== null));
      const words = measure.selectedOptions[0].textContent;
      Charts.heatMap(heat, data.classes, rows, { caption: `${words} per class, %`, none: "Not measured." });
    };
    measure.addEventListener("change", draw);
    draw();
  }

  const figure = (box, title) => {
    const host = document.createElement("div");
    const heading = document.createElement("h3");
    const chart = document.createElement("div");
    heading.textContent = title;
    chart.className = "chart";
    host.append(heading, chart);
    box.append(host);
    return chart;
  };

  const curves = document.querySelector("[data-charts=curves]");
  for (const curve of curves ? data.curves : []) {
    const mean = { name: "mIoU", ...Charts.inPercent({ x: curve.threshold, y: curve.mIoU, spots: curve.spots }) };
    Charts.lines(figure(curves, `${curve.stage}: mIoU`), [mean], {
      title: `mIoU of ${curve.stage} over the threshold`,
      xLabel: "threshold",
      yLabel: "mIoU, %",
    });
    const rates = Object.entries(curve.rates).map(([name, y]) => ({ name, ...Charts.inPercent({ x: curve.threshold, y }) }));
    if (rates.length) {
      Charts.lines(figure(curves, `${curve.stage}: where it goes wrong`), rates, {
        title: `Rates of ${curve.stage} over the threshold`,
        xLabel: "threshold",
        yLabel: "foreground, %",
      });
    }
  }

  const losses = document.querySelector("[data-charts=losses]");
  for (const stage of losses ? data.losses : []) {
    for (const [kind, logged] of [["losses", stage.losses], ["also logged", stage.others]]) {
      const series = Object.entries(logged).map(([name, y]) => ({ name, x: stage.iteration, y }));
      if (!series.length) continue;
      Charts.lines(figure(losses, kind === "losses" ? stage.stage : `${stage.stage}: ${kind}`), series, {
        title: `${kind} of ${stage.stage}`,
        xLabel: "iteration",
        yLabel: kind === "losses" ? "loss" : "value",
        height: 240,
      });
    }
  }

  const validations = document.querySelector("[data-charts=validations]");
  for (const stage of validations ? data.validations : []) {
    const series = Object.entries(stage.mIoU).map(([name, y]) => ({ name, x: stage.iteration, y }));
    Charts.lines(figure(validations, stage.stage), series, {
      title: `mIoU while ${stage.stage} trains`,
      xLabel: "iteration",
      yLabel: "mIoU",
      height: 240,
    });
  }

  const overlay = document.querySelector("input[name=overlay]");
  if (overlay) {
    const apply = () => document.documentElement.style.setProperty("--overlay", overlay.value / 100);
    overlay.addEventListener("input", apply);
    apply();
  }
})();
