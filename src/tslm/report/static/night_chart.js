
// The night on one time axis: hypnograms, spectrogram, EMG, stage probabilities, artefacts.
const NARROW = matchMedia("(max-width: 44rem)");
const COARSE = matchMedia("(pointer: coarse)");
const CONFIG = { displayModeBar: false, responsive: true, doubleClick: "reset", scrollZoom: false };
const ROW_GAP = 20; // room for the words above a row
const BOTTOM = 42; // for the ticks and words of the time axis
const MAX_POINTS = 3000; // of a line or an area; more than a screen has columns
const rows = []; // of the chart, top to bottom: {key, words, height, traces(axis), axis}

/** A colour of page.css. */
function colour(name) {
  return getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();
}

function stageColour(code) {
  return colour({ W: "wake", R: "rem", MOVE: "move", NREM: "n2" }[code] || code.toLowerCase());
}

function levelOf(code) {
  return night.stages.length - 1 - night.stages.findIndex((stage) => stage.code === code);
}

/** Runs of equal values in neighbouring epochs: [value, first position, last position]. */
function findBouts(values) {
  const bouts = [];
  values.forEach((value, position) => {
    const last = bouts[bouts.length - 1];
    if (last && last[0] === value && isNext(position)) last[2] = position;
    else bouts.push([value, position, position]);
  });
  return bouts;
}

function isNext(position) {
  return position > 0 && centreMs[position] - centreMs[position - 1] < 1500 * night.epoch_s;
}

/** The series with a hole put in wherever epochs are missing; of a long recording the means of neighbours. */
function withGaps(values) {
  const x = [], y = [];
  const together = Math.ceil(numEpochs / MAX_POINTS);
  for (let first = 0; first < numEpochs; first += together) {
    if (first && !isNext(first)) { x.push(centreMs[first - 1] + 1); y.push(null); }
    const last = Math.min(first + together, numEpochs) - 1;
    const known = values.slice(first, last + 1).filter((value) => value !== null);
    x.push((centreMs[first] + centreMs[last]) / 2);
    y.push(known.length ? known.reduce((sum, value) => sum + value, 0) / known.length : null);
  }
  return { x, y };
}

function segments(bouts, level) {
  const x = [], y = [];
  for (const [, first, last] of bouts) {
    x.push(centreMs[first] - 500 * night.epoch_s, centreMs[last] + 500 * night.epoch_s, null);
    y.push(level, level, null);
  }
  return { x, y };
}

/** From bout to bout, with holes where no stage is or epochs are missing. */
function stepLine(bouts) {
  const x = [], y = [];
  for (const [code, first, last] of bouts) {
    const start = centreMs[first] - 500 * night.epoch_s, stop = centreMs[last] + 500 * night.epoch_s;
    if (first && !isNext(first)) { x.push(start); y.push(null); }
    const level = stageOf(code) ? levelOf(code) : null;
    x.push(start, stop);
    y.push(level, level);
  }
  return { x, y };
}

function hypnogramTraces(answers, axis, isExpert) {
  const bouts = findBouts(answers);
  const steps = { ...stepLine(bouts), yaxis: axis, mode: "lines", line: { width: 1, color: colour("soft") } };
  const bars = night.stages.map((stage) => ({
    ...segments(bouts.filter(([code]) => code === stage.code), levelOf(stage.code)),
    yaxis: axis, mode: "lines", line: { width: NARROW.matches ? 4 : 5, color: stageColour(stage.code) },
  }));
  if (isExpert || !night.expert) return [steps, ...bars];
  const marks = findBouts(answers.map((code, position) => ([code, null].includes(night.expert[position]) ? "same" : code === null ? "unread" : "differs")));
  const strip = (kind, name) => ({
    ...segments(marks.filter(([mark]) => mark === kind), -1),
    yaxis: axis, mode: "lines", line: { width: 7, color: colour(name) },
  });
  return [steps, ...bars, strip("differs", "differs"), strip("unread", "unread")];
}

function hypnogramAxis(isExpert) {
  const hasStrip = !isExpert && night.expert;
  const shown = night.stages.map((stage) => [levelOf(stage.code), stage.short]);
  if (hasStrip) shown.push([-1, "≠"]);
  return {
    range: [hasStrip ? -1.6 : -0.6, night.stages.length - 0.4],
    tickvals: shown.map(([level]) => level), ticktext: shown.map(([, text]) => text),
  };
}

