// The review form in the panel of the epoch. `window.tslmPage` and the event `epoch` are those of the report's page.
const RATINGS = ["accuracy", "completeness", "coherence"];
const GROUPS = [...RATINGS, "corrected_stage"];
const EMPTY = { accuracy: null, completeness: null, coherence: null, corrected_stage: null, comment: "" };
const RELOAD_MS = 2000;
const SILENT = "the server does not answer, trying again";

let run, form, reviewer = null, queue = [], shown = null; // shown: {sample_id, revision, saved_at}
let wanted = null; // sample_id of the epoch that is being loaded or shown

const byId = (id) => document.getElementById(id);
const isAnswered = (fields) => GROUPS.every((group) => fields[group] !== null);
const isEmpty = (fields) => Object.keys(EMPTY).every((field) => fields[field] === EMPTY[field]);
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
  const isNothing = isEmpty(entry.fields) && entry.base_revision === 0 && !isSending;
  if (isNothing) outbox.delete(shown.sample_id); // taken back before anything of it was sent
  else outbox.set(shown.sample_id, entry);
  keepDraft(shown.sample_id, isNothing ? null : entry);
  schedule(QUIET_MS);
  tell();
}

async function show(sampleId) {
  shown = null;
  form.querySelector("#review-fields").disabled = true;
  byId("review-done").hidden = true;
  fillForm(EMPTY);
  tell();
  const numBefore = numAccepted;
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
  if (numAccepted !== numBefore) return show(sampleId); // perhaps of this epoch, and perhaps after the server looked
  shown = { sample_id: sampleId, revision: saved.revision, saved_at: saved.saved_at };
  const waiting = outbox.get(sampleId);
  fillForm(waiting ? waiting.fields : saved);
  form.querySelector("#review-fields").disabled = false;
  selectInQueue();
  tell();
}

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
