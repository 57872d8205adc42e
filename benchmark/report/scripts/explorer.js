// Elements and numbers.
const make = (name, attributes = {}, ...children) => {
  const svg = ["svg", "path", "circle", "text", "rect", "title"].includes(name);
  const element = svg ? document.createElementNS("http://www.w3.org/2000/svg", name) : document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  element.append(...children);
  return element;
};
const short = (value) => {
  for (const [scale, letter] of [[1e12, " T"], [1e9, " G"], [1e6, " M"], [1e3, " k"]]) {
    if (Math.abs(value) >= scale * 0.9995) return `${+(value / scale).toPrecision(3)}${letter}`;
  }
  return `${+value.toPrecision(3)}`;
};
const percent = (thousandths) => `${(thousandths / 10).toFixed(1)}%`;
const number = (value) => (typeof value === "number" ? `${+value.toPrecision(4)}` : `${value}`);

// The data of a dataset, unpacked when it is first chosen.
const unpacked = new Map();
async function unpack(dataset) {
  if (!unpacked.has(dataset)) {
    const element = [...document.querySelectorAll("script.packed")].find((each) => each.dataset.dataset === dataset);
    const bytes = Uint8Array.from(atob(element.textContent), (letter) => letter.charCodeAt(0));
    const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
    const content = await new Response(stream).json();
    for (const method of Object.values(content.methods)) {
      let row = 0;
      method.first = method.counts.map((counts) => counts.map((count) => (row += count) - count));
    }
    unpacked.set(dataset, content);
  }
  return unpacked.get(dataset);
}

// What is shown: a dataset, a method, a sample (its place among those kept), and a place among the operating points.
const state = { dataset: null, method: null, sample: 0, point: 0 };
let content, method, order = [];

const name = (label) => content.classes?.[label] ?? `${label}`;
const steps = (sample, point) => {
  const first = method.first[sample][point];
  return Array.from({ length: method.counts[sample][point] }, (_, index) => {
    const row = first + index;
    return {
      decision: method.decision.names[method.decision.codes[row]],
      choice: method.choice.names[method.choice.codes[row]],
      macs: method.macs[row],
      classes: method.classes[row],
      probabilities: method.probabilities[row],
      truth: method.truth[row],
      numbers: Object.entries(method.numbers).map(([key, values]) => [key, values[row]]).filter(([, value]) => value !== null),
      seen: Object.entries(method.seen).map(([key, { rows }]) => [key, rows[row]]).filter(([, shades]) => shades[0] >= 0),
    };
  });
};
const flips = (taken) => taken.some((step, index) => index && step.classes[0] !== taken[index - 1].classes[0]);
const isRight = (sample, step) => step.classes[0] === content.labels[sample];

// The samples that can be walked through, in order.
function arranged() {
  const kept = content.samples.map((_, place) => place).filter((place) => method.counts[place][state.point]);
  const last = (place) => steps(place, state.point).at(-1);
  const known = content.difficulty.some((value) => value !== null);
  // Without a dial, hard is what the method is least sure of.
  const hardness = (place) => (known ? content.difficulty[place] : -last(place).probabilities[0]);
  const by = (key) => kept.map((place) => [key(place), place]).sort(([a, p], [b, q]) => a - b || p - q).map(([, place]) => place);
  switch ($("order").value) {
    case "easiest": return by(hardness);
    case "hardest": return by((place) => -hardness(place));
    case "flipped": return kept.filter((place) => flips(steps(place, state.point)));
    case "wrong": return kept.filter((place) => !isRight(place, last(place)));
    case "random": return by((place) => Math.sin(7919 * (place + 1)) * 1e4 % 1);
    default: return kept;
  }
}

function rearrange(keep) {
  order = arranged();
  if (order.length && !(keep && order.includes(state.sample))) state.sample = order[0];
  show();
}

