// The review form: every change goes to the server at once. What it could not take stays in the outbox, which this browser
// keeps, and is sent again. `window.tslmPage` and the event `epoch` are those of the report's page.
(() => {
"use strict";
const RATINGS = ["accuracy", "completeness", "coherence"];
const GROUPS = [...RATINGS, "corrected_stage"];
const EMPTY = { accuracy: null, completeness: null, coherence: null, corrected_stage: null, comment: "" };
const QUIET_MS = 600; // after the last keystroke before a change is sent
const RETRY_MS = [1000, 2000, 4000, 8000, 15000];
const RELOAD_MS = 2000;
const SILENT = "the server does not answer, trying again";
const NAME_KEY = "tslm-reviewer";

const outbox = new Map(); // sample_id -> {fields, base_revision, problem}: not yet on the server's disk
let run, form, reviewer = null, queue = [], shown = null; // shown: {sample_id, revision, saved_at}
let timer = 0, isSending = false, numFailures = 0, retryAt = 0;

const byId = (id) => document.getElementById(id);
const draftKey = (sampleId) => `tslm-review/${run.store_id}/${reviewer}/${sampleId}`;
const entryOf = (sampleId) => queue.find((entry) => entry.sample_id === sampleId);

class Refused extends Error {
  constructor(status, message) { super(message); this.status = status; }
}

/** JSON of the server; Refused when it says why not, another error when it does not answer. */
async function ask(path, query = {}, body = null) {
  const options = body ? { method: "PUT", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body) } : {};
  const response = await fetch(`${path}?${new URLSearchParams(query)}`, { ...options, signal: AbortSignal.timeout(15000) });
  const said = await response.json();
  if (!response.ok) throw response.status >= 500 ? new Error(said.error) : new Refused(response.status, said.error);
  return said;
}

// --- the form ---------------------------------------------------------------------------------
function readForm() {
  const values = new FormData(form);
  const fields = { corrected_stage: values.get("corrected_stage"), comment: form.comment.value };
  for (const rating of RATINGS) fields[rating] = values.get(rating) === null ? null : Number(values.get(rating));
  return fields;
}

function fillForm(fields) {
  for (const group of GROUPS) {
    for (const input of form.elements[group]) input.checked = fields[group] !== null && input.value === String(fields[group]);
  }
  form.comment.value = fields.comment;
  markActive();
}

function firstOpen() {
  return GROUPS.find((group) => ![...form.elements[group]].some((input) => input.checked)) || null;
}

/** The group that a digit goes to: the one with the focus, else the first without an answer. */
function activeGroup() {
  const focused = document.activeElement.closest("#review fieldset");
  return focused && focused.dataset.group ? focused.dataset.group : firstOpen();
}

function markActive() {
  const active = activeGroup();
  for (const fieldset of form.querySelectorAll("fieldset")) fieldset.classList.toggle("active", fieldset.dataset.group === active);
}

function choose(group, input) {
  input.checked = true;
  onChange();
  const open = firstOpen();
  (open ? form.querySelector(`[data-group=${open}]`) : input).focus();
}

function onChange() {
  if (!shown) return;
  const known = outbox.get(shown.sample_id);
  const entry = { fields: readForm(), base_revision: known ? known.base_revision : shown.revision, problem: null };
  const isEmpty = Object.keys(EMPTY).every((field) => entry.fields[field] === EMPTY[field]);
  const isNothing = isEmpty && entry.base_revision === 0 && !isSending;
  if (isNothing) outbox.delete(shown.sample_id); // taken back before anything of it was sent
  else outbox.set(shown.sample_id, entry);
  keepDraft(shown.sample_id, isNothing ? null : entry);
  schedule(QUIET_MS);
  tell();
}

function keepDraft(sampleId, entry) {
  try {
    if (entry) localStorage.setItem(draftKey(sampleId), JSON.stringify(entry));
    else localStorage.removeItem(draftKey(sampleId));
  } catch { /* a browser that keeps nothing: the guard on leaving the page is left */ }
}

function loadDrafts() {
  outbox.clear();
  const prefix = draftKey("");
  for (const key of Object.keys(localStorage)) {
    if (key.startsWith(prefix)) outbox.set(key.slice(prefix.length), JSON.parse(localStorage.getItem(key)));
  }
}

// --- saving -----------------------------------------------------------------------------------
function schedule(delayMs) {
  clearTimeout(timer);
  timer = setTimeout(send, delayMs);
}

async function send() {
  clearTimeout(timer);
  if (isSending) return;
  const next = [...outbox].find(([, entry]) => !entry.problem);
  if (!next) return tell();
  const [sampleId, entry] = next;
  isSending = true;
  tell();
  try {
    const saved = await ask("/api/review", {}, { reviewer, sample_id: sampleId, base_revision: entry.base_revision, ...entry.fields });
    numFailures = retryAt = 0;
    accept(sampleId, entry, saved);
  } catch (error) {
    if (error instanceof Refused) {
      entry.problem = { conflict: error.status === 409, words: error.message };
      keepDraft(sampleId, entry);
    } else {
      numFailures += 1;
      retryAt = Date.now() + RETRY_MS[Math.min(numFailures, RETRY_MS.length) - 1];
    }
  }
  isSending = false;
  if (retryAt) schedule(Math.max(retryAt - Date.now(), 0));
  else if ([...outbox.values()].some((waiting) => !waiting.problem)) schedule(0);
  tell();
}

function accept(sampleId, entry, saved) {
  const latest = outbox.get(sampleId);
  if (latest === entry) {
    outbox.delete(sampleId);
    keepDraft(sampleId, null);
  } else if (latest) {
    latest.base_revision = saved.revision; // typed on meanwhile
    keepDraft(sampleId, latest);
  }
  if (shown && shown.sample_id === sampleId) Object.assign(shown, { revision: saved.revision, saved_at: saved.saved_at });
  const entryInQueue = entryOf(sampleId);
  if (entryInQueue) entryInQueue.state = GROUPS.every((group) => saved[group] !== null) ? "complete" : "begun";
  showQueue();
}

/** After a conflict: write over what is saved, or take it. */
async function settle(sampleId, keepMine) {
  const saved = await ask("/api/review", { reviewer, sample_id: sampleId });
  const entry = outbox.get(sampleId);
  if (keepMine) {
    Object.assign(entry, { base_revision: saved.revision, problem: null });
    schedule(0);
  } else {
    outbox.delete(sampleId);
    keepDraft(sampleId, null);
    if (shown.sample_id === sampleId) await show(sampleId);
  }
  tell();
}

function clock(iso) {
  return new Date(iso).toLocaleTimeString([], { hour: "2-digit", minute: "2-digit", second: "2-digit" });
}

function tell(problem = "") {
  const entry = shown && outbox.get(shown.sample_id);
  const others = outbox.size - (entry ? 1 : 0);
  let words = "", bad = true, actions = [];
  if (problem) {
    words = problem;
  } else if (entry && entry.problem) {
    words = `Not saved: ${entry.problem.words}.`;
    if (entry.problem.conflict) actions = [["Save mine", () => settle(shown.sample_id, true)], ["Take the saved one", () => settle(shown.sample_id, false)]];
  } else if (retryAt && outbox.size) {
    words = `Not saved: ${SILENT}; keep this page open.`;
    actions = [["Try now", send]];
  } else {
    bad = false;
    words = entry ? (isSending ? "Saving …" : "Not saved yet …") : !shown ? "Loading …" : shown.saved_at ? `Saved ${clock(shown.saved_at)}` : "Nothing given for this epoch yet";
  }
  if (others) words += ` ${others} other epoch${others > 1 ? "s" : ""} not saved yet.`;
  const place = byId("review-state");
  if (place.dataset.words === words) return; // a screen reader would say it again
  place.dataset.words = words;
  place.classList.toggle("bad", bad);
  place.replaceChildren(words, ...actions.map(([label, act]) => {
    const button = Object.assign(document.createElement("button"), { type: "button", textContent: label });
    button.addEventListener("click", act);
    return button;
  }));
}

// --- the queue --------------------------------------------------------------------------------
function showQueue() {
  const numComplete = queue.filter((entry) => entry.state === "complete").length;
  byId("review-count").textContent = `${numComplete} of ${queue.length} complete`;
  Object.assign(form.querySelector("progress"), { max: queue.length, value: numComplete });
  const select = byId("review-queue"), signs = { complete: "✓", begun: "…", open: " " };
  const choices = queue.map((entry, idx) => {
    const sure = entry.uncertainty === null ? "" : ` · uncertainty ${entry.uncertainty.toFixed(2)}`;
    return new Option(`${signs[entry.state]} ${idx + 1}. ${entry.recording} epoch ${entry.epoch_idx}${sure}`, entry.sample_id);
  });
  if (shown && !entryOf(shown.sample_id)) choices.unshift(new Option("an epoch outside the list", ""));
  select.replaceChildren(...choices);
  select.value = shown && entryOf(shown.sample_id) ? shown.sample_id : "";
}

function goTo(sampleId) {
  const entry = entryOf(sampleId);
  if (entry && entry.recording !== tslmPage.night.recording) {
    location.assign(`/?${new URLSearchParams({ recording: entry.recording })}#${encodeURIComponent(sampleId)}`);
    return;
  }
  const position = tslmPage.night.sample_id.indexOf(sampleId);
  if (position >= 0) tslmPage.select(position);
  byId("epoch").scrollIntoView({ block: "start" });
}

/** The next epoch of the queue that is not complete, round to its beginning. */
function saveAndNext() {
  if (outbox.size) send();
  const at = queue.findIndex((entry) => shown && entry.sample_id === shown.sample_id);
  const isOpen = (entry) => !(entry.state === "complete" || (outbox.has(entry.sample_id) && GROUPS.every((group) => outbox.get(entry.sample_id).fields[group] !== null)));
  const next = [...queue.slice(at + 1), ...queue.slice(0, Math.max(at, 0))].find(isOpen);
  if (next) goTo(next.sample_id);
  else byId("review-done").hidden = false;
  return next;
}

function goBack() {
  const at = queue.findIndex((entry) => shown && entry.sample_id === shown.sample_id);
  if (at > 0) goTo(queue[at - 1].sample_id);
}

async function show(sampleId) {
  shown = null;
  form.querySelector("#review-fields").disabled = true;
  byId("review-done").hidden = true;
  fillForm(EMPTY);
  tell();
  let saved;
  try {
    saved = await ask("/api/review", { reviewer, sample_id: sampleId });
  } catch (error) {
    if (wanted !== sampleId) return;
    tell(`Not loaded: ${error instanceof Refused ? error.message : SILENT}.`);
    setTimeout(() => { if (!shown && wanted === sampleId) show(sampleId); }, RELOAD_MS);
    return;
  }
  if (wanted !== sampleId) return; // another epoch was chosen meanwhile
  shown = { sample_id: sampleId, revision: saved.revision, saved_at: saved.saved_at };
  const waiting = outbox.get(sampleId);
  fillForm(waiting ? waiting.fields : saved);
  form.querySelector("#review-fields").disabled = false;
  showQueue();
  tell();
}

let wanted = null;
function onEpoch(event) {
  if (reviewer === null) return;
  const { sample_id: sampleId, answers } = event.detail;
  if (wanted === sampleId && shown) return;
  wanted = sampleId;
  if (outbox.size) schedule(0);
  history.replaceState(null, "", `#${encodeURIComponent(sampleId)}`);
  for (const input of form.elements.corrected_stage) {
    input.parentElement.classList.toggle("of-model", input.dataset.code === answers[form.dataset.system]);
  }
  show(sampleId);
}

// --- keys -------------------------------------------------------------------------------------
function onKey(event) {
  if (reviewer === null || byId("review-name").open || event.altKey || event.isComposing) return;
  const { target, key } = event;
  const isRadio = target.matches("input[type=radio]");
  if (key === "Enter" && (event.ctrlKey || event.metaKey)) return take(event, saveAndNext);
  if (event.ctrlKey || event.metaKey) return;
  if (key === "Escape" && target === form.comment) return take(event, () => form.comment.blur());
  if (target.closest("textarea, select, input:not([type=radio])")) return;
  if (key === "Enter" && !target.closest("button, a, summary")) return take(event, event.shiftKey ? goBack : saveAndNext);
  if (isRadio && (key === "ArrowLeft" || key === "ArrowRight")) return take(event, () => tslmPage.step(key === "ArrowLeft" ? -1 : 1));
  if (key === "c") return take(event, () => form.comment.focus());
  const group = activeGroup();
  const input = shown && group && [...form.elements[group]].find((choice) => choice.dataset.key === key.toLowerCase());
  if (input) take(event, () => choose(group, input));
}

function take(event, act) {
  event.preventDefault();
  act();
}

// --- who --------------------------------------------------------------------------------------
function askName(current) {
  const dialog = byId("review-name"), input = dialog.querySelector("input");
  input.value = current;
  input.setCustomValidity("");
  dialog.showModal();
}

async function begin(name) {
  const said = await ask("/api/queue", { reviewer: name });
  reviewer = name;
  queue = said.epochs;
  try { localStorage.setItem(NAME_KEY, name); } catch { /* asked again next time */ }
  byId("review-who").textContent = name;
  wanted = shown = null;
  loadDrafts();
  if (outbox.size) schedule(0);
  showQueue();
  const hash = decodeURIComponent(location.hash.slice(1));
  const first = queue.find((entry) => entry.state !== "complete") || queue[0];
  goTo(tslmPage.night.sample_id.includes(hash) ? hash : first.sample_id);
}

async function start() {
  form = byId("review");
  byId("review-fields").addEventListener("input", onChange);
  form.addEventListener("focusin", markActive);
  form.addEventListener("submit", (event) => event.preventDefault());
  byId("review-next").addEventListener("click", saveAndNext);
  byId("review-back").addEventListener("click", goBack);
  byId("review-queue").addEventListener("change", (event) => { if (event.target.value) goTo(event.target.value); });
  byId("review-who").addEventListener("click", () => askName(reviewer || ""));
  const dialog = byId("review-name");
  dialog.addEventListener("cancel", (event) => { if (reviewer === null) event.preventDefault(); });
  dialog.querySelector("form").addEventListener("submit", async (event) => {
    event.preventDefault();
    const input = dialog.querySelector("input");
    try {
      await begin(input.value);
      dialog.close();
    } catch (error) {
      input.setCustomValidity(error.message);
      input.reportValidity();
      input.addEventListener("input", () => input.setCustomValidity(""), { once: true });
    }
  });
  try {
    run = await ask("/api/run");
    const known = run.reviewer || localStorage.getItem(NAME_KEY);
    byId("review-who").disabled = run.reviewer !== null;
    if (known) await begin(known);
    else askName("");
  } catch (error) {
    byId("review-state").textContent = `The review could not begin: ${error.message}. Load the page again.`;
    byId("review-state").classList.add("bad");
  }
}

document.addEventListener("epoch", onEpoch);
document.addEventListener("keydown", onKey);
document.addEventListener("DOMContentLoaded", start);
document.addEventListener("visibilitychange", () => { if (document.hidden && outbox.size && !isSending) send(); });
addEventListener("beforeunload", (event) => { if (outbox.size) event.preventDefault(); });
})();
