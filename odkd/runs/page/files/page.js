// Ask for the newest view again and again, one question at a time, and draw it. Nothing is sent but the question.
"use strict";
const $ = (id) => document.getElementById(id);
const SILENT = 5;  // seconds without a view after which the page says so
const PATIENCE = 20000;  // milliseconds for an answer
let id = "", interval = 0.2, isPaused = false, isOverlaid = true, failures = 0, scores = [], chosen = null;

async function ask() {
  if (isPaused || document.hidden) return setTimeout(ask, 250);
  const begin = performance.now();
  try {
    const answer = await fetch(`/now?after=${encodeURIComponent(id)}`, { signal: AbortSignal.timeout(PATIENCE) });
    const now = await answer.json();
    problem(answer.ok ? "" : now.problem);
    if (answer.ok) await show(now);
    failures = 0;
  } catch {
    failures += 1;
    if (failures > 1) status("no answer: the session has ended, or cannot be reached", "bad");
  }
  const wait = failures ? Math.min(250 * 2 ** failures, 4000) : Math.max(interval * 1000 - (performance.now() - begin), 20);
  setTimeout(ask, wait);
}

async function show(now) {
  interval = now.interval;
  if (!isPaused) status(...statusOf(now));
  if (now.id === id && !now.pictures) return;
  $("title").textContent = now.title;
  document.title = now.title ? `${now.title} – odkd live` : "odkd live";
  $("time").textContent = now.time;
  $("frame").textContent = now.frame;
  $("made").textContent = now.made || "not made yet";
  fill($("state"), now.state, (item, { part, text }) => {
    item.className = text === "running" ? "" : "waiting";
    item.replaceChildren(strong(part), ` ${text}`);
  });
  fill($("legend"), now.legend, (item, { name, colour, seen }) => {
    const swatch = document.createElement("span");
    swatch.className = "swatch";
    swatch.style.background = colour;
    item.className = seen ? "" : "away";
    item.title = seen ? "in the student's answer" : "not in the student's answer";
    item.replaceChildren(swatch, name);
  });
  fill($("numbers"), now.numbers, (item, { name, words, text }) => {
    const label = document.createElement("span");
    label.textContent = words;
    item.title = name;
    item.replaceChildren(strong(text), label);
  });
  scores = now.scores;
  draw();
  if (now.pictures) {
    await Promise.all([
      picture($("student"), now.pictures.image, now.pictures.labels, "the newest frame", "the student's answer"),
      picture($("teacher"), now.pictures.teacher_image, now.pictures.teacher_labels, "a frame", "the teacher's label"),
    ]);
  }
  id = now.id;
}

function statusOf(now) {
  if (now.age > SILENT) return [`nothing new for ${Math.round(now.age)} s`, "bad"];
  const troubled = now.state.filter(({ text }) => text !== "running");
  return troubled.length ? [troubled.map(({ part, text }) => `${part}: ${text}`).join(", "), "bad"] : ["live", "good"];
}

function status(text, kind) {
  if ($("status").textContent !== text) $("status").textContent = text;  // readers say it when it changes
  $("status").className = `status ${kind}`;
}

function problem(text) {
  $("problem").hidden = !text;
  $("problem").textContent = text;
}

// Frame and labels belong together: both are decoded before either is shown.
async function picture(stack, frame, labels, ofFrame, ofLabels) {
  const [below, above] = stack.querySelectorAll("img");
  await Promise.all([[below, frame, ofFrame], [above, labels, ofLabels]].map(async ([image, uri, alt]) => {
    if (uri && image.src !== uri) {
      const ready = new Image();
      ready.src = uri;
      await ready.decode();
      if (image === below) stack.style.setProperty("--aspect", ready.naturalWidth / ready.naturalHeight);
    }
    return () => {
      image.hidden = !uri;
      image.alt = alt;
      if (uri && image.src !== uri) image.src = uri;
    };
  })).then((changes) => changes.forEach((change) => change()));
}

function fill(list, values, write) {
  while (list.children.length > values.length) list.lastChild.remove();
  while (list.children.length < values.length) list.append(document.createElement("li"));
  values.forEach((value, number) => {
    const item = list.children[number], known = JSON.stringify(value);
    if (item.dataset.known === known) return;
    item.dataset.known = known;
    write(item, value);
  });
}

function strong(text) {
  const made = document.createElement("b");
  made.textContent = text;
  return made;
}