function agreementWords(system) {
  if (!night.expert) return system.name;
  const compared = system.answers.filter((_, position) => night.expert[position] !== null).length;
  const same = system.answers.filter((code, position) => code !== null && code === night.expert[position]).length;
  const share = `${(100 * same / compared).toFixed(1)} %`;
  const epochs = compared < numEpochs ? `the ${compared} epochs that were scored` : "epochs";
  return NARROW.matches ? `${system.name} · ${share} as the expert, ≠ others` : `${system.name} · as the expert in ${share} of ${epochs}, ≠ marks the others`;
}

function buildRows() {
  rows.length = 0;
  const add = (words, height, axis, traces) => rows.push({ words, height, axis, traces });
  const tall = 14 * night.stages.length;
  if (night.expert) add("Expert", tall, hypnogramAxis(true), (axis) => hypnogramTraces(night.expert, axis, true));
  for (const system of systems) {
    add(agreementWords(system), tall + 14, hypnogramAxis(false), (axis) => hypnogramTraces(system.answers, axis, false));
  }
  if (night.spectrogram && blobs.spectrogram) {
    const shape = night.spectrogram;
    const scale = NARROW.matches ? "" : `, ${Math.round(shape.low_db)} (dark) to ${Math.round(shape.high_db)} dB of 1 µV²/Hz`;
    add(`Spectrogram, Hz · ${shape.channel}${scale}`, 84,
      { range: [0, shape.first_hz + shape.num_freqs * shape.step_hz], tickvals: [0, 10, 20, 30] }, spectrogramTraces);
  }
  if (night.emg) add(`Muscle tone, ${night.emg.unit} · ${night.emg.channel}${NARROW.matches ? "" : ", RMS of 5 s, logarithmic"}`, 48, { type: "log", tickvals: [0.1, 0.3, 1, 3, 10, 30, 100, 300, 1000] }, emgTraces);
  if (state.density >= 0) {
    add(densityWords(), 76, { range: [0, 1], tickvals: [0, 0.5, 1], ticktext: ["0", "50 %", "1"] }, densityTraces);
  }
  if (night.flags) {
    const kinds = Object.keys(night.flags);
    const count = new Set(kinds.flatMap((kind) => night.flags[kind])).size;
    const words = kinds.length ? `Artefacts · ${count} epochs: ${kinds.join(", ")}` : "Artefacts · none found";
    add(words, 12 * Math.max(kinds.length, 1), { range: [-0.6, Math.max(kinds.length, 1) - 0.4], tickvals: [], showgrid: false }, flagTraces);
  }
}

function spectrogramTraces(axis) {
  const shape = night.spectrogram;
  const z = [];
  for (let row = 0; row < shape.num_freqs; row++) {
    const line = new Array(shape.num_columns);
    for (let column = 0; column < shape.num_columns; column++) {
      const code = blobs.spectrogram[column * shape.num_freqs + row];
      line[column] = code || null;
    }
    z.push(line);
  }
  const width = 1000 * night.epoch_s * shape.epochs_per_column;
  return [{
    type: "heatmap", z, x0: centreMs[0] - 500 * night.epoch_s + width / 2, dx: width, y0: shape.first_hz, dy: shape.step_hz,
    yaxis: axis, zmin: 1, zmax: 255, colorscale: "Viridis", showscale: false, xtype: "scaled", ytype: "scaled",
  }];
}

function emgTraces(axis) {
  const { num_windows, values } = night.emg;
  if (numEpochs > MAX_POINTS) {
    const perEpoch = centreMs.map((_, position) => values.slice(position * num_windows, (position + 1) * num_windows).reduce((sum, value) => sum + value, 0) / num_windows);
    return [{ ...withGaps(perEpoch.map((value) => value || null)), yaxis: axis, mode: "lines", line: { width: 1, color: colour("ink") } }];
  }
  const width = 1000 * night.epoch_s / num_windows;
  const x = [], y = [];
  for (let position = 0; position < numEpochs; position++) {
    if (position && !isNext(position)) { x.push(centreMs[position - 1] + 1); y.push(null); }
    for (let window = 0; window < num_windows; window++) {
      x.push(centreMs[position] - 500 * night.epoch_s + (window + 0.5) * width);
      y.push(values[position * num_windows + window] || null);
    }
  }
  return [{ x, y, yaxis: axis, mode: "lines", line: { width: 1, color: colour("ink") } }];
}

