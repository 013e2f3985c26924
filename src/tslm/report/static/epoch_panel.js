
// The panel of one epoch: waveforms, rationale with its claims, probabilities, measurements.
const SIGNS = { supported: "✓", contradicted: "✗", "not checkable": "○" }; // beside the colours of a verdict
const NEIGHBOUR_S = 5; // of the epochs before and after, drawn faintly
let storedRow = null; // of the blobs by position, where they do not hold all epochs

function fillPanel() {
  const at = state.position;
  const isLost = document.activeElement.closest("#epoch-text, #wave-lanes"); // what has the focus is replaced
  byId("epoch-title").textContent = `Epoch ${night.number[at]}, ${timeText(at)}`;
  byId("epoch-back").disabled = at === 0;
  byId("epoch-next").disabled = at === numEpochs - 1;
  const stages = systems.map((system) => describeAnswer(system.name, system.answers[at], answerName(system, at), night.expert && night.expert[at]));
  if (night.expert && night.expert[at]) stages.unshift(describeAnswer("Expert", night.expert[at], stageName(night.expert[at]), null));
  byId("epoch-stages").replaceChildren(...stages);
  fillMarks(at);
  byId("epoch-text").replaceChildren(...describeRationale(at));
  byId("epoch-probabilities").replaceChildren(...describeProbabilities(at));
  byId("epoch-measured").replaceChildren(...describeEvidence(at));
  if (isLost) byId("epoch").focus({ preventScroll: true });
}

function describeAnswer(name, code, answer, expert) {
  const chip = make("span", `chip ${code ? `stage-${code.toLowerCase()}` : ""}`, answer);
  const mark = expert && answer !== "not asked" ? make("span", code === expert ? "verdict right" : "verdict wrong", code === expert ? " ✓" : " ✗ differs") : null;
  return make("div", "", make("dt", "", name), make("dd", "", chip, mark));
}

function describeRationale(at) {
  claimsShown = [];
  if (!night.rationales || !night.writer) return []; // not unpacked yet, this browser cannot, or nobody writes
  const { pieces, struck, answer, cut } = night.rationales[at];
  const claims = night.rationales[at].claims.map(([verdict, hedged, measured, resting], number) => ({
    words: pieces.filter(([, numbers]) => numbers.includes(number)).map(([text]) => text).join(""),
    verdict: night.verdicts[verdict], hedged, measured: measured || "not measured", marks: resting.map((idx) => marks[idx]),
  }));
  claimsShown = claims;
  const quote = make("blockquote", "");
  pieces.forEach(([text, numbers], place) => {
    const parts = numbers.length ? [markPiece(text, numbers, claims)] : markRules(text);
    quote.append(...(struck.includes(place) ? [strikePiece(parts)] : parts));
  });
  const writer = systems.find((system) => system.name === night.writer);
  if (!pieces.length && !answer) quote.append(make("em", "", writer.not_asked.includes(at) ? "not asked for a text" : "empty"));
  if (cut) quote.append(make("em", "", ` … ${cut.toLocaleString("en")} characters more`));
  if (answer) quote.append(" ", make("b", "", `Answer: ${answer}`));
  const parts = [make("h4", "", `Written by the ${night.writer.toLowerCase()}`), quote];
  if (claims.length) parts.push(listClaims(claims));
  parts.push(...listRules(pieces));
  const reference = night.references && night.references[at];
  if (reference) parts.push(make("details", "", make("summary", "", "Reference text for this epoch"), make("p", "", reference)));
  return parts;
}

/** A text whose citations of rules show their words. */
function markRules(text) {
  return text.split(/(\([^()]*\))/).map((part) => {
    if (!Object.hasOwn(night.rules, part)) return part;
    const cited = make("abbr", "rule", part);
    cited.title = night.rules[part][1];
    return cited;
  });
}

function listRules(pieces) {
  const cited = pieces.map(([text]) => text).join("").match(/\([^()]*\)/g) || [];
  const rules = new Map(cited.filter((part) => Object.hasOwn(night.rules, part)).map((part) => night.rules[part]));
  const items = [...rules].map(([name, words]) => make("div", "", make("dt", "", name), make("dd", "", words)));
  return items.length ? [make("div", "rules", make("h4", "", "Rules cited"), make("dl", "", ...items))] : [];
}

/** Parts of a sentence that verification struck. */
function strikePiece(parts) {
  const struck = make("del", "", ...parts);
  struck.title = "contradicts the measurement or the answer";
  return struck;
}

