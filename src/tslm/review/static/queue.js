// The queue of epochs, the keys that work through it, and who is reviewing.
const NAME_KEY = "tslm-reviewer";
const SIGNS = { complete: "✓", begun: "…", open: "\u2007" };
const LEAVE_MS = 3000; // at most, for what is still being saved

function fillQueue() {
  const isOneNight = queue.every((entry) => entry.recording === queue[0].recording);
  byId("review-queue").replaceChildren(...queue.map((entry, idx) => {
    const name = `${isOneNight ? "" : `${entry.recording} `}epoch ${entry.epoch_idx}`;
    const sure = entry.uncertainty === null ? "" : `, uncertainty ${entry.uncertainty.toFixed(2)}`;
    entry.option = new Option("", entry.sample_id);
    entry.words = `${idx + 1}. ${name}${sure}`;
    return entry.option;
  }), new Option("an epoch outside the list", ""));
  for (const entry of queue) markInQueue(entry.sample_id, entry.state);
}

function markInQueue(sampleId, state) {
  const entry = entryOf(sampleId);
  if (!entry) return;
  entry.state = state;
  entry.option.textContent = `${SIGNS[state]} ${entry.words}`;
  const numComplete = queue.filter((other) => other.state === "complete").length;
  byId("review-count").textContent = `${numComplete} of ${queue.length} complete`;
  Object.assign(form.querySelector("progress"), { max: queue.length, value: numComplete });
}

function selectInQueue() {
  byId("review-queue").value = entryOf(wanted) ? wanted : "";
}

async function goTo(sampleId) {
  const entry = entryOf(sampleId);
  if (entry && entry.recording !== tslmPage.night.recording) {
    const latest = Date.now() + LEAVE_MS;
    while (outbox.size && Date.now() < latest) await new Promise((resolve) => setTimeout(resolve, 50));
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
  const at = queue.findIndex((entry) => entry.sample_id === wanted);
  const isOpen = ({ sample_id: sampleId, state }) => !(outbox.has(sampleId) ? isAnswered(outbox.get(sampleId).fields) : state === "complete");
  const next = [...queue.slice(at + 1), ...queue.slice(0, Math.max(at, 0))].find(isOpen);
  if (next) goTo(next.sample_id);
  else byId("review-done").hidden = queue.some(isOpen);
}

function goBack() {
  const at = queue.findIndex((entry) => entry.sample_id === wanted);
  if (at > 0) goTo(queue[at - 1].sample_id);
}

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

function askName(current) {
  const dialog = byId("review-name"), input = dialog.querySelector("input");
  input.value = current;
  input.setCustomValidity("");
  dialog.showModal();
}

async function begin(name) {
  if (outbox.size) throw new Error(`Some reviews of ${reviewer} are not saved yet; wait until they are`);
  const said = await ask("/api/queue", { reviewer: name });
  reviewer = name;
  queue = said.epochs;
  try { localStorage.setItem(NAME_KEY, name); } catch { /* asked again next time */ }
  byId("review-who").textContent = name;
  wanted = shown = null;
  loadDrafts();
  if (outbox.size) schedule(0);
  fillQueue();
  byId("review-export").href = `/api/export.csv?${new URLSearchParams({ reviewer })}`;
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
