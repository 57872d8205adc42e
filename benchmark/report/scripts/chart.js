// The chart of accuracy against compute or latency.
if ($("chart")) {
  const { axes, curves, seeds, frontier, first, holes, looks, reference } = read("chart-data");
  const short = (value) => {
    for (const [scale, letter] of [[1e12, "T"], [1e9, "G"], [1e6, "M"], [1e3, "k"]]) {
      if (Math.abs(value) >= scale * 0.9995) return `${+(value / scale).toPrecision(3)} ${letter}`;
    }
    return `${+value.toPrecision(3)}`;
  };
  const percent = (value) => `${(100 * value).toFixed(2)}%`;
  const axisOf = () => axes.find((a) => a.key === $("axis").value);
  const onMacs = () => $("axis").value === "macs";
  const boxes = [...document.querySelectorAll("#methods input")];
  const chosen = () => new Set(boxes.filter((box) => box.checked).map((box) => box.value));
  const shown = () => {
    const methods = chosen();
    return curves.filter((c) => c.axis === $("axis").value && c.dataset === $("dataset").value && methods.has(c.method));
  };
  const ink = () => getComputedStyle($("chart-box"));

  // A curve's accuracy at some compute, between its points; null outside them.
  const at = ({ points }, x) => {
    const after = points.findIndex((p) => p.x >= x * (1 - 1e-9));
    if (after < 0 || (after === 0 && points[0].x > x * (1 + 1e-9))) return null;
    if (after === 0) return points[0].y;
    const [a, b] = [points[after - 1], points[after]];
    return b.x === a.x ? b.y : a.y + ((b.y - a.y) * (x - a.x)) / (b.x - a.x);
  };

  const silent = { bound: true, clip: 0, pointRadius: 0, pointHitRadius: 0, borderWidth: 0, showLine: true };
  const bounds = (curve, key) => ({ ...silent, data: curve.points.map((p) => ({ x: p.x, y: p[key] })), order: 9 });
  const datasets = () => {
    const colours = ink();
    const lines = shown().flatMap((curve) => {
      const look = looks[curve.method];
      const colour = look.static ? colours.color : look.color;
      const line = {
        label: curve.method, data: curve.points, curve, borderColor: colour,
        backgroundColor: look.static ? colours.backgroundColor : colour,
        borderDash: look.dash, borderWidth: 2.2, pointStyle: look.point, rotation: look.rotation, pointRadius: look.thin ? 6 : 5,
        pointHoverRadius: 8, pointBorderWidth: look.thin ? 2 : 1.5, showLine: !look.static, clip: 8, order: 1,
      };
      const bands = $("bands").checked && !curve.points.some((p) => p.low === null)
        ? [bounds(curve, "low"), { ...bounds(curve, "high"), fill: "-1", backgroundColor: `${look.static ? "#888888" : look.color}26` }]
        : [];
      const single = onMacs() && $("seeds").checked ? seeds.find((s) => s.dataset === curve.dataset && s.method === curve.method) : null;
      const dots = single
        ? [{ ...silent, data: single.points, showLine: false, pointRadius: 2, pointStyle: "circle", order: 5, clip: 8,
             borderWidth: 0, pointBorderWidth: 0, backgroundColor: look.static ? colours.color : `${look.color}b0` }]
        : [];
      return [line, ...bands, ...dots];
    });
    const edge = onMacs() && frontier[$("dataset").value];
    if (edge) {
      lines.push({ ...silent, label: "static frontier", data: edge, borderColor: colours.color, borderWidth: 1.2, order: 6 });
    }
    return lines;
  };

  // Intervals of a few seeds can be wider than all differences, and a poor tail lower than all that matters: the chart
  // reaches below the least of the methods' best as far as it reaches above it.
  const fitted = () => {
    const all = shown().flatMap((curve) => curve.points.map((point) => point.y));
    if (!all.length) return {};
    const bests = shown().map((curve) => Math.max(...curve.points.map((point) => point.y)));
    const high = Math.max(...all);
    const low = bests.length > 1 ? Math.max(Math.min(...all), 2 * Math.min(...bests) - high) : Math.min(...all);
    const margin = Math.max(0.15 * (high - low) + 0.002, (0.02 - (high - low)) / 2);
    return { min: low - margin, max: Math.min(high + margin, 1 + 0.15 * margin) };
  };
  // On a logarithmic axis every digit gets a label, and on a phone the last ones of a decade touch.
  const spaced = (axis) => {
    if (axis.type !== "logarithmic") return;
    axis.ticks = axis.ticks.filter(({ value }) => [1, 2, 3, 5].includes(+(value / 10 ** Math.floor(Math.log10(value) + 1e-9)).toFixed(2)));
  };
  const scales = () => {
    const style = ink();
    const base = { grid: { color: style.borderTopColor }, ticks: { color: style.color }, title: { display: true, color: style.color } };
    return {
      x: { ...base, type: $("scale").value, afterBuildTicks: spaced, title: { ...base.title, text: axisOf().label }, ticks: { ...base.ticks, callback: short, maxRotation: 0, autoSkipPadding: 18 } },
      y: { ...base, ...fitted(), title: { ...base.title, text: "test accuracy" }, ticks: { ...base.ticks, includeBounds: false, callback: (v) => `${+(100 * v).toFixed(2)}%` } },
    };
  };
  const referenceLine = {
    id: "reference",
    beforeDatasetsDraw({ ctx, chartArea, scales: { x } }) {
      const place = reference[$("dataset").value];
      if (!onMacs() || place === undefined || place < x.min || place > x.max) return;
      ctx.save();
      ctx.strokeStyle = ink().color;
      ctx.setLineDash([2, 4]);
      ctx.beginPath();
      ctx.moveTo(x.getPixelForValue(place), chartArea.top);
      ctx.lineTo(x.getPixelForValue(place), chartArea.bottom);
      ctx.stroke();
      ctx.restore();
    },
  };
  // What a point says: where it is, its knob, and all curves at that compute, the most accurate first.
  const says = ({ method }, point) => {
    const unit = axisOf().unit;
    const knob = point.at === null || point.at === undefined ? "" : `, operating point ${+point.at.toPrecision(3)}`;
    const interval = point.low === null ? "" : ` (${percent(point.low)} to ${percent(point.high)})`;
    const others = shown().filter((c) => c.method !== method).map((c) => [c.method, at(c, point.x)]).filter(([, y]) => y !== null);
    others.sort(([, a], [, b]) => b - a);
    return {
      title: `${method}: ${percent(point.y)}${interval}`,
      lines: [`${short(point.x)} ${unit} per sample${knob}`, ...(others.length ? ["At that compute:"] : []), ...others.map(([name, y]) => `${name} ${percent(y)}`)],
    };
  };
  const fitScale = () => { // many powers of ten are seen on a logarithmic axis only
    const xs = shown().flatMap((c) => c.points.map((p) => p.x));
    $("scale").value = Math.max(...xs) > 30 * Math.min(...xs) ? "logarithmic" : "linear";
  };
  $("dataset").value = first;
  fitScale();
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
          displayColors: false,
          callbacks: {
            title: ([item]) => (item ? says(item.dataset.curve, item.raw).title : ""),
            label: ({ dataset, raw }) => says(dataset.curve, raw).lines,
          },
        },
      },
    },
  });

  const redraw = () => {
    chart.data.datasets = datasets();
    chart.options.scales = scales();
    chart.setActiveElements([]);
    chart.update();
    const visible = shown();
    $("chart-empty").hidden = visible.length > 0;
    $("chart").style.visibility = visible.length ? "" : "hidden";
    const best = visible.map((c) => [c.method, Math.max(...c.points.map((p) => p.y))]).sort(([, a], [, b]) => b - a);
    $("chart").setAttribute(
      "aria-label",
      `Test accuracy against ${axisOf().label} on ${$("dataset").value}. Best accuracy: `
        + `${best.map(([name, y]) => `${name} ${percent(y)}`).join(", ") || "no method is chosen"}. `
        + "Arrow keys go from point to point and from curve to curve.",
    );
    const rows = visible.flatMap((c) => c.points.map((p) => [c.method, short(p.x), percent(p.y), p.low === null ? "" : `${percent(p.low)} to ${percent(p.high)}`]));
    $("chart-rows").replaceChildren(...rows.map((cells) => {
      const row = document.createElement("tr");
      row.append(...cells.map((text, i) => Object.assign(document.createElement(i ? "td" : "th"), { textContent: text, scope: i ? undefined : "row" })));
      return row;
    }));
    const here = curves.filter((c) => c.axis === $("axis").value && c.dataset === $("dataset").value).map((c) => c.method);
    for (const box of boxes) box.closest("label").classList.toggle("absent", !here.includes(box.value));
    const absent = boxes.map((box) => box.value).filter((method) => !here.includes(method));
    const lacking = holes[$("axis").value]?.[$("dataset").value];
    $("chart-holes").textContent = [
      lacking ? `Means of fewer seeds than planned: ${lacking}.` : "",
      absent.length ? `${onMacs() ? "No finished run" : "Not timed"}: ${absent.join(", ")}.` : "",
    ].join(" ").trim();
    $("chart-x").textContent = axisOf().label;
    $("seeds").closest("label").hidden = !onMacs() || !seeds.some((s) => s.dataset === $("dataset").value);
  };

  // Keys: left and right along a curve, up and down to another one.
  let place = { line: 0, point: -1 };
  $("chart").addEventListener("keydown", (event) => {
    const lines = chart.data.datasets.map((line, index) => ({ line, index })).filter(({ line }) => line.curve);
    const step = { ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowUp: [-1, 0], ArrowDown: [1, 0] }[event.key];
    if (!step || !lines.length) return;
    event.preventDefault();
    place.line = (place.line + step[0] + lines.length) % lines.length;
    const { line, index } = lines[place.line];
    place.point = Math.min(Math.max(place.point + step[1], 0), line.data.length - 1);
    const active = [{ datasetIndex: index, index: place.point }];
    chart.setActiveElements(active);
    chart.tooltip.setActiveElements(active, chart.getDatasetMeta(index).data[place.point]);
    chart.update();
    const { title, lines: said } = says(line.curve, line.data[place.point]);
    $("chart-said").textContent = `${title}. ${said.join(". ")}`;
  });

  // The methods are one stop of the tabulator key; arrows go from one to the next.
  boxes.forEach((box, i) => { box.tabIndex = i ? -1 : 0; });
  $("methods").addEventListener("keydown", (event) => {
    const from = boxes.indexOf(event.target);
    const step = { ArrowLeft: -1, ArrowUp: -1, ArrowRight: 1, ArrowDown: 1 }[event.key];
    if (from < 0 || !step) return;
    event.preventDefault();
    const to = boxes[(from + step + boxes.length) % boxes.length];
    for (const box of boxes) box.tabIndex = box === to ? 0 : -1;
    to.focus();
  });

  for (const id of ["dataset", "axis"]) $(id).addEventListener("change", () => { fitScale(); redraw(); });
  for (const id of ["scale", "bands", "seeds"]) $(id).addEventListener("change", redraw);
  $("methods").addEventListener("change", redraw);
  for (const [id, checked] of [["all-methods", true], ["no-methods", false]]) {
    $(id).addEventListener("click", () => {
      for (const box of boxes) box.checked = checked;
      redraw();
    });
  }
  document.addEventListener("themechange", redraw);
  redraw();
}