/** A piece of the text under the worst verdict of its claims; what was measured stands in its tip. */
function markPiece(text, numbers, claims) {
  const rank = ["contradicted", "supported", "not checkable"];
  const verdict = rank.find((kind) => numbers.some((number) => claims[number].verdict === kind));
  const hedged = numbers.some((number) => claims[number].hedged);
  const mark = make("mark", `claim ${verdict.replace(" ", "-")}${hedged ? " hedged" : ""}`, ...markRules(text));
  const lines = numbers.flatMap((number) => [claimWords(claims[number]), claimPlaces(claims[number])]).filter(Boolean);
  const tip = make("span", "tip", ...[...new Set(lines)].map((line) => make("span", "", line)));
  tip.id = `claim-tip-${numbers.join("-")}-${text.length}`;
  tip.setAttribute("role", "tooltip");
  mark.tabIndex = 0;
  mark.dataset.claims = numbers.join(" ");
  mark.setAttribute("aria-describedby", tip.id);
  mark.append(make("span", "sign", SIGNS[verdict]), tip);
  return mark;
}

function claimWords(claim) {
  return `${SIGNS[claim.verdict]} ${claim.verdict}${claim.hedged ? ", hedged" : ""}. Measured: ${claim.measured}`;
}

function listClaims(claims) {
  const count = (verdict) => claims.filter((claim) => claim.verdict === verdict).length;
  const summary = Object.keys(SIGNS).map((verdict) => `${count(verdict)} ${verdict} ${SIGNS[verdict]}`).join(", ");
  const items = claims.map((claim) => make("li", claim.verdict.replace(" ", "-"), make("span", "sign", SIGNS[claim.verdict]), ` “${claim.words}”: ${claim.verdict}${claim.hedged ? " (hedged)" : ""}; measured ${claim.measured}`));
  items.forEach((item, number) => { item.dataset.claims = number; });
  const list = make("details", "claims", make("summary", "", `Claims: ${summary}`), make("ul", "", ...items));
  return list;
}

function describeProbabilities(at) {
  const known = systems.filter((system) => system.probabilities && system.probabilities[at]);
  if (!known.length) return [];
  const head = make("tr", "", make("th", "", "Stage"), ...known.map((system) => make("th", "", system.name)));
  for (const cell of head.children) cell.scope = "col";
  const lines = night.stages.map((stage, idx) => {
    const label = make("th", "", make("span", `chip stage-${stage.code.toLowerCase()}`, stage.short));
    label.scope = "row";
    return make("tr", "", label, ...known.map((system) => {
      const share = system.probabilities[at][idx];
      const meter = make("span", "meter");
      meter.style.setProperty("--share", `${100 * share}%`);
      return make("td", system.answers[at] === stage.code ? "chosen" : "", meter, `${Math.round(100 * share)} %`);
    }));
  });
  const uncertainty = known.map((system) => `${system.name} ${system.uncertainty[at].toFixed(2)}`).join(", ");
  return [
    make("h4", "", "Probabilities"),
    make("table", "probabilities", make("thead", "", head), make("tbody", "", ...lines)),
    make("p", "fine", `Uncertainty (entropy, 0 sure to 1): ${uncertainty}`),
  ];
}

function describeEvidence(at) {
  if (!night.evidence) return [];
  const flags = night.flags ? Object.keys(night.flags).filter((kind) => night.flags[kind].includes(at)) : [];
  const items = [];
  night.evidence.values[at].forEach((value, idx) => {
    if (value !== null) items.push(make("div", "", make("dt", "", night.evidence.names[idx]), make("dd", "", value)));
  });
  if (!items.length && !flags.length) return [];
  if (night.flags) items.push(make("div", "", make("dt", "", "Artefact flags"), make("dd", "", flags.join(", ") || "none")));
  return [make("h4", "", "Measured in this epoch"), make("dl", "measures", ...items)];
}

/** Samples of one channel of an epoch in its unit, or null where the page does not hold them. */
function decodeWave(idx, position) {
  const { channels, stored } = night.waveforms;
  storedRow = storedRow || (stored && new Map(stored.map((at, row) => [at, row])));
  const row = storedRow ? storedRow.get(position) : position;
  if (row === undefined || row < 0 || row >= numEpochs) return null;
  const bytes = blobs.waveforms[idx], { num_samples, bits } = channels[idx];
  const base = new DataView(bytes.buffer, bytes.byteOffset + 8 * row, 8);
  const lowest = base.getFloat32(0, true), step = base.getFloat32(4, true), mask = 2 ** bits - 1;
  const start = 8 * (stored ? stored.length : numEpochs) + num_samples * row;
  const values = new Float32Array(num_samples);
  let code = 0;
  for (let sample = 0; sample < num_samples; sample++) {
    code = (code + bytes[start + sample]) & mask;
    values[sample] = lowest + code * step;
  }
  return values;
}

