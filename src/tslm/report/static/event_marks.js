
// Where waveforms lie in the epoch: a lane of marks for each kind, bands over the trace, and the claims that rest on them.
const STEPS_PER_S = 100; // of the document
const REACH_PIXELS = 8; // by which a pointer may miss a mark
let marks = []; // of the epoch shown: {lane, onset_s, stop_s, elements}
let chosen = []; // of the marks, by a click
let isKnown = false; // whether the places are, of the epoch shown
let pointed = null; // element of a claim under the pointer
let claimsShown = []; // of the epoch's text

/** The marks of an epoch, or null where their places are not known. */
function readMarks(at) {
  const numbers = night.events && night.events.epochs[at];
  if (!numbers) return null;
  const found = [];
  for (let idx = 0; idx < numbers.length; idx += 3) {
    const onset_s = numbers[idx + 1] / STEPS_PER_S;
    found.push({ lane: numbers[idx], onset_s, stop_s: onset_s + numbers[idx + 2] / STEPS_PER_S });
  }
  return found;
}

function fillMarks(at) {
  const found = readMarks(at);
  marks = found || [];
  chosen = [];
  pointed = null;
  const bands = marks.map((mark) => {
    const [kind, name] = night.events.lanes[mark.lane];
    const band = make("i", `band event-${kind}`), dash = make("i", "event");
    dash.title = `${name}, ${mark.onset_s.toFixed(1)} to ${mark.stop_s.toFixed(1)} s`;
    mark.elements = [dash, band];
    return band;
  });
  byId("wave-bands").replaceChildren(...bands);
  const lanes = night.events ? night.events.lanes.map((_, lane) => makeLane(lane)).filter(Boolean) : [];
  if (lanes.length && isAlone()) lanes.push(make("div", "wave-scale", make("span", "", "0 s"), make("span", "", `${night.epoch_s} s`)));
  byId("wave-lanes").replaceChildren(...lanes);
  byId("wave-lanes").classList.toggle("alone", isAlone());
  byId("wave").hidden = isAlone() && !lanes.length;
  isKnown = found !== null;
  tellChosen();
  placeMarks();
}

function makeLane(lane) {
  const own = marks.filter((mark) => mark.lane === lane);
  if (!own.length) return null;
  const [kind, name] = night.events.lanes[lane];
  const button = make("button", "lane-name", name);
  button.type = "button";
  button.title = `${name}: ${own.length} in this epoch`;
  button.setAttribute("aria-pressed", "false");
  button.addEventListener("click", () => choose(chosen.length === own.length && chosen[0] === own[0] ? [] : own));
  const track = make("div", "track", ...own.map((mark) => mark.elements[0]));
  track.addEventListener("click", (event) => chooseAt(event.clientX, track, own));
  return make("div", `lane event-${kind}`, button, track);
}

/** Whether the marks stand without a trace. */
function isAlone() {
  return !night.waveforms || typeof DecompressionStream === "undefined";
}

/** Seconds of the epoch at the left and at the right edge of the trace. */
function shownRange() {
  const { layout } = byId("wave-chart");
  return isAlone() ? [0, night.epoch_s] : layout ? layout.xaxis.range.map(Number) : [-NEIGHBOUR_S, night.epoch_s + NEIGHBOUR_S];
}

function placeMarks() {
  const [first, last] = shownRange();
  for (const mark of marks) {
    for (const { style } of mark.elements) {
      style.left = `${100 * (mark.onset_s - first) / (last - first)}%`;
      style.width = `${100 * (mark.stop_s - mark.onset_s) / (last - first)}%`;
    }
  }
}

/** Lays the bands over the channel that was measured, whose part of the chart is given from its bottom. */
function layBands([low, high], bottom, top) {
  Object.assign(byId("wave-bands").style, { top: `${bottom - high * (bottom - top)}px`, height: `${(high - low) * (bottom - top)}px` });
}

