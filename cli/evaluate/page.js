"use strict";
const get = (id) => document.getElementById(id);
const data = JSON.parse(get("data").textContent);
const COLOURS = ["#0072B2", "#D55E00", "#009E73", "#CC79A7", "#B8860B", "#56B4E9", "#7A5AC8", "#888888"];
const labels = [...new Set(data.subsets.flatMap((s) => s.lines.map((l) => l.label)))];
const colour = (label) => COLOURS[labels.indexOf(label) % COLOURS.length];
const hidden = new Set();
const make = (tag, text, parent) => {
  const element = document.createElement(tag);
  if (text !== undefined) element.textContent = text;
  if (parent) parent.append(element);
  return element;
};
const number = (value, digits) =>
  value === null || value === undefined ? "–" : typeof value === "number" ? value.toFixed(digits) : value;

/* Theme: the system's until the button is pressed. */
get("theme").addEventListener("click", () => {
  const dark = getComputedStyle(document.documentElement).getPropertyValue("--ground").trim() === "#161618";
  document.documentElement.dataset.theme = dark ? "light" : "dark";
});

/* Curves. */
let subset = data.subsets[0];
const svgNode = (tag, attributes, parent) => {
  const node = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
  if (parent) parent.append(node);
  return node;
};
const similarity = (metric) => metric.column === "ssim" || metric.column === "ms_ssim";
/* SSIM is spaced in decibels, as BD-rates count it: near 1 equal differences matter more. */
const scaled = (metric, y) => (similarity(metric) ? -10 * Math.log10(Math.max(1 - y, 1e-5)) : y);
const finite = (value) => typeof value === "number";

function ticks(low, high, metric) {
  if (similarity(metric)) {
    return [0, 0.5, 0.6, 0.7, 0.8, 0.85, 0.9, 0.93, 0.95, 0.97, 0.98, 0.99, 0.995, 0.998, 0.999]
      .filter((v) => scaled(metric, v) >= low && scaled(metric, v) <= high).map((v) => [scaled(metric, v), String(v)]);
  }
  const rough = (high - low) / 5, power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].map((f) => f * power).find((s) => s >= rough);
  const found = [];
  for (let v = Math.ceil(low / step) * step; v <= high + 1e-9; v += step) {
    found.push([v, Number(v.toPrecision(6)).toString()]);
  }
  return found;
}

/* A panel of means or, for `kind` "worst", of the worst pictures. */
function chart(metric, kind, parent) {
  const figure = make("figure", undefined, parent);
  make("figcaption", metric.axis + (metric.lower ? " (lower is better)" : ""), figure);
  const W = 420, H = 300, box = { l: 46, r: 12, t: 10, b: 40 };
  const svg = svgNode("svg", { viewBox: `0 0 ${W} ${H}`, role: "img", "aria-label": metric.axis + " over bits per pixel" },
    figure);
  const points = subset.lines.filter((line) => !hidden.has(line.label)).flatMap((line) =>
    line.points.filter((p) => finite(p[kind][metric.column])).map((p) => ({ line, p })));
  if (!points.length) return void make("p", "No values.", figure);
  const xs = points.map(({ p }) => Math.log10(p.bpp)), ys = points.map(({ p }) => scaled(metric, p[kind][metric.column]));
  const pad = (low, high) => [low - (high - low || 1) * 0.05, high + (high - low || 1) * 0.05];
  const [x0, x1] = pad(Math.min(...xs), Math.max(...xs)), [y0, y1] = pad(Math.min(...ys), Math.max(...ys));
  const px = (bpp) => box.l + ((Math.log10(bpp) - x0) / (x1 - x0)) * (W - box.l - box.r);
  const py = (y) => H - box.b - ((y - y0) / (y1 - y0)) * (H - box.t - box.b);
  for (const v of [0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10]) {
    if (Math.log10(v) < x0 || Math.log10(v) > x1) continue;
    svgNode("line", { x1: px(v), x2: px(v), y1: box.t, y2: H - box.b, stroke: "var(--grid)" }, svg);
    svgNode("text", { x: px(v), y: H - box.b + 16, "text-anchor": "middle" }, svg).textContent = v;
  }
  for (const [v, name] of ticks(y0, y1, metric)) {
    svgNode("line", { x1: box.l, x2: W - box.r, y1: py(v), y2: py(v), stroke: "var(--grid)" }, svg);
    svgNode("text", { x: box.l - 6, y: py(v) + 4, "text-anchor": "end" }, svg).textContent = name;
  }
  svgNode("text", { x: (W + box.l) / 2, y: H - 6, "text-anchor": "middle" }, svg).textContent = "bits per pixel";
  const dots = [];
  for (const line of subset.lines) {
    if (hidden.has(line.label)) continue;
    const own = line.points.filter((p) => finite(p[kind][metric.column]));
    const path = own.map((p, i) => (i ? "L" : "M") + px(p.bpp).toFixed(1) + " " +
      py(scaled(metric, p[kind][metric.column])).toFixed(1)).join("");
    svgNode("path", { d: path, fill: "none", stroke: colour(line.label), "stroke-width": line.own ? 2.6 : 1.5 }, svg);
    for (const p of own) {
      const x = px(p.bpp), y = py(scaled(metric, p[kind][metric.column]));
      const dot = svgNode("circle", { cx: x, cy: y, r: line.own ? 3.6 : 2.8, fill: colour(line.label) }, svg);
      dots.push({ x, y, p, line, dot });
    }
  }
  const tip = make("div", undefined, figure);
  tip.className = "tip"; tip.hidden = true;
  const ring = svgNode("circle", { r: 7, fill: "none", stroke: "var(--ink)", "stroke-width": 1.5, visibility: "hidden" }, svg);
  const leave = () => { tip.hidden = true; ring.setAttribute("visibility", "hidden"); };
  svg.addEventListener("pointermove", (event) => {
    const area = svg.getBoundingClientRect();
    const x = ((event.clientX - area.left) / area.width) * W, y = ((event.clientY - area.top) / area.height) * H;
    const near = dots.reduce((best, d) => (Math.hypot(d.x - x, d.y - y) < Math.hypot(best.x - x, best.y - y) ? d : best));
    if (Math.hypot(near.x - x, near.y - y) > 60) return leave();
    tip.textContent = `${near.line.label}, ${near.line.own ? data.by : "setting"} ${near.p.setting}: ` +
      `${near.p.bpp.toFixed(3)} bpp, ${number(near.p[kind][metric.column], metric.digits)}`;
    tip.hidden = false;
    const left = svg.offsetLeft + (near.x / W) * area.width, top = svg.offsetTop + (near.y / H) * area.height;
    tip.style.left = Math.max(4, Math.min(left - tip.offsetWidth / 2, figure.clientWidth - tip.offsetWidth - 4)) + "px";
    tip.style.top = (top < 60 ? top + 14 : top - tip.offsetHeight - 12) + "px";
    ring.setAttribute("cx", near.x); ring.setAttribute("cy", near.y); ring.setAttribute("visibility", "visible");
  });
  svg.addEventListener("pointerleave", leave);
}