async function drawWaves() {
  const chart = byId("wave-chart"), note = byId("wave-note");
  chart.hidden = !(night.waveforms && blobs.waveforms && window.Plotly);
  if (chart.hidden) return;
  const { channels } = night.waveforms, at = state.position;
  const height = channels.length === 1 ? 190 : 120 * channels.length;
  const layout = {
    height, margin: { l: 46, r: 8, t: 18, b: 42 }, showlegend: false, hovermode: "closest", dragmode: COARSE.matches ? false : "zoom",
    paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)", font: { family: getComputedStyle(document.body).fontFamily, size: 12, color: colour("soft") },
    xaxis: {
      range: [-NEIGHBOUR_S, night.epoch_s + NEIGHBOUR_S], dtick: NARROW.matches ? 10 : 5, minor: { dtick: 1, showgrid: true, gridcolor: colour("faint") },
      gridcolor: colour("line"), zeroline: false, title: { text: "seconds of the epoch", standoff: 6 }, anchor: `y${channels.length > 1 ? channels.length : ""}`,
    },
    shapes: [[-NEIGHBOUR_S, 0], [night.epoch_s, night.epoch_s + NEIGHBOUR_S]].map(([x0, x1]) => ({ type: "rect", xref: "x", yref: "paper", x0, x1, y0: 0, y1: 1, fillcolor: colour("faint"), opacity: 0.6, line: { width: 0 }, layer: "below" })),
    annotations: [],
  };
  chart.style.height = `${height}px`;
  const traces = [];
  const isHeld = decodeWave(0, at) !== null;
  channels.forEach((channel, idx) => {
    const axis = idx ? `y${idx + 1}` : "y", part = 1 / channels.length, top = 1 - idx * part;
    const seconds = Float32Array.from({ length: channel.num_samples }, (_, sample) => sample / channel.fs_hz);
    const values = decodeWave(idx, at) || [];
    const middle = values.length ? median(values) : 0;
    layout[idx ? `yaxis${idx + 1}` : "yaxis"] = {
      domain: [top - part + (channels.length > 1 ? 0.02 : 0), top - (idx ? 0.08 : 0)], range: [middle - channel.limit, middle + channel.limit], gridcolor: colour("faint"),
      zeroline: false, nticks: 5, tickfont: { size: 11 }, title: { text: channel.unit, standoff: 2 }, fixedrange: true,
    };
    layout.annotations.push({ text: plain(channel.name), x: 0, y: top - (idx ? 0.08 : 0), xref: "paper", yref: "paper", xanchor: "left", yanchor: "bottom", showarrow: false, font: { size: 12 } });
    const faint = { x: [], y: [] };
    for (const [other, shift] of [[at - 1, -night.epoch_s], [at + 1, night.epoch_s]]) {
      const beside = other >= 0 && other < numEpochs && isNext(Math.max(other, at)) ? decodeWave(idx, other) : null;
      if (beside) beside.forEach((value, sample) => {
        const second = seconds[sample] + shift;
        if (second >= -NEIGHBOUR_S && second <= night.epoch_s + NEIGHBOUR_S) { faint.x.push(second); faint.y.push(value); }
      });
      faint.x.push(null);
      faint.y.push(null);
    }
    traces.push({ ...faint, yaxis: axis, mode: "lines", line: { width: 1, color: colour("soft") }, opacity: 0.55, hoverinfo: "skip" });
    traces.push({ x: seconds, y: values, yaxis: axis, mode: "lines", line: { width: 1.1, color: colour("ink") }, hovertemplate: `%{x:.2f} s, %{y:.1f} ${plain(channel.unit)}<extra></extra>` });
  });
  const measured = channels.findIndex((channel) => night.events && channel.name === night.events.channel);
  layBands(measured < 0 ? [0, 0] : layout[measured ? `yaxis${measured + 1}` : "yaxis"].domain, height - layout.margin.b, layout.margin.t);
  note.textContent = isHeld ? "" : "The waveform of this epoch is not on the page; see the notes below.";
  const isNew = !chart.data;
  await Plotly.react(chart, traces, layout, CONFIG);
  if (isNew) chart.on("plotly_relayout", placeMarks);
  placeMarks();
}

function median(values) {
  const sorted = Float32Array.from(values).sort();
  return sorted[sorted.length >> 1];
}
