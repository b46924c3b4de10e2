"use strict";
const get = (id) => document.getElementById(id);
const stage = get("stage"), gallery = get("gallery"), slider = get("step"), play = get("play"), zoom = get("zoom");
const wipe = get("wipe"), flip = get("flip"), compare = get("compare"), back = get("back");
const files = [...stage.querySelectorAll(".file")], several = files.length > 1, title = get("name").textContent;
const handle = document.createElement("div");
handle.id = "handle";
const sides = ["left", "right"].map((side) => Object.assign(document.createElement("div"), { className: "side " + side }));
sides[0].textContent = "original";
sides[1].textContent = "decoded";
let file = 0, current = 0, timer = 0;
let scale = 0;  /* CSS pixels for a pixel of the picture; 0: the picture fits the window */

const pictures = () => [...files[file].querySelectorAll(".step")];
const original = () => files[file].querySelector(".original");
const inGallery = () => !gallery.hidden;

function open(i) {
  stop();
  file = (i + files.length) % files.length;
  const facts = files[file].dataset, n = pictures().length;
  files.forEach((section, k) => { section.hidden = k !== file; });
  stage.hidden = false;
  gallery.hidden = true;
  document.querySelector("footer").hidden = false;
  back.hidden = !several;
  get("name").textContent = facts.name;
  get("facts").textContent = facts.facts;
  slider.max = n;
  slider.disabled = play.disabled = n === 1;
  compare.hidden = !original();
  for (const cell of document.querySelectorAll(".quality")) cell.hidden = !original();
  if (original()) files[file].append(handle, ...sides);
  scale = 0;
  show(n - 1);
  divide(wipe.value);
  layout();
}

function overview() {
  stop();
  stage.hidden = true;
  gallery.hidden = false;
  document.querySelector("footer").hidden = true;
  back.hidden = true;
  get("name").textContent = title;
  get("facts").textContent = "select a picture; n and p go on and back, g returns here";
  gallery.children[file].focus();
}

function show(i) {
  const steps = pictures();
  current = Math.max(0, Math.min(steps.length - 1, i));
  const facts = steps[current].dataset;
  steps.forEach((picture, k) => { picture.hidden = k !== current; });
  slider.value = current + 1;
  slider.setAttribute("aria-valuetext", steps[current].alt);
  get("share").firstElementChild.style.width = facts.percent + "%";
  for (const key of ["layers", "bytes", "bpp", "ms-ssim"]) {
    get(key).textContent = steps[current].getAttribute("data-" + key) || "";
  }
  get("stored").textContent = ["width", "height"].map((side) => steps[current].getAttribute(side)).join("×");
  get("percent").textContent = facts.percent + " %";
  get("psnr").textContent = facts.psnr ? facts.psnr + " dB" : "";
}

/* The original shows on the left of the divider, at `percent` of the width. */
function divide(percent) {
  wipe.value = percent;
  const share = flip.getAttribute("aria-pressed") === "true" ? 100 : Number(wipe.value);
  if (!original()) return;
  original().style.clipPath = `inset(0 ${100 - share}% 0 0)`;
  handle.style.left = share + "%";
  handle.hidden = share === 100 && flip.getAttribute("aria-pressed") === "true";
  sides[0].hidden = share < 12;
  sides[1].hidden = share > 88;
}

function toggleOriginal() {
  if (!original()) return;
  flip.setAttribute("aria-pressed", flip.getAttribute("aria-pressed") !== "true");
  divide(wipe.value);
}

function stop() { clearInterval(timer); timer = 0; play.textContent = "Play"; }

function toggle() {
  if (timer) return stop();
  const last = pictures().length - 1;
  if (last < 1) return;
  if (current === last) show(0);
  play.textContent = "Pause";
  timer = setInterval(() => { show(current + 1); if (current === last) stop(); }, 700);
}

function fit() {
  const { width, height } = files[file].dataset, gap = 24;
  return Math.min(1, (stage.clientWidth - gap) / width, (stage.clientHeight - gap) / height);
}

function layout() {
  if (inGallery()) return;
  const section = files[file], factor = scale || fit();
  section.style.width = Math.max(1, factor * section.dataset.width) + "px";
  section.style.height = Math.max(1, factor * section.dataset.height) + "px";
  stage.classList.toggle("zoomed", scale > 0);
  stage.classList.toggle("doubled", factor >= 2);
  zoom.textContent = scale ? "Fit" : Math.round(closer() * devicePixelRatio) + ":1";
}

/* Scales at which a pixel of the picture covers a whole number of device pixels: one, or at least two CSS pixels. */
const exact = () => 1 / devicePixelRatio;
const doubled = () => Math.ceil(2 * devicePixelRatio) / devicePixelRatio;
const closer = () => (fit() < exact() ? exact() : doubled());

/* Another scale; the spot at (x, y) of the picture, 0..1, comes to `at` in the window, by default to its middle. */
function enlarge(to, x = 0.5, y = 0.5, at = middle()) {
  scale = to <= fit() ? 0 : Math.min(to, 8);
  layout();
  const box = files[file].getBoundingClientRect();
  stage.scrollLeft += box.left + x * box.width - at.x;
  stage.scrollTop += box.top + y * box.height - at.y;
}

