// What the reviewer said and the server does not have yet. Every change goes out at once; what could not be taken stays
// here and in the browser's storage, and is sent again.
const QUIET_MS = 600; // after the last keystroke before a change is sent
const RETRY_MS = [1000, 2000, 4000, 8000, 15000];
const outbox = new Map(); // sample_id -> {fields, base_revision, problem}
let timer = 0, isSending = false, numFailures = 0, retryAt = 0, numAccepted = 0;

const draftKey = (sampleId) => `tslm-review/${run.store_id}/${reviewer}/${sampleId}`;

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
    if (!key.startsWith(prefix)) continue;
    try {
      outbox.set(key.slice(prefix.length), JSON.parse(localStorage.getItem(key)));
    } catch {
      localStorage.removeItem(key);
    }
  }
}

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
  numAccepted += 1;
  markInQueue(sampleId, isAnswered(saved) ? "complete" : isEmpty(saved) ? "open" : "begun");
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