function densityWords() {
  const order = `${night.stages[night.stages.length - 1].short} (bottom) to ${night.stages[0].short} (top)`;
  return NARROW.matches ? `Stage probabilities · ${systems[state.density].name}` : `Stage probabilities · ${systems[state.density].name}, stacked from ${order}`;
}

function densityTraces(axis) {
  const { probabilities } = systems[state.density];
  return night.stages.map((stage, idx) => idx).reverse().map((idx) => ({
    ...withGaps(probabilities.map((values) => (values ? values[idx] : null))),
    yaxis: axis, mode: "lines", stackgroup: axis, line: { shape: "hvh", width: 0 }, fillcolor: stageColour(night.stages[idx].code),
    meta: "density",
  }));
}

function flagTraces(axis) {
  const kinds = Object.keys(night.flags);
  if (!kinds.length) return [{ x: [centreMs[0]], y: [null], yaxis: axis }]; // an axis without a trace is not drawn
  return kinds.map((kind, idx) => ({
    ...segments(night.flags[kind].map((position) => [kind, position, position]), kinds.length - 1 - idx),
    yaxis: axis, mode: "lines", line: { width: 8, color: colour("differs") },
  }));
}

async function drawNight() {
  const chart = byId("night-chart");
  chart.hidden = false;
  buildRows();
  const height = rows.reduce((sum, row) => sum + row.height + ROW_GAP, 0) + BOTTOM;
  chart.style.height = `${height}px`;
  const inner = height - BOTTOM;
  const traces = [], annotations = [], layout = {
    height, margin: { l: 40, r: 8, t: 0, b: BOTTOM }, showlegend: false, hovermode: false, dragmode: COARSE.matches ? false : "zoom",
    paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)", font: { family: getComputedStyle(document.body).fontFamily, size: 12, color: colour("soft") },
    xaxis: {
      type: "date", range: fullRange(), autorange: false, showgrid: false, zeroline: false, linecolor: colour("line"),
      tickformatstops: [{ dtickrange: [null, 60000], value: "%H:%M:%S" }, { dtickrange: [60000, null], value: "%H:%M" }],
      title: { text: night.start ? "clock time" : "hours and minutes since the start", standoff: 6 }, anchor: `y${rows.length > 1 ? rows.length : ""}`,
    },
    shapes: [cursorShape()], annotations,
  };
  let top = 1;
  rows.forEach((row, idx) => {
    const axis = idx ? `y${idx + 1}` : "y";
    top -= ROW_GAP / inner;
    annotations.push({ text: plain(row.words), x: 0, xref: "paper", y: top, yref: "paper", xanchor: "left", yanchor: "bottom", showarrow: false, align: "left", font: { size: 12 } });
    layout[idx ? `yaxis${idx + 1}` : "yaxis"] = {
      domain: [Math.max(top - row.height / inner, 0), top], fixedrange: true, zeroline: false, gridcolor: colour("faint"), tickfont: { size: 11 }, ...row.axis,
    };
    row.axisName = axis;
    top -= row.height / inner;
    traces.push(...row.traces(axis).map((trace) => ({ type: "scatter", xaxis: "x", ...trace })));
  });
  const isNew = !chart.data;
  await Plotly.react(chart, traces, layout, CONFIG);
  if (isNew) connectChart(chart);
}

// Plotly tells of clicks only where it has already seen the pointer hover, so pointers are read here.
const CLICK_PIXELS = 5;

/** Calls `act` after a press without a drag that `begins` accepted. */
function onPress(element, begins, act) {
  let down = null;
  element.addEventListener("pointerdown", (event) => {
    down = event.button || !begins(event) ? null : [event.clientX, event.clientY];
  }, true);
  window.addEventListener("pointerup", (event) => {
    const isClick = down && Math.hypot(event.clientX - down[0], event.clientY - down[1]) < CLICK_PIXELS;
    down = null;
    if (isClick) act(event);
  }, true);
}