function middle() {
  const box = stage.getBoundingClientRect();
  return { x: box.left + stage.clientWidth / 2, y: box.top + stage.clientHeight / 2 };
}

/* Where a point of the window lies in the picture, 0..1. */
function spot({ x, y }) {
  const box = files[file].getBoundingClientRect(), share = (part) => Math.max(0, Math.min(1, part));
  return [share((x - box.left) / box.width), share((y - box.top) / box.height)];
}

const toggleZoom = (x, y) => enlarge(scale ? 0 : closer(), x, y);

function zoomBy(factor) {
  enlarge(2 ** Math.round(Math.log2((scale || fit()) * factor)), ...spot(middle()));
}

slider.addEventListener("input", () => { stop(); show(slider.value - 1); });
play.addEventListener("click", toggle);
zoom.addEventListener("click", () => toggleZoom());
wipe.addEventListener("input", () => { flip.setAttribute("aria-pressed", "false"); divide(wipe.value); });
flip.addEventListener("click", toggleOriginal);
back.addEventListener("click", overview);
[...gallery.children].forEach((button, k) => button.addEventListener("click", () => open(k)));

handle.addEventListener("pointerdown", (event) => { handle.setPointerCapture(event.pointerId); event.stopPropagation(); });
handle.addEventListener("pointermove", (event) => {
  if (!handle.hasPointerCapture(event.pointerId)) return;
  const box = files[file].getBoundingClientRect();
  divide(Math.max(0, Math.min(100, 100 * (event.clientX - box.left) / box.width)));
});

/* A mouse drags a zoomed picture; a click without movement zooms. */
let grip = null;
stage.addEventListener("pointerdown", (event) => {
  if (event.target.tagName !== "IMG" || event.button) return;
  grip = { x: event.clientX, y: event.clientY, left: stage.scrollLeft, top: stage.scrollTop, moved: false };
});
stage.addEventListener("pointermove", (event) => {
  if (!grip || event.pointerType !== "mouse") return;
  if (Math.hypot(event.clientX - grip.x, event.clientY - grip.y) > 4) grip.moved = true;
  if (!grip.moved) return;
  stage.scrollLeft = grip.left + grip.x - event.clientX;
  stage.scrollTop = grip.top + grip.y - event.clientY;
});
addEventListener("pointerup", (event) => {
  if (grip && !grip.moved && event.target.tagName === "IMG" && stage.contains(event.target)
    && Math.hypot(event.clientX - grip.x, event.clientY - grip.y) < 5) {
    toggleZoom(...spot({ x: event.clientX, y: event.clientY }));
  }
  grip = null;
});
addEventListener("pointercancel", () => { grip = null; });
/* One finger scrolls, as everywhere; two zoom about the point between them. */
let pinch = null;
const between = ([a, b]) => ({
  x: (a.clientX + b.clientX) / 2, y: (a.clientY + b.clientY) / 2,
  distance: Math.hypot(a.clientX - b.clientX, a.clientY - b.clientY),
});
stage.addEventListener("touchstart", (event) => {
  pinch = null;
  if (event.touches.length !== 2) return;
  if (event.cancelable) event.preventDefault();
  grip = null;
  const start = between(event.touches);
  pinch = { scale: (scale || fit()) / Math.max(start.distance, 1), spot: spot(start) };
}, { passive: false });
stage.addEventListener("touchmove", (event) => {
  if (!pinch || event.touches.length !== 2) return;
  if (event.cancelable) event.preventDefault();
  const now = between(event.touches);
  enlarge(pinch.scale * now.distance, ...pinch.spot, now);
}, { passive: false });
for (const end of ["touchend", "touchcancel"]) stage.addEventListener(end, () => { pinch = null; });
stage.addEventListener("dragstart", (event) => event.preventDefault());

const KEYS = {
  ArrowRight: () => step(1), ArrowUp: () => step(1), ArrowLeft: () => step(-1), ArrowDown: () => step(-1),
  Home: () => step(-99), End: () => step(99), z: () => toggleZoom(), "+": () => zoomBy(2), "=": () => zoomBy(2),
  "-": () => zoomBy(0.5), o: toggleOriginal, "[": () => divide(wipe.value - 5), "]": () => divide(Number(wipe.value) + 5),
  " ": toggle,
};
const FILE_KEYS = { n: () => open(file + 1), p: () => open(file - 1), PageDown: () => open(file + 1),
  PageUp: () => open(file - 1), g: overview, Escape: overview };

function step(by) { stop(); show(current + by); }

document.addEventListener("keydown", (event) => {
  if (event.altKey || event.ctrlKey || event.metaKey) return;
  const target = event.target, scrolls = target === stage && scale > 0;
  if (inGallery() || (event.key.startsWith("Arrow") && (scrolls || target === wipe))) return;
  if (target === wipe && (event.key === "Home" || event.key === "End")) return;
  if (event.key === " " && target.tagName === "BUTTON") return;
  const act = KEYS[event.key] || (several && FILE_KEYS[event.key]);
  if (!act) return;
  act();
  event.preventDefault();
});
addEventListener("resize", layout);
if (several) overview();
else open(0);