function table(parent, heads, rows) {
  const element = make("table", undefined, parent);
  const first = make("tr", undefined, make("thead", undefined, element));
  for (const head of heads) make("th", head, first);
  const body = make("tbody", undefined, element);
  for (const row of rows) {
    const line = make("tr", undefined, body);
    for (const cell of row) make("td", cell, line);
  }
}

function drawCurves() {
  get("charts").replaceChildren(); get("values").replaceChildren(); get("patches").replaceChildren();
  get("worst").replaceChildren();
  for (const metric of data.metrics) {
    if (metric.curve) chart(metric, "values", get("charts"));
    else chart(metric, "worst", get("worst"));
  }
  table(get("values"), ["codec", "setting", "bpp", ...data.metrics.map((m) => m.title)], subset.lines.flatMap((line) =>
    line.points.map((p) => [line.label, p.setting, p.bpp.toFixed(4),
      ...data.metrics.map((m) => number(p.values[m.column], m.digits))])));
  const worst = data.metrics.filter((m) => !m.curve);
  get("smooth").hidden = !worst.length;
  if (worst.length) {
    table(get("patches"), ["codec", "setting", "bpp", ...worst.map((m) => m.title)], subset.lines.flatMap((line) =>
      line.points.map((p) => [line.label, p.setting, p.bpp.toFixed(4),
        ...worst.map((m) => number(p.worst[m.column], m.digits))])));
  }
}

for (const one of data.subsets) {
  const button = make("button", `${one.n} ${one.n === 1 ? "picture" : "pictures"} of ${one.title}`, get("subsets"));
  button.type = "button";
  button.setAttribute("aria-pressed", one === subset);
  button.addEventListener("click", () => {
    subset = one;
    for (const other of get("subsets").children) other.setAttribute("aria-pressed", other === button);
    drawCurves();
  });
}
for (const label of labels) {
  const button = make("button", undefined, get("legend"));
  button.type = "button";
  make("i", undefined, button).style.color = colour(label);
  make("span", label, button);
  button.setAttribute("aria-pressed", "true");
  button.addEventListener("click", () => {
    if (!hidden.delete(label)) hidden.add(label);
    button.setAttribute("aria-pressed", !hidden.has(label));
    drawCurves();
  });
}
for (const line of data.verdict) make("li", line, get("verdict"));
get("verdict").hidden = !data.verdict.length;
for (const line of data.problems) make("li", line, get("failures"));
get("problems").hidden = !data.problems.length;
for (const line of data.about) make("li", line, get("codecs"));
drawCurves();