function draw() {
  const svg = $("curve"), width = svg.clientWidth, height = svg.clientHeight;
  const [left, right, top, bottom] = [44, width - 12, 10, height - 24];
  const last = scores.length ? scores[scores.length - 1][0] : 0;
  const most = Math.max(...scores.map(([, score]) => score), 0.05);
  const ceiling = [0.1, 0.2, 0.4, 0.6, 0.8, 1].find((value) => value >= most) ?? 1;
  const end = Math.max(last, 10), begin = scores.length && scores[0][0] > 0.2 * end ? scores[0][0] : 0;
  const span = Math.max(end - begin, 1);
  const x = (second) => left + (second - begin) / span * (right - left);
  const y = (score) => bottom - score / ceiling * (bottom - top);
  const parts = [];
  for (let step = 0; step <= 4; step += 1) {
    const score = ceiling * step / 4;
    parts.push(shape("line", { class: "grid", x1: left, x2: right, y1: y(score), y2: y(score) }));
    parts.push(shape("text", { x: left - 6, y: y(score) + 4, "text-anchor": "end" }, String(Number(score.toFixed(3)))));
  }
  for (const second of ticks(begin, end, Math.max(2, Math.floor((right - left) / 60)))) {
    parts.push(shape("text", { x: x(second), y: height - 6, "text-anchor": "middle" }, clock(second)));
  }
  if (scores.length) {
    const points = scores.map(([second, score]) => `${x(second).toFixed(1)},${y(score).toFixed(1)}`);
    parts.push(shape("polyline", { class: "line", points: points.join(" ") }));
    const [second, score] = scores[chosenIndex()];
    if (chosen !== null) parts.push(shape("line", { class: "at", x1: x(second), x2: x(second), y1: top, y2: bottom }));
    parts.push(shape("circle", { class: "dot", cx: x(second), cy: y(score), r: 4 }));
    $("curve-text").replaceChildren(strong(score.toFixed(3)), ` at ${clock(second)}${chosen === null ? ", the newest" : ""}`);
    svg.setAttribute("aria-label", `mIoU against the teacher over time; ${$("curve-text").textContent}`);
  } else {
    $("curve-text").textContent = "No score yet";
  }
  svg.setAttribute("viewBox", `0 0 ${width} ${height}`);
  svg.replaceChildren(...parts);
  svg.onpointermove = (event) => {
    const second = begin + (event.offsetX - left) / (right - left) * span;
    choose(nearest(second));
  };
}

function nearest(second) {
  return scores.reduce((best, [at]) => Math.abs(at - second) < Math.abs(best - second) ? at : best, scores[0]?.[0] ?? null);
}

function chosenIndex() {
  if (chosen === null) return scores.length - 1;
  return scores.findIndex(([second]) => second === nearest(chosen));
}

function choose(second) {
  chosen = second;
  draw();
}

function ticks(begin, end, most) {
  const steps = [1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 1200, 1800, 3600, 7200, 14400, 21600, 43200, 86400];
  const step = steps.find((value) => (end - begin) / value <= most) ?? 86400 * Math.ceil((end - begin) / 86400 / most);
  const found = [];
  for (let second = Math.ceil(begin / step) * step; second <= end; second += step) found.push(second);
  return found;
}

function clock(second) {
  const whole = Math.round(second), two = (value) => String(value).padStart(2, "0");
  const hours = Math.floor(whole / 3600), minutes = Math.floor(whole / 60) % 60;
  return hours ? `${hours}:${two(minutes)}:${two(whole % 60)}` : `${minutes}:${two(whole % 60)}`;
}

function shape(name, attributes, text) {
  const made = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  if (text !== undefined) made.textContent = text;
  return made;
}

function setOverlay(isOn) {
  isOverlaid = isOn;
  $("toggle").textContent = isOn ? "Hide overlay" : "Show overlay";
  $("overlay-value").value = isOn ? `${$("overlay").value} %` : "off";
  for (const image of document.querySelectorAll(".labels")) image.style.opacity = isOn ? $("overlay").value / 100 : 0;
}

function setPause(isOn) {
  isPaused = isOn;
  $("pause").textContent = isOn ? "Go on" : "Pause";
  if (isOn) status("paused here; the session goes on", "");
}

$("overlay").addEventListener("input", () => setOverlay(true));
$("toggle").addEventListener("click", () => setOverlay(!isOverlaid));
$("pause").addEventListener("click", () => setPause(!isPaused));
document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  if (event.key === "o") $("toggle").click();
  if (event.key === "p") $("pause").click();
});
$("curve-box").addEventListener("keydown", (event) => {
  const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
  if (event.key === "Escape") choose(null);
  if (step === undefined || !scores.length) return;
  event.preventDefault();
  choose(scores[Math.min(Math.max(chosenIndex() + step, 0), scores.length - 1)][0]);
});
$("curve").addEventListener("pointerleave", () => choose(null));
addEventListener("resize", draw);
setOverlay(true);
draw();
ask();