// Drawing.
function drawPicture() {
  const box = $("picture");
  const label = `Test sample ${content.samples[state.sample]} of ${state.dataset}, ${name(content.labels[state.sample])}`;
  box.setAttribute("aria-label", content.sheet ? label : `${label}; its picture is not shown`);
  if (!content.sheet) {
    box.textContent = "No picture: the prepared data was not there when this page was made.";
    return;
  }
  const { image, width, height, across, rows } = content.sheet;
  const [row, column] = [Math.floor(state.sample / across), state.sample % across];
  const share = (place, count) => (count > 1 ? (100 * place) / (count - 1) : 0);
  Object.assign(box.style, {
    aspectRatio: `${width} / ${height}`,
    backgroundImage: `url(${image})`,
    backgroundSize: `${100 * across}% ${100 * rows}%`,
    backgroundPosition: `${share(column, across)}% ${share(row, rows)}%`,
  });
}

function drawCourse(taken) {
  const [left, right, top, bottom] = [44, 466, 12, 158];
  const most = taken.at(-1).macs;
  const x = (macs) => left + ((right - left) * macs) / most;
  const y = (thousandths) => bottom - ((bottom - top) * (thousandths ?? 0)) / 1000;
  const parts = [];
  for (const share of [0, 500, 1000]) {
    parts.push(make("path", { class: "axis", d: `M${left} ${y(share)}H${right}` }));
    parts.push(make("text", { x: left - 6, y: y(share) + 4, "text-anchor": "end" }, `${share / 10}%`));
  }
  parts.push(make("text", { x: right, y: bottom + 26, "text-anchor": "end" }, `${short(most)} MACs`));
  parts.push(make("text", { x: left, y: bottom + 26 }, "0"));
  taken.slice(1).forEach((step, index) => {
    const before = taken[index];
    const flipped = step.classes[0] !== before.classes[0];
    const d = `M${x(before.macs)} ${y(before.truth)}L${x(step.macs)} ${y(step.truth)}`;
    parts.push(make("path", { class: flipped ? "line flip" : "line", d }));
  });
  for (const step of taken) {
    const words = `${step.decision}: ${name(step.classes[0])}, ${short(step.macs)} MACs`;
    const place = { cx: x(step.macs), cy: y(step.truth), r: 5 };
    parts.push(make("circle", { ...place, class: isRight(state.sample, step) ? "right" : "wrong" }, make("title", {}, words)));
  }
  $("course").replaceChildren(...parts);
  const spoken = taken.map((step) => `${percent(step.truth ?? 0)} at ${short(step.macs)} MACs`);
  $("course").setAttribute("aria-label", `Probability of ${name(content.labels[state.sample])}: ${spoken.join(", ")}`);
}

function answers(step) {
  const rows = step.classes.map((label, index) => {
    const bar = make("span", { class: "bar", style: `width: ${step.probabilities[index] / 10}%` });
    const isTrue = label === content.labels[state.sample];
    return make(
      "div", { class: isTrue ? "true" : "" }, make("span", { class: "name", title: name(label) }, name(label) + (isTrue ? " ✓" : "")), make("span", {}, bar),
      make("span", { class: "share" }, percent(step.probabilities[index])),
    );
  });
  return make("div", { class: "answers" }, ...rows);
}

// Numbers named "gain: x" and "cost: x" are of the option x, and stand in a table of all options.
function options(step) {
  const price = step.numbers.find(([key]) => key === "price")?.[1] ?? 0;
  const gains = step.numbers.filter(([key]) => key.startsWith("gain: ")).map(([key, gain]) => [key.slice(6), gain]);
  if (!gains.length) return [];
  const costs = Object.fromEntries(step.numbers.filter(([key]) => key.startsWith("cost: ")).map(([key, cost]) => [key.slice(6), cost]));
  const head = make("tr", {}, ...["option", "gain", "cost", "gain − price × cost"].map((text) => make("th", { scope: "col" }, text)));
  const rows = gains.map(([option, gain]) => {
    const cells = [option, number(gain), number(costs[option]), number(gain - price * costs[option])];
    return make("tr", option === step.choice ? { class: "taken" } : {}, ...cells.map((text) => make("td", {}, text)));
  });
  return [make("table", {}, make("thead", {}, head), make("tbody", {}, ...rows))];
}