/* Browser of pictures. */
const view = get("view"), wipe = get("wipe");
const state = { picture: 0, target: 0, left: "original", right: "original", wipe: 50, scale: 0, x: 0, y: 0 };
const shown = () => data.pictures[state.picture];
const file = (label) => shown().files.find((f) => f.codec === label && f.target === state.target);
const choices = () => ["original", ...new Set(shown().files.map((f) => f.codec))];
const fit = () => Math.min(view.clientWidth / wide(), view.clientHeight / high());
const wide = () => shown().box[2] - shown().box[0];
const high = () => shown().box[3] - shown().box[1];
/* One picture pixel for one device pixel. */
const exact = () => 1 / devicePixelRatio;

function source(label) {
  if (label === "original") return `data:image/webp;base64,${shown().original}`;
  const found = file(label);
  return found ? `data:${found.mime};base64,${found.data}` : "data:,";
}

function facts(side) {
  const label = state[side], found = file(label), parent = get("facts-" + side);
  get("tag-" + side).textContent = label;
  parent.replaceChildren();
  make("b", label === "original" || !found ? label : `${label} at ${found.setting}`, parent);
  if (label === "original") return;
  if (!found) return void make("span", "no file so small", parent);
  make("span", `${found.bytes.toLocaleString("en")} bytes`, parent);
  for (const metric of data.metrics) {
    const value = found.scores[metric.column];
    if (value === null) continue;
    const [, name, unit] = metric.title.match(/^(.*?)( dB| levels)?$/);
    parent.append(" ");
    make("span", `${name} ${number(value, metric.digits)}${unit || ""}`, parent);
  }
}

function place() {
  view.style.aspectRatio = `${wide()} / ${high()}`;
  const scale = state.scale || fit();
  const w = wide() * scale, h = high() * scale;
  const clamp = (v, size, room) => (size <= room ? (room - size) / 2 : Math.min(0, Math.max(room - size, v)));
  state.x = clamp(state.x, w, view.clientWidth);
  state.y = clamp(state.y, h, view.clientHeight);
  for (const img of [get("img-left"), get("img-right")]) {
    img.style.transform = `translate(${state.x}px, ${state.y}px) scale(${scale})`;
    img.style.width = wide() + "px";
    img.style.height = high() + "px";
  }
  view.classList.toggle("zoomed", state.scale > 0);
  view.classList.toggle("sharp", scale * devicePixelRatio >= 1.99);
  const at = (state.wipe / 100) * view.clientWidth;
  get("over").style.clipPath = `inset(0 0 0 ${at}px)`;
  get("handle").style.left = at + "px";
  wipe.value = state.wipe;
  get("zoom").textContent = state.scale ? `${Math.round(scale * devicePixelRatio * 100)} %` : "Fit";
}

function zoomTo(scale, cx = view.clientWidth / 2, cy = view.clientHeight / 2) {
  const before = state.scale || fit();
  const after = Math.min(Math.max(scale, fit()), 16);
  state.x = cx - ((cx - state.x) / before) * after;
  state.y = cy - ((cy - state.y) / before) * after;
  state.scale = after <= fit() * 1.001 ? 0 : after;
  place();
}

function show() {
  const options = choices();
  for (const side of ["left", "right"]) {
    if (!options.includes(state[side])) state[side] = options[0];
    const select = get(side);
    select.replaceChildren(...options.map((label) => new Option(label, label, false, label === state[side])));
    get("img-" + side).src = source(state[side]);
    get("img-" + side).alt = `${shown().name}: ${state[side]}`;
    facts(side);
  }
  get("targets").replaceChildren(...shown().targets.map((bytes, i) => {
    const button = make("button", `${bytes.toLocaleString("en")} bytes`);
    button.type = "button";
    button.setAttribute("aria-pressed", i === state.target);
    button.addEventListener("click", () => { state.target = i; show(); });
    return button;
  }));
  get("picture").value = state.picture;
  const { box, width, height } = shown();
  get("part").textContent = box[2] - box[0] < width || box[3] - box[1] < height
    ? `Shown: the centre, ${wide()}x${high()} of ${width}x${height} pixels. Bytes and scores are those of the whole picture.`
    : `${width}x${height} pixels. Each codec shows its largest file of at most the chosen bytes.`;
  place();
}

function choose(i) {
  state.picture = (i + data.pictures.length) % data.pictures.length;
  state.target = Math.min(state.target, shown().targets.length - 1);
  state.scale = 0;
  show();
}
const cycle = (side) => {
  const options = choices();
  state[side] = options[(options.indexOf(state[side]) + 1) % options.length];
  show();
};
const swap = () => { [state.left, state.right] = [state.right, state.left]; show(); };
const setWipe = (value) => { state.wipe = Math.min(100, Math.max(0, value)); place(); };

