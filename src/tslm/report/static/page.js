// The page of one night: what is chosen, how it is reached, and who is told. Charts and panel stand in the other files.
// Everything from the document goes into the page as text, never as markup.
const night = JSON.parse(document.getElementById("tslm-document").textContent);
const numEpochs = night.epoch_idx.length;
const systems = night.systems;
const byId = (id) => document.getElementById(id);
const blobs = {}; // unpacked, by name
const writing = systems.find((system) => system.name === night.writer && system.not_asked.length); // it wrote of some epochs
const firstShown = writing ? Math.max(0, night.epoch_idx.findIndex((_, idx) => !writing.not_asked.includes(idx))) : 0;
const state = { position: firstShown, list: 0, rank: -1, density: systems.findIndex((system) => system.probabilities) };

/** An element with classes and children; strings become text. */
function make(tag, className, ...children) {
  const element = document.createElement(tag);
  if (className) element.className = className;
  element.append(...children.filter((child) => child !== null && child !== undefined));
  return element;
}

function stageOf(code) {
  return night.stages.find((stage) => stage.code === code);
}

function stageName(code) {
  const stage = stageOf(code);
  return stage ? stage.name : "not readable";
}

function answerName(system, position) {
  return system.not_asked.includes(position) ? "not asked" : stageName(system.answers[position]);
}

/** Clock time where the start is known, else time since the start of the recording. */
function timeText(position) {
  const at = new Date(startMs + 1000 * night.onset_s[position]);
  const hours = night.start ? at.getUTCHours() : Math.floor(night.onset_s[position] / 3600);
  return `${hours}:${String(at.getUTCMinutes()).padStart(2, "0")}:${String(at.getUTCSeconds()).padStart(2, "0")}`;
}

// Times are drawn as if they were UTC, so that no time zone of the reader moves them.
const startMs = night.start ? Date.parse(/[Zz]|[+-]\d\d:?\d\d$/.test(night.start) ? night.start : `${night.start}Z`) || 0 : 0;
const centreMs = night.onset_s.map((onset) => startMs + 1000 * (onset + night.epoch_s / 2));

/** The blob's bytes: base64 in the page, gzip inside. */
async function unpack(name) {
  const packed = atob(byId(`tslm-blob-${name}`).textContent);
  const bytes = new Uint8Array(packed.length);
  for (let idx = 0; idx < packed.length; idx++) bytes[idx] = packed.charCodeAt(idx);
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
  return new Uint8Array(await new Response(stream).arrayBuffer());
}

async function start() {
  if (typeof DecompressionStream === "undefined") {
    select(state.position);
    return showStatus("This browser cannot unpack the charts: that takes Chromium 80, Firefox 113 or Safari 16.4, or newer. Texts and tables below are complete.");
  }
  try {
    if (byId("tslm-blob-texts")) Object.assign(night, JSON.parse(new TextDecoder().decode(await unpack("texts"))));
    select(state.position);
    const script = document.createElement("script");
    script.textContent = new TextDecoder().decode(await unpack("plotly"));
    document.head.append(script);
    if (night.spectrogram) blobs.spectrogram = await unpack("spectrogram");
    if (night.waveforms) blobs.waveforms = await Promise.all(night.waveforms.channels.map((_, idx) => unpack(`waveforms-${idx}`)));
    byId("night-static").hidden = true;
    await drawNight();
    await drawWaves();
    showStatus("");
  } catch (error) {
    byId("night-static").hidden = false;
    showStatus(`The charts could not be drawn (${error.message}). Texts and tables below are complete.`);
    throw error;
  }
}

function showStatus(text) {
  byId("page-status").textContent = text;
  byId("page-status").hidden = !text;
}

/** Show an epoch everywhere; the time until its picture stands is kept in `tslmPage.lastDrawMs`. */
function select(position) {
  const began = performance.now();
  state.position = Math.min(Math.max(Math.round(position), 0), numEpochs - 1);
  fillPanel();
  if (window.Plotly) {
    moveCursor();
    drawWaves();
  }
  document.dispatchEvent(new CustomEvent("epoch", { detail: describeEpoch(state.position) }));
  requestAnimationFrame(() => setTimeout(() => { tslmPage.lastDrawMs = performance.now() - began; }, 0));
}

function describeEpoch(position) {
  const perSystem = (pick) => Object.fromEntries(systems.map((system) => [system.name, pick(system)]));
  const detail = {
    position,
    epoch_idx: night.epoch_idx[position],
    onset_s: night.onset_s[position],
    sample_id: night.sample_id[position],
    recording: night.recording,
    answers: perSystem((system) => system.answers[position]),
    uncertainty: perSystem((system) => (system.uncertainty ? system.uncertainty[position] : null)),
  };
  return night.expert ? { ...detail, expert: night.expert[position] } : detail;
}

function step(direction) {
  select(state.position + direction);
}

/** Along the chosen list: the nearest in time, or by rank where the list is ranked. */
function stepList(direction) {
  const list = night.lists[state.list];
  if (!list || !list.positions.length) return;
  const at = list.positions.indexOf(state.position);
  let next;
  if (list.ranked) {
    next = list.positions[Math.min(Math.max((at === -1 || state.rank === -1 ? -1 : at) + direction, 0), list.positions.length - 1)];
    state.rank = 0;
  } else {
    const ahead = list.positions.filter((position) => (position - state.position) * direction > 0);
    next = direction > 0 ? ahead[0] : ahead[ahead.length - 1];
  }
  if (next !== undefined) select(next);
}

const KEYS = {
  ArrowLeft: () => step(-1),
  ArrowRight: () => step(1),
  n: () => stepList(1),
  p: () => stepList(-1),
  "+": () => zoomBy(0.5),
  "-": () => zoomBy(2),
  0: () => zoomBy(Infinity),
};
const KEYS_INSIDE = { ArrowDown: () => stepList(1), ArrowUp: () => stepList(-1) }; // outside they scroll the page

function onKey(event) {
  if (event.altKey || event.ctrlKey || event.metaKey || event.defaultPrevented) return;
  if (event.target.closest("input, select, textarea, [contenteditable]")) return;
  const isInside = byId("night").contains(document.activeElement);
  const action = KEYS[event.key] || (isInside && KEYS_INSIDE[event.key]);
  if (!action) return;
  event.preventDefault();
  action();
}

function connect() {
  connectMarks();
  document.addEventListener("keydown", onKey);
  byId("epoch-back").addEventListener("click", () => step(-1));
  byId("epoch-next").addEventListener("click", () => step(1));
  byId("zoom-in").addEventListener("click", () => zoomBy(0.5));
  byId("zoom-out").addEventListener("click", () => zoomBy(2));
  byId("zoom-all").addEventListener("click", () => zoomBy(Infinity));
  const list = byId("epoch-list");
  if (list) list.addEventListener("change", () => { state.list = Number(list.value); state.rank = -1; });
  const density = byId("density-system");
  if (density) density.addEventListener("change", () => {
    state.density = systems.findIndex((system) => system.name === density.value);
    drawDensity();
  });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => {
    if (window.Plotly) drawNight().then(drawWaves);
  });
}

const tslmPage = { night, select, step, stepList, lastDrawMs: null, get position() { return state.position; } };
window.tslmPage = tslmPage;
connect();