function looks(step) {
  return step.seen.flatMap(([key, shades]) => {
    const strip = make("svg", { viewBox: `0 0 ${shades.length} 1`, preserveAspectRatio: "none", role: "img", "aria-label": `${key}: ${shades.length} numbers` });
    strip.append(...shades.map((shade, index) => make("rect", { x: index, y: 0, width: 1.02, height: 1, fill: `hsl(${230 - (170 * shade) / 255} 70% ${25 + shade / 6}%)` })));
    const { low, high } = method.seen[key];
    return [make("p", { class: "soft small" }, `It saw ${key}, from ${number(low)} (blue) to ${number(high)} (yellow).`), strip];
  });
}

function drawStep(step, before) {
  const flipped = before && step.classes[0] !== before.classes[0];
  const heading = make("h3", {}, step.decision[0].toUpperCase() + step.decision.slice(1), make("small", {}, `${short(step.macs)} MACs so far`));
  if (flipped) heading.append(make("span", { class: "flipped" }, `⚑ flips from ${name(before.classes[0])} to ${name(step.classes[0])}`));
  const why = make("div", { class: "why" });
  if (step.decision !== "answer") {
    const plain = step.numbers.filter(([key]) => !/^(gain|cost): /.test(key));
    why.append(make("p", {}, "It chose: ", make("span", { class: "chosen" }, step.choice)));
    why.append(make("dl", {}, ...plain.flatMap(([key, value]) => [make("dt", {}, key), make("dd", {}, number(value))])));
    why.append(...options(step), ...looks(step));
  }
  return make("li", {}, heading, answers(step), why);
}

function drawPoints() {
  const rows = method.points.map((point, place) => {
    const taken = steps(state.sample, place);
    const button = make("button", { type: "button" }, pointName(place));
    button.addEventListener("click", () => choosePoint(place));
    if (!taken.length) return make("tr", {}, make("td", {}, button), make("td", { colspan: 4 }, "left out: it lies on a threshold"));
    const last = taken.at(-1);
    const right = isRight(state.sample, last);
    const cells = [`${right ? "✓" : "✗"} ${name(last.classes[0])}`, percent(last.probabilities[0]), short(last.macs), `${taken.length - 1}`];
    return make(
      "tr", place === state.point ? { "aria-current": "true" } : {}, make("td", {}, button), ...cells.map((text, index) => make("td", index || right ? {} : { class: "hole" }, text)),
    );
  });
  $("point-rows").replaceChildren(...rows);
}

const pointName = (place) => {
  const { knob } = method.points[place];
  const word = "price" in method.numbers ? "price" : "knob";
  return knob === null ? "the only one" : `${word} ${number(knob)}`;
};

function show() {
  $("place").textContent = order.length
    ? `${order.indexOf(state.sample) + 1} of ${order.length} samples. Seed ${method.seed}.`
    : "No sample is like that at this operating point.";
  $("previous").disabled = $("next").disabled = order.length < 2;
  for (const part of ["sample", "steps", "points"]) $(part).hidden = !order.length;
  if (!order.length) return;
  const taken = steps(state.sample, state.point);
  const last = taken.at(-1);
  $("number").value = content.samples[state.sample];
  $("sample-title").textContent = `Sample ${content.samples[state.sample]}, class ${name(content.labels[state.sample])}`;
  const facts = [];
  if (content.difficulty[state.sample] !== null) facts.push(`${content.dial}: ${number(content.difficulty[state.sample])}`);
  if (content.groups) facts.push(content.groups[state.sample]);
  const verdict = isRight(state.sample, last) ? "right" : `wrong, it is ${name(content.labels[state.sample])}`;
  $("outcome").replaceChildren(
    `${state.method} answers `, make("b", {}, name(last.classes[0])), ` (${verdict}, probability ${percent(last.probabilities[0])}) for `,
    make("b", {}, `${short(last.macs)} MACs`), ` after ${taken.length - 1} ${taken.length === 2 ? "decision" : "decisions"}.`, facts.length ? ` Of this sample: ${facts.join("; ")}.` : "",
  );
  $("nothing").textContent = taken.length === 1 ? "This method decided nothing here: it computed its answer in one go." : "";
  drawPicture();
  drawCourse(taken);
  $("step-list").replaceChildren(...taken.map((step, index) => drawStep(step, taken[index - 1])));
  drawPoints();
  const address = new URLSearchParams({ dataset: state.dataset, method: state.method, sample: content.samples[state.sample], point: state.point });
  history.replaceState(null, "", `#${address}`);
}