function connectChart(chart) {
  onPress(chart, (event) => positionAt(chart, event) !== null, (event) => {
    select(positionAt(chart, event));
    byId("epoch").focus({ preventScroll: true });
  });
  chart.addEventListener("pointermove", (event) => showTip(positionAt(chart, event), event));
  chart.addEventListener("pointerleave", () => showTip(null));
  NARROW.addEventListener("change", drawNight);
}

/** The epoch under a pointer, the nearest one in a gap; null beside the rows. */
function positionAt(chart, event) {
  const box = chart.querySelector(".nsewdrag").getBoundingClientRect();
  const share = (event.clientX - box.left) / box.width;
  if (share < 0 || share > 1) return null;
  const [low, high] = chart.layout.xaxis.range.map(toMs);
  return nearest(low + share * (high - low));
}

/** Text that Plotly must not read as its own small markup. */
function plain(text) {
  return text.replace(/&/g, "&amp;").replace(/</g, "&lt;").replace(/>/g, "&gt;");
}

function fullRange() {
  return [centreMs[0] - 500 * night.epoch_s, centreMs[numEpochs - 1] + 500 * night.epoch_s].map(toDate);
}

function toDate(ms) {
  return new Date(ms).toISOString().replace("Z", "");
}

function toMs(value) {
  return typeof value === "number" ? value : Date.parse(/Z$/.test(value) ? value : `${value.replace(" ", "T")}${value.length <= 10 ? "T00:00" : ""}Z`);
}

function nearest(ms) {
  let low = 0, high = numEpochs - 1;
  while (low < high) {
    const middle = (low + high) >> 1;
    if ((centreMs[middle] + centreMs[middle + 1]) / 2 <= ms) low = middle + 1;
    else high = middle;
  }
  return low;
}

function cursorShape() {
  const at = centreMs[state.position], half = 500 * night.epoch_s;
  return {
    type: "rect", xref: "x", yref: "paper", x0: toDate(at - half), x1: toDate(at + half), y0: 0, y1: 1, layer: "above",
    fillcolor: colour("accent"), opacity: 0.35, line: { width: 1.5, color: colour("accent") },
  };
}

function moveCursor() {
  const chart = byId("night-chart");
  if (!chart.data) return;
  const change = { shapes: [cursorShape()] };
  const [low, high] = chart.layout.xaxis.range.map(toMs);
  const at = centreMs[state.position];
  if (at < low || at > high) change["xaxis.range"] = placeRange(at, high - low);
  Plotly.relayout(chart, change);
}

/** A range of that width around a moment, inside the night. */
function placeRange(at, width) {
  const [first, last] = fullRange().map(toMs);
  const low = Math.min(Math.max(at - width / 2, first), Math.max(last - width, first));
  return [low, Math.min(low + width, last)].map(toDate);
}

function zoomBy(factor) {
  const chart = byId("night-chart");
  if (!chart.data) return;
  const [low, high] = chart.layout.xaxis.range.map(toMs);
  const [first, last] = fullRange().map(toMs);
  const width = Math.min(Math.max((high - low) * factor, 10000 * night.epoch_s), last - first);
  Plotly.relayout(chart, { "xaxis.range": placeRange(centreMs[state.position], width) });
}

function drawDensity() {
  drawNight();
}

function showTip(position, event) {
  const tip = byId("night-tip");
  tip.hidden = position === null || (event.pointerType === "touch");
  if (tip.hidden) return;
  const lines = systems.map((system) => {
    const probabilities = system.probabilities && system.probabilities[position];
    const idx = night.stages.findIndex((stage) => stage.code === system.answers[position]);
    const share = probabilities && idx >= 0 ? ` ${Math.round(100 * probabilities[idx])} %` : "";
    return `${system.name}: ${answerName(system, position)}${share}`;
  });
  if (night.expert && night.expert[position]) lines.unshift(`Expert: ${stageName(night.expert[position])}`);
  tip.replaceChildren(make("b", "", `${timeText(position)}, epoch ${night.number[position]}`), ...lines.map((line) => make("span", "", line)));
  const box = byId("night").getBoundingClientRect();
  tip.style.left = `${Math.max(Math.min(event.clientX - box.left + 14, box.width - tip.offsetWidth - 4), 0)}px`;
  tip.style.top = `${event.clientY - box.top + 18}px`;
}
