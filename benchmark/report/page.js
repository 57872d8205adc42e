"use strict";
const read = (id) => JSON.parse(document.getElementById(id).textContent);
const $ = (id) => document.getElementById(id);

// Theme: the reader's system decides until the button is used; a page from a file may have no storage.
{
  const stored = () => { try { return localStorage.getItem("theme"); } catch { return null; } };
  const root = document.documentElement;
  const isDark = () => (root.dataset.theme ?? (matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light")) === "dark";
  const show = () => {
    $("theme").textContent = isDark() ? "Light" : "Dark";
    $("theme").setAttribute("aria-label", `Change to ${isDark() ? "light" : "dark"} colours`);
    document.dispatchEvent(new Event("themechange"));
  };
  if (stored()) root.dataset.theme = stored();
  $("theme").addEventListener("click", () => {
    root.dataset.theme = isDark() ? "light" : "dark";
    try { localStorage.setItem("theme", root.dataset.theme); } catch { /* then it lasts as long as the page */ }
    show();
  });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", show);
  show();
}

// The chart of accuracy against compute or latency.
{
  const { axes, curves, holes, looks, reference } = read("chart-data");
  const short = (value) => {
    for (const [scale, letter] of [[1e12, "T"], [1e9, "G"], [1e6, "M"], [1e3, "k"]]) {
      if (Math.abs(value) >= scale * 0.9995) return `${+(value / scale).toPrecision(3)}${letter}`;
    }
    return `${+value.toPrecision(3)}`;
  };
  const percent = (value) => `${(100 * value).toFixed(1)}%`;
  const chosenMethods = () => [...document.querySelectorAll("#methods input:checked")].map((box) => box.value);
  const shown = () => {
    const methods = new Set(chosenMethods());
    return curves.filter((c) => c.axis === $("axis").value && c.dataset === $("dataset").value && methods.has(c.method));
  };

  const bounds = (curve, key) => ({
    data: curve.points.map((p) => ({ x: p.x, y: p[key] })), bound: true, clip: 0, pointRadius: 0, pointHitRadius: 0, borderWidth: 0, order: 9,
    showLine: true,
  });
  const datasets = () => {
    const ink = getComputedStyle($("chart-box")).color;
    return shown().flatMap((curve) => {
      const look = looks[curve.method];
      const colour = look.static ? ink : look.color;
      const line = {
        label: curve.method, data: curve.points, borderColor: colour, backgroundColor: look.static ? "transparent" : colour,
        borderDash: look.dash, borderWidth: 2, pointStyle: look.point, rotation: look.rotation, pointRadius: 5, pointHoverRadius: 8,
        pointBorderWidth: 1.5, showLine: !look.static, clip: 8, order: 1,
      };
      if (!$("bands").checked || look.static || curve.points.some((p) => p.low === null)) return [line];
      return [line, bounds(curve, "low"), { ...bounds(curve, "high"), fill: "-1", backgroundColor: `${look.color}26` }];
    });
  };
  const axisStyle = () => {
    const style = getComputedStyle($("chart-box"));
    return { grid: { color: style.borderTopColor }, ticks: { color: style.color }, title: { display: true, color: style.color } };
  };
  // Intervals of two or three seeds can be wider than all differences: the chart is fitted to the points.
  const fitted = () => {
    const accuracies = shown().flatMap((curve) => curve.points.map((point) => point.y));
    if (!accuracies.length) return {};
    const [low, high] = [Math.min(...accuracies), Math.max(...accuracies)];
    const margin = 0.15 * (high - low) + 0.002;
    return { min: low - margin, max: high + margin };
  };
  const scales = () => {
    const axis = axes.find((a) => a.key === $("axis").value);
    const base = axisStyle();
    return {
      x: { ...base, type: $("scale").value, title: { ...base.title, text: axis.label }, ticks: { ...base.ticks, callback: short, maxRotation: 0, autoSkipPadding: 18 } },
      y: { ...base, ...fitted(), title: { ...base.title, text: "test accuracy" }, ticks: { ...base.ticks, includeBounds: false, callback: (v) => `${+(100 * v).toFixed(2)}%` } },
    };
  };
  const referenceLine = {
    id: "reference",
    beforeDatasetsDraw({ ctx, chartArea, scales: { x } }) {
      const at = reference[$("dataset").value];
      if ($("axis").value !== "macs" || at === undefined || at < x.min || at > x.max) return;
      ctx.save();
      ctx.strokeStyle = getComputedStyle($("chart-box")).color;
      ctx.setLineDash([2, 4]);
      ctx.beginPath();
      ctx.moveTo(x.getPixelForValue(at), chartArea.top);
      ctx.lineTo(x.getPixelForValue(at), chartArea.bottom);
      ctx.stroke();
      ctx.restore();
    },
  };
  const chart = new Chart($("chart"), {
    type: "scatter",
    data: { datasets: datasets() },
    plugins: [referenceLine],
    options: {
      animation: false, maintainAspectRatio: false, interaction: { mode: "nearest", intersect: false },
      scales: scales(),
      plugins: {
        legend: { display: false },
        tooltip: {
          filter: (item) => !item.dataset.bound,
          callbacks: {
            title: ([item]) => item?.dataset.label,
            label: ({ raw }) => [
              `accuracy ${percent(raw.y)}` + (raw.low === null ? "" : ` (${percent(raw.low)} to ${percent(raw.high)})`),
              $("axis").value === "macs" ? `${short(raw.x)} MACs` : `${short(raw.x)} ms per sample`,
            ],
          },
        },
      },
    },
  });

  const redraw = () => {
    Object.assign(chart.data, { datasets: datasets() });
    chart.options.scales = scales();
    chart.update();
    const visible = shown();
    $("chart").setAttribute(
      "aria-label",
      `Test accuracy against ${axes.find((a) => a.key === $("axis").value).label} on ${$("dataset").value}; `
        + `${visible.length} methods shown: ${visible.map((c) => c.method).join(", ") || "none"}. The values stand in the table below.`,
    );
    const rows = visible.flatMap((c) => c.points.map((p) => [c.method, short(p.x), percent(p.y), p.low === null ? "" : `${percent(p.low)} to ${percent(p.high)}`]));
    $("chart-rows").replaceChildren(...rows.map((cells) => {
      const row = document.createElement("tr");
      row.append(...cells.map((text, i) => Object.assign(document.createElement(i ? "td" : "th"), { textContent: text, scope: i ? undefined : "row" })));
      return row;
    }));
    const lacking = holes[$("axis").value]?.[$("dataset").value];
    $("chart-holes").textContent = lacking ? `Means of fewer seeds than planned: ${lacking}.` : "";
    $("chart-x").textContent = axes.find((a) => a.key === $("axis").value).label;
  };
  for (const id of ["dataset", "axis", "scale", "bands"]) $(id).addEventListener("change", redraw);
  $("methods").addEventListener("change", redraw);
  for (const [id, checked] of [["all-methods", true], ["no-methods", false]]) {
    $(id).addEventListener("click", () => {
      for (const box of document.querySelectorAll("#methods input")) box.checked = checked;
      redraw();
    });
  }
  document.addEventListener("themechange", redraw);
  redraw();
}

// Tables: a click on a heading sorts by its column, numbers by value, holes last.
for (const table of document.querySelectorAll("table.sortable")) {
  const body = table.tBodies[0];
  table.tHead.addEventListener("click", ({ target }) => {
    const heading = target.closest("th");
    if (!target.closest("button") || !heading) return;
    const direction = heading.getAttribute("aria-sort") === "ascending" ? "descending" : "ascending";
    for (const other of table.tHead.querySelectorAll("th")) other.removeAttribute("aria-sort");
    heading.setAttribute("aria-sort", direction);
    const key = (row) => {
      const { value } = row.cells[heading.cellIndex].dataset;
      return value === undefined ? row.cells[heading.cellIndex].textContent.trim() : value === "" ? NaN : Number(value);
    };
    const sign = direction === "ascending" ? 1 : -1;
    const compare = (a, b) => {
      if (typeof a === "string" || typeof b === "string") return sign * String(a).localeCompare(String(b), "en", { numeric: true });
      return Number.isNaN(a) - Number.isNaN(b) || sign * (a - b);
    };
    const rows = [...body.rows].map((row) => [key(row), row]).sort(([a], [b]) => compare(a, b));
    body.append(...rows.map(([, row]) => row));
  });
}

// Runs: filter by words and status; the whole run.json of one in a dialog.
{
  const runs = read("runs-data");
  const rows = [...$("runs-table").tBodies[0].rows];
  const filter = () => {
    const words = $("runs-words").value.toLowerCase().split(/\s+/).filter(Boolean);
    const status = $("runs-status").value;
    let count = 0;
    for (const row of rows) {
      const text = row.textContent.toLowerCase();
      row.hidden = !words.every((word) => text.includes(word)) || (status !== "" && row.dataset.status !== status);
      count += !row.hidden;
    }
    $("runs-count").textContent = `${count} of ${rows.length} runs`;
  };
  $("runs-words").addEventListener("input", filter);
  $("runs-status").addEventListener("change", filter);
  filter();
  $("runs-table").addEventListener("click", ({ target }) => {
    const name = target.closest("button[data-run]")?.dataset.run;
    if (!name) return;
    $("run-name").textContent = name;
    $("run-json").textContent = JSON.stringify(runs[name], null, 2);
    $("run-dialog").showModal();
  });
}
