"use strict";

const SVG = "http://www.w3.org/2000/svg";
const byId = (id) => document.getElementById(id);

/* Pictures open large. The browser itself closes a modal dialog with Escape and gives the focus back. */
function largePictures() {
  const dialog = byId("large");
  for (const button of document.querySelectorAll("button.enlarge")) {
    button.hidden = false;
    button.addEventListener("click", () => {
      const picture = button.closest("figure").querySelector("img");
      byId("large-picture").src = picture.src;
      byId("large-picture").alt = picture.alt;
      byId("large-title").textContent = button.querySelector(".unseen").textContent.trim();
      dialog.showModal();
      byId("large-close").focus();
    });
  }
  byId("large-close").addEventListener("click", () => dialog.close());
  dialog.addEventListener("click", (event) => event.target === dialog && dialog.close());
  dialog.addEventListener("close", () => byId("large-picture").removeAttribute("src"));
}

/* On paper all details are open; afterwards they are as they were. */
function openForPrint() {
  let closed = [];
  window.addEventListener("beforeprint", () => {
    closed = [...document.querySelectorAll("details:not([open])")];
    for (const details of closed) details.open = true;
  });
  window.addEventListener("afterprint", () => {
    for (const details of closed) details.open = false;
  });
}

function evidenceToggle() {
  const button = byId("evidence-toggle");
  const all = [...document.querySelectorAll("details.evidence")];
  if (!button || !all.length) return;
  button.hidden = false;
  button.addEventListener("click", () => {
    const open = all.some((details) => !details.open);
    for (const details of all) details.open = open;
    button.textContent = open ? "Hide all evidence" : "Show all evidence";
  });
}

/* Drawing. */

function draw(parent, name, attributes, text) {
  const node = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
  if (text !== undefined) node.textContent = text;
  parent.append(node);
  return node;
}

/* An empty chart with axes, as wide as its place so that its words stay readable: functions from values to
   places in it. */
function chart(id, x, y, labels) {
  const svg = byId(id);
  for (const node of [...svg.children]) if (node.tagName !== "title") node.remove();
  const height = svg.viewBox.baseVal.height;
  const width = Math.max(240, Math.round(svg.clientWidth) || svg.viewBox.baseVal.width);
  svg.setAttribute("viewBox", `0 0 ${width} ${height}`);
  const box = { left: 52, right: width - 14, top: 12, bottom: height - 40 };
  const place = {
    x: (value) => box.left + ((value - x[0]) / (x[1] - x[0])) * (box.right - box.left),
    y: (value) => box.bottom - ((value - y[0]) / (y[1] - y[0])) * (box.bottom - box.top),
  };
  for (const value of labels.yTicks || ticks(y[0], y[1], 4)) {
    draw(svg, "path", { class: "rule", d: `M${box.left} ${place.y(value)}H${box.right}` });
    draw(svg, "text", { class: "y", x: box.left - 6, y: place.y(value) + 4 }, short(value));
  }
  for (const [value, word] of labels.xTicks || ticks(x[0], x[1], width < 400 ? 4 : 7).map((tick) => [tick, short(tick)])) {
    draw(svg, "path", { class: "tick", d: `M${place.x(value)} ${box.bottom}v5` });
    draw(svg, "text", { class: "x", x: place.x(value), y: box.bottom + 18 }, word);
  }
  draw(svg, "path", { class: "axis", d: `M${box.left} ${box.bottom}H${box.right}` });
  draw(svg, "text", { class: "x name", x: (box.left + box.right) / 2, y: height - 4 }, labels.x);
  return { svg, place, box };
}

function ticks(low, high, count) {
  const rough = (high - low) / count || 1;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].map((factor) => factor * power).find((size) => size >= rough * 0.999);
  const found = [];
  for (let i = Math.ceil(low / step - 1e-9); i * step <= high + 1e-9 * step; i++) found.push(i * step);
  return found;
}

function short(value) {
  if (Math.abs(value) >= 10000) return `${+(value / 1000).toPrecision(3)}k`;
  return String(+value.toPrecision(3)).replace("-", "−");
}

/* The outline of a histogram, as a path. */
function stairs(place, edges, counts) {
  const steps = counts.map((count, i) => `V${place.y(count)}H${place.x(edges[i + 1])}`);
  return `M${place.x(edges[0])} ${place.y(0)}${steps.join("")}V${place.y(0)}Z`;
}

/* Numbers of histograms. */

const total = (counts) => counts.reduce((sum, count) => sum + count, 0);
const percent = (share) => `${(100 * share).toFixed(0)} %`;

/* Chance that a sample of 'high' lies above one of 'low': exact where it was kept, else as far as the bins tell,
   where pairs in a common bin count half; null where these could change it by more than 0.1. */