// Choosing.
function choosePoint(place) {
  state.point = Math.min(Math.max(place, 0), method.points.length - 1);
  $("point").value = state.point;
  rearrange(true);
}

function chooseMethod(label) {
  method = content.methods[label];
  state.method = $("method").value = label;
  $("point").replaceChildren(...method.points.map((_, place) => make("option", { value: place }, pointName(place))));
  choosePoint(state.point);
}

// Who decides most: a method that decides nothing shows nothing.
function busiest(labels) {
  const decisions = (label) => Math.max(...content.methods[label].counts.flat());
  return labels.reduce((best, label) => (decisions(label) > decisions(best) ? label : best));
}

async function chooseDataset(dataset, wanted) {
  content = await unpack(dataset);
  state.dataset = $("dataset").value = dataset;
  const labels = Object.keys(content.methods);
  $("method").replaceChildren(...labels.map((label) => make("option", {}, label)));
  $("number").max = content.samples.at(-1);
  state.sample = Math.min(state.sample, content.samples.length - 1);
  chooseMethod(labels.includes(wanted) ? wanted : labels.includes(state.method) ? state.method : busiest(labels));
}

// Of the samples that were kept, the place of the one whose number is nearest.
function nearest(sample) {
  const gaps = content.samples.map((kept) => Math.abs(kept - sample));
  return gaps.indexOf(Math.min(...gaps));
}

function walk(step) {
  if (!order.length) return;
  state.sample = order[(order.indexOf(state.sample) + step + order.length) % order.length];
  show();
}

$("dataset").addEventListener("change", (event) => chooseDataset(event.target.value));
$("method").addEventListener("change", (event) => chooseMethod(event.target.value));
$("point").addEventListener("change", (event) => choosePoint(+event.target.value));
$("order").addEventListener("change", () => rearrange(false));
$("previous").addEventListener("click", () => walk(-1));
$("next").addEventListener("click", () => walk(1));
$("number").addEventListener("change", (event) => {
  state.sample = nearest(+event.target.value);
  $("order").value = "number";
  rearrange(true);
});
document.addEventListener("keydown", (event) => {
  if (event.altKey || event.ctrlKey || event.metaKey || event.target.closest("input, select, .scroll, summary")) return;
  const act = {
    ArrowLeft: () => walk(-1), ArrowRight: () => walk(1), ArrowUp: () => choosePoint(state.point - 1), ArrowDown: () => choosePoint(state.point + 1),
  }[event.key];
  if (act) { event.preventDefault(); act(); }
});

// Where there is most to see: in the middle of the curve, the sample that takes most steps, and one that flips if any does.
function eventful(place) {
  const taken = steps(place, state.point);
  return taken.length + 1000 * (flips(taken) && isRight(place, taken.at(-1)));
}

{
  const address = new URLSearchParams(location.hash.slice(1));
  const datasets = [...$("dataset").options].map((option) => option.value);
  const dataset = datasets.includes(address.get("dataset")) ? address.get("dataset") : $("dataset").value;
  state.point = +(address.get("point") ?? 0);
  chooseDataset(dataset, address.get("method")).then(() => {
    if (!address.has("point")) choosePoint(Math.floor(method.points.length / 2));
    const sample = address.has("sample")
      ? nearest(+address.get("sample"))
      : order.reduce((best, place) => (eventful(place) > eventful(best) ? place : best), state.sample);
    if (method.counts[sample][state.point]) { state.sample = sample; show(); }
    document.body.dataset.ready = "true";
  });
}