if (!data.pictures.length) get("browser").hidden = true;
else {
  data.pictures.forEach((p, i) => get("picture").append(new Option(p.name, i)));
  state.target = Math.min(1, shown().targets.length - 1);
  state.left = choices()[1] || "original";
  const others = choices().filter((label) => label !== "original" && label !== state.left && file(label));
  state.right = others.find((label) => !label.startsWith("vqcodec ")) || others[0] || "original";
  show();
  get("picture").addEventListener("change", (event) => choose(Number(event.target.value)));
  for (const side of ["left", "right"]) {
    get(side).addEventListener("change", (event) => { state[side] = event.target.value; show(); });
  }
  wipe.addEventListener("input", () => setWipe(Number(wipe.value)));
  get("swap").addEventListener("click", swap);
  get("in").addEventListener("click", () => zoomTo((state.scale || fit()) * 1.5));
  get("out").addEventListener("click", () => zoomTo((state.scale || fit()) / 1.5));
  get("zoom").addEventListener("click", () => (state.scale ? zoomTo(0) : zoomTo(Math.max(exact(), fit() * 2))));
  view.addEventListener("dblclick", (event) => {
    const area = view.getBoundingClientRect();
    if (state.scale) zoomTo(0);
    else zoomTo(Math.max(exact(), fit() * 2), event.clientX - area.left, event.clientY - area.top);
  });
  view.addEventListener("wheel", (event) => {
    if (!event.ctrlKey && !state.scale) return;
    event.preventDefault();
    const area = view.getBoundingClientRect();
    zoomTo((state.scale || fit()) * 1.0018 ** -event.deltaY, event.clientX - area.left, event.clientY - area.top);
  }, { passive: false });

  /* Pointers: one moves the wipe or the enlarged picture, two zoom. */
  const pointers = new Map();
  let wiping = false;
  const position = (event) => {
    const area = view.getBoundingClientRect();
    return { x: event.clientX - area.left, y: event.clientY - area.top };
  };
  view.addEventListener("pointerdown", (event) => {
    if (event.button > 0) return;
    view.setPointerCapture(event.pointerId);
    pointers.set(event.pointerId, position(event));
    wiping = event.target === get("handle") || !state.scale;
    if (wiping && event.pointerType !== "touch") setWipe((position(event).x / view.clientWidth) * 100);
  });
  view.addEventListener("pointermove", (event) => {
    if (!pointers.has(event.pointerId)) return;
    const before = pointers.get(event.pointerId), now = position(event);
    if (pointers.size === 2) {
      const other = [...pointers].find(([id]) => id !== event.pointerId)[1];
      const ratio = Math.hypot(now.x - other.x, now.y - other.y) / Math.hypot(before.x - other.x, before.y - other.y);
      zoomTo((state.scale || fit()) * ratio, (now.x + other.x) / 2, (now.y + other.y) / 2);
    } else if (wiping) setWipe((now.x / view.clientWidth) * 100);
    else { state.x += now.x - before.x; state.y += now.y - before.y; place(); }
    pointers.set(event.pointerId, now);
  });
  for (const end of ["pointerup", "pointercancel"]) view.addEventListener(end, (e) => pointers.delete(e.pointerId));
  addEventListener("resize", place);
  document.addEventListener("keydown", (event) => {
    if (event.altKey || event.ctrlKey || event.metaKey || event.target.tagName === "SELECT") return;
    const last = shown().targets.length - 1;
    const keys = {
      ArrowLeft: () => setWipe(state.wipe - (event.shiftKey ? 10 : 2)),
      ArrowRight: () => setWipe(state.wipe + (event.shiftKey ? 10 : 2)),
      n: () => choose(state.picture + 1), p: () => choose(state.picture - 1),
      a: () => cycle("left"), b: () => cycle("right"), s: swap,
      "+": () => zoomTo((state.scale || fit()) * 1.5), "=": () => zoomTo((state.scale || fit()) * 1.5),
      "-": () => zoomTo((state.scale || fit()) / 1.5), 0: () => zoomTo(0),
    };
    /* The page scrolls by these, unless the comparison has the focus. */
    if (event.target === view || event.target === wipe) {
      keys.ArrowUp = () => { state.target = Math.min(last, state.target + 1); show(); };
      keys.ArrowDown = () => { state.target = Math.max(0, state.target - 1); show(); };
      keys.Home = () => setWipe(0);
      keys.End = () => setWipe(100);
    }
    if (!(event.key in keys)) return;
    event.preventDefault();
    keys[event.key]();
  });
}