function separation(moment) {
  if (typeof moment.auc === "number") return moment.auc;
  const pairs = total(moment.low) * total(moment.high);
  let below = 0;
  let found = 0;
  let together = 0;
  moment.low.forEach((low, i) => {
    found += moment.high[i] * (below + low / 2);
    together += moment.high[i] * low;
    below += low;
  });
  return pairs && together / 2 / pairs <= 0.1 ? found / pairs : null;
}

/* The neuron browser. */

function neuronBrowser() {
  const experiments = JSON.parse(byId("neurons-data").textContent);
  const networks = experiments.flatMap(({ experiment, networks: found }) =>
    Object.entries(found).map(([name, layers]) => ({ name, experiment, layers: Object.entries(layers) })),
  ).filter(({ layers }) => layers.length);
  if (!networks.length) return;
  const pick = { network: byId("pick-network"), layer: byId("pick-layer"), neuron: byId("pick-neuron") };
  const slider = byId("pick-moment");
  let player = null;

  function fill(select, words) {
    const before = Math.max(0, select.selectedIndex);
    select.replaceChildren(...words.map((word, i) => new Option(word, String(i))));
    select.selectedIndex = Math.min(before, words.length - 1);
  }

  function chooseNetwork() {
    fill(pick.layer, networks[pick.network.selectedIndex].layers.map(([name]) => name));
    chooseLayer();
  }

  function chooseLayer() {
    fill(pick.neuron, panels().map((panel) => `neuron ${panel.unit}`));
    chooseNeuron();
  }

  function chooseNeuron() {
    const last = chosen().moments.length - 1;
    const atEnd = slider.value === slider.max;
    const before = Number(slider.value);
    slider.max = String(last);
    slider.value = String(atEnd ? last : Math.min(before, last));
    drawSign(chosen());
    chooseMoment();
  }

  function chooseMoment() {
    const panel = chosen();
    const index = Number(slider.value);
    const moment = panel.moments[index];
    const place = `${index + 1} of ${panel.moments.length}: ${when(moment)}`;
    byId("moment").textContent = place;
    slider.setAttribute("aria-valuetext", place);
    drawMoment(panel, moment);
    drawSeparation(panel, index);
    byId("neuron-words").textContent = words(panel, index);
  }

  const panels = () => networks[pick.network.selectedIndex].layers[pick.layer.selectedIndex][1];
  const chosen = () => panels()[pick.neuron.selectedIndex];
  const when = (moment) => `step ${moment.step.toLocaleString("en")}, epoch ${moment.epoch}`;

  function words(panel, index) {
    const moment = panel.moments[index];
    const network = networks[pick.network.selectedIndex];
    const found = separation(moment);
    const all = total(panel.average_sign.counts) + panel.average_sign.undefined;
    const none = panel.undefined ? `${panel.undefined.toLocaleString("en")} have no category` : "";
    const share = panel.low_share === null ? "none has a category"
      : `${none && `${none}; of the others `}${percent(panel.low_share)} are ‘low’`;
    const accuracy = typeof moment.accuracy === "number"
      ? ` The network classifies ${(100 * moment.accuracy).toFixed(1)} % of the recorded samples correctly.` : "";
    const empty = !total(moment.low) || !total(moment.high);
    const apart = found === null
      ? empty ? " One of the categories is empty." : " The bins are too coarse to tell how far the categories are apart."
      : ` A sample of ‘high’ lies above one of ‘low’ with a chance of about ${found.toFixed(2)}.`;
    return `Neuron ${panel.unit} of ${pick.layer.selectedOptions[0].text}, ${network.name}, ${network.experiment}: `
      + `of its ${all.toLocaleString("en")} recorded activations ${share}. `
      + `Snapshot ${index + 1} of ${panel.moments.length}, ${when(moment)}, `
      + `both counted from 0.${accuracy}${apart}`;
  }

  function drawSign(panel) {
    const { edges, counts, undefined: unknown } = panel.average_sign;
    /* Per cent of those with a sign for every tenth of s: bins may differ in width, as in what they hold. */
    const heights = counts.map((count, i) => {
      const width = edges[i + 1] - edges[i];
      return width > 0 ? (10 * count) / (total(counts) || 1) / width : 0;
    });
    const range = [Math.min(-1, edges[0]), Math.max(1, edges[edges.length - 1])];
    const { svg, place } = chart("chart-sign", range, [0, 1.05 * Math.max(1, ...heights)], {
      x: "average sign s",
    });
    heights.forEach((count, i) => {
      const centre = (edges[i] + edges[i + 1]) / 2;
      const kind = Math.abs(centre) < 1e-3 ? "neither" : centre > 0 ? "low" : "high";
      const [x, y] = [place.x(edges[i]), place.y(count)];
      const size = { width: Math.max(0, place.x(edges[i + 1]) - x - 1), height: Math.max(0, place.y(0) - y) };
      draw(svg, "rect", { class: `bar ${kind}`, x, y, ...size });
    });
    const ends = total(counts) ? (counts[0] + counts[counts.length - 1]) / total(counts) : 0;
    byId("chart-sign-title").textContent =
      `Histogram of the average sign: ${percent(ends)} of those with a sign in the outermost two of ${counts.length} `
      + `bins, ${unknown} undefined`;
  }

  function drawMoment(panel, moment) {
    const { edges } = panel;
    const most = Math.max(1, ...moment.low, ...moment.high);
    const { svg, place } = chart("chart-moment", [edges[0], edges[edges.length - 1]], [0, 1.05 * most], {
      x: "pre-activation p",
    });
    for (const kind of ["low", "high", "top"]) {
      draw(svg, "path", { class: `stairs ${kind}`, d: stairs(place, edges, moment[kind]) });
    }
    byId("chart-moment-caption").textContent = `Pre-activations, ${when(moment)}`;
    byId("chart-moment-title").textContent =
      `Histograms of ${total(moment.low)} low and ${total(moment.high)} high pre-activations at ${when(moment)}`;
  }

  function drawSeparation(panel, index) {
    const found = panel.moments.map(separation);
    const last = Math.max(1, found.length - 1);
    const every = Math.ceil(found.length / (byId("chart-separation").clientWidth < 500 ? 5 : 12));
    const whole = ({ step: number }) => (number < 10000 ? String(number) : short(number));
    const named = panel.moments.map((moment, i) => [i, whole(moment)]).filter(([i]) => i % every === 0);
    const low = Math.min(0.5, ...found.filter((value) => value !== null));
    const { svg, place, box } = chart("chart-separation", [-0.3, last + 0.3], [low < 0.45 ? 0 : 0.4, 1.03], {
      x: "step of the snapshot", xTicks: named, yTicks: low < 0.45 ? [0, 0.25, 0.5, 0.75, 1] : [0.4, 0.6, 0.8, 1],
    });
    draw(svg, "path", { class: "chance", d: `M${box.left} ${place.y(0.5)}H${box.right}` });
    draw(svg, "text", { class: "chance", x: box.right - 2, y: place.y(0.5) - 5 }, "0.5: not separated");
    const points = found.flatMap((value, i) => (value === null ? [] : [`${place.x(i)} ${place.y(value)}`]));
    if (points.length) draw(svg, "path", { class: "line", d: `M${points.join("L")}` });
    found.forEach((value, i) => {
      if (value === null) return;
      draw(svg, "circle", { class: i === index ? "point now" : "point", cx: place.x(i), cy: place.y(value), r: i === index ? 6 : 3.5 });
    });
    const [first, end] = [found[0], found[found.length - 1]];
    byId("chart-separation-title").textContent = first === null || end === null
      ? "Separation of the categories: not defined"
      : `Chance that a sample of high lies above one of low: ${first.toFixed(2)} at the first snapshot, `
        + `${end.toFixed(2)} at the last`;
  }

  function stop() {
    clearInterval(player);
    player = null;
    byId("play").textContent = "Play";
    byId("play").setAttribute("aria-pressed", "false");
  }

  function step() {
    slider.value = String(Number(slider.value) + 1);
    chooseMoment();
    if (slider.value === slider.max) stop();
  }

  byId("play").addEventListener("click", () => {
    if (player !== null) return stop();
    if (slider.value === slider.max) slider.value = "0";
    chooseMoment();
    byId("play").textContent = "Pause";
    byId("play").setAttribute("aria-pressed", "true");
    player = setInterval(step, 800);
    return undefined;
  });
  pick.network.addEventListener("change", () => { stop(); chooseNetwork(); });
  pick.layer.addEventListener("change", () => { stop(); chooseLayer(); });
  pick.neuron.addEventListener("change", () => { stop(); chooseNeuron(); });
  slider.addEventListener("input", () => { stop(); chooseMoment(); });

  const several = new Set(networks.map(({ experiment }) => experiment)).size > 1;
  fill(pick.network, networks.map(({ name, experiment }) => (several ? `${name} (${experiment})` : name)));
  /* At first the layer nearest to the output, untrained. */
  const layers = networks[0].layers.map(([name]) => name);
  fill(pick.layer, layers);
  pick.layer.selectedIndex = layers.length - 1;
  slider.max = "1000000";
  slider.value = "0";
  byId("browser").hidden = false;
  chooseNetwork();
  window.addEventListener("resize", () => { drawSign(chosen()); chooseMoment(); });
}

largePictures();
openForPrint();
evidenceToggle();
if (byId("browser")) neuronBrowser();