/** The shortest mark under a pointer, by its place on the axis of an element as wide as the trace. */
function chooseAt(x, element, among) {
  const box = element.getBoundingClientRect(), [first, last] = shownRange();
  const second = first + (last - first) * (x - box.left) / box.width, reach = (last - first) * REACH_PIXELS / box.width;
  const distance = (mark) => Math.max(mark.onset_s - second, second - mark.stop_s, 0);
  const near = among.filter((mark) => distance(mark) <= reach);
  near.sort((one, other) => distance(one) - distance(other) || one.stop_s - one.onset_s - (other.stop_s - other.onset_s));
  choose(near[0] && !(chosen.length === 1 && chosen[0] === near[0]) ? [near[0]] : []);
}

function choose(own) {
  chosen = own;
  tellChosen();
  light();
}

function tellChosen() {
  const isUnknown = night.events && !isKnown;
  byId("event-note").textContent = chosen.length ? describeChosen() : isUnknown ? "Where waveforms lie in this epoch is not known." : "";
}

function describeChosen() {
  const name = night.events.lanes[chosen[0].lane][1];
  const places = chosen.length > 1 ? `${chosen.length} in this epoch, ${placesInWords(chosen)}` : `${placesInWords(chosen)}, ${(chosen[0].stop_s - chosen[0].onset_s).toFixed(1)} s long`;
  const resting = claimsShown.filter(restsOn(chosen)).map((claim) => `“${claim.words.trim()}” ${SIGNS[claim.verdict]}`);
  const said = resting.length ? ` In the text: ${resting.join(", ")}.` : claimsShown.length ? " The text does not speak of it." : "";
  return `${name[0].toUpperCase()}${name.slice(1)}: ${places}.${said}`;
}

/** Where marks begin, in words. */
function placesInWords(own) {
  const shown = own.slice(0, 4).map((mark) => mark.onset_s.toFixed(1));
  return `at ${shown.join(", ")}${own.length > shown.length ? " …" : ""} s`;
}

/** Where the waveforms lie that a claim rests on, or null. */
function claimPlaces(claim) {
  return claim.marks.length ? `In the trace ${placesInWords(claim.marks)}` : null;
}

/** Whether a claim rests on any of some marks. */
function restsOn(own) {
  return (claim) => claim.marks.some((mark) => own.includes(mark));
}

/** Highlights what a claim rests on while it is pointed at or has the focus, else what was chosen and its claims. */
function light() {
  const focused = document.activeElement.closest("#epoch-text [data-claims]");
  const claim = pointed || focused;
  const named = claim ? claim.dataset.claims.split(" ").map((number) => claimsShown[number]) : claimsShown.filter(restsOn(chosen));
  const lit = claim ? named.flatMap((one) => one.marks) : chosen;
  for (const mark of marks) for (const element of mark.elements) element.classList.toggle("lit", lit.includes(mark));
  byId("wave").classList.toggle("has-lit", lit.length > 0);
  for (const button of byId("wave-lanes").querySelectorAll(".lane-name")) {
    button.setAttribute("aria-pressed", String(chosen.some((mark) => mark.elements[0].closest(".lane") === button.parentElement)));
  }
  for (const element of byId("epoch-text").querySelectorAll("[data-claims]")) {
    element.classList.toggle("lit", element.dataset.claims.split(" ").some((number) => named.includes(claimsShown[number])));
  }
}

function connectMarks() {
  const text = byId("epoch-text");
  const point = (event) => {
    const claim = event.type === "pointerleave" ? null : event.target.closest("[data-claims]");
    if (claim === pointed) return;
    pointed = claim;
    light();
  };
  text.addEventListener("pointerover", point);
  text.addEventListener("pointerleave", point);
  text.addEventListener("focusin", light);
  text.addEventListener("focusout", () => setTimeout(light)); // once the focus has moved on
  onPress(byId("wave-chart"), (event) => Boolean(event.target.closest(".nsewdrag")), (event) => chooseAt(event.clientX, byId("wave-bands"), marks));
  document.addEventListener("keydown", (event) => {
    if (event.key !== "Escape" || event.defaultPrevented) return;
    pointed = null;
    if (document.activeElement.closest("#epoch-text [data-claims]")) document.activeElement.blur();
    choose([]);
  });
}
