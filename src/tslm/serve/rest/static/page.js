"use strict";

const COMPANIONS = /\.(eeg|vmrk|fdt)$/i;
const POLL_MS = 1500;
const SHOWN = {
  total_sleep_min: ["Total sleep", "min"], sleep_efficiency_percent: ["Sleep efficiency", "%"],
  sleep_onset_latency_min: ["Sleep onset", "min"], rem_latency_min: ["REM latency", "min"], waso_min: ["WASO", "min"],
};
const LINKS = { html: "report in a tab", csv: "CSV", json: "JSON", bids: "BIDS events", bids_sidecar: "BIDS sidecar", edf: "EDF+ annotations",
  events: "waveforms", explanations: "texts", statistics: "statistics" };
const cards = new Map();
const find = (selector, from = document) => from.querySelector(selector);

function say(text) { find("#message").textContent = text; }

async function ask(path, options = {}) {
  const answer = await fetch(path, options);
  const body = answer.status === 204 ? null : await answer.json();
  if (!answer.ok) throw new Error(body.error);
  return body;
}

function fill(select, names) {
  for (const name of names) select.add(new Option(name, name));
}

/* A form a recording: what is called the same belongs to it. */
function group(files) {
  const stem = (file) => file.name.replace(/\.[^.]*$/, "");
  const mains = files.filter((file) => !COMPANIONS.test(file.name));
  if (!mains.length) say("These files belong to a recording; choose its header, too.");
  return mains.map((main) => [main, ...files.filter((file) => COMPANIONS.test(file.name) && stem(file) === stem(main))]);
}

function collectOptions() {
  const query = new URLSearchParams();
  for (const [name, value] of new FormData(find("#upload"))) {
    if (typeof value !== "string" || !value.trim()) continue;
    query.append(name, name === "read" ? `fs_hz=${value.trim()}` : value.trim());
  }
  return query;
}

function addCard(file) {
  const card = find("#card").content.firstElementChild.cloneNode(true);
  find("h2", card).textContent = file;
  find("#jobs").prepend(card);
  find("#none").hidden = true;
  return card;
}

function show(card, state, detail, share) {
  card.className = state;
  find(".state", card).textContent = state;
  find(".detail", card).textContent = detail;
  const bar = find("progress", card);
  bar.hidden = state === "done" || state === "failed";
  if (share === undefined) bar.removeAttribute("value"); else bar.value = share;
}

function upload(files) {
  const card = addCard(files[0].name);
  const query = collectOptions();
  const request = new XMLHttpRequest();
  const form = new FormData();
  for (const file of files) form.append("file", file);
  const fail = (why) => show(card, "failed", why);
  const drop = find(".delete", card);
  drop.textContent = "Cancel";
  drop.onclick = () => { request.abort(); card.remove(); };
  request.upload.onprogress = (event) => {
    show(card, "uploading", `${(event.loaded / 1e6).toFixed(1)} of ${(event.total / 1e6).toFixed(1)} MB`, event.loaded / event.total);
  };
  request.onerror = () => fail("The service cannot be reached.");
  request.onload = () => {
    const body = JSON.parse(request.responseText);
    if (request.status === 202) {
      adopt(body.id, card);
      update(body);
      return;
    }
    if (request.status !== 429) { fail(body.error); return; }
    const waitS = Number(request.getResponseHeader("Retry-After")) || 10;
    show(card, "waiting", `The service is busy; the recording is sent again in ${waitS} s.`);
    setTimeout(() => { if (card.isConnected) { card.remove(); upload(files); } }, 1000 * waitS);
  };
  request.open("POST", `/v1/jobs?${query}`);
  show(card, "uploading", "", 0);
  request.send(form);
}

function adopt(id, card) {
  cards.set(id, { card, state: "" });
  const drop = find(".delete", card);
  drop.textContent = "Delete";
  drop.onclick = async () => {
    if (cards.get(id).state === "done" && !confirm("Delete this night with its results?")) return;
    try { await ask(`/v1/jobs/${id}`, { method: "DELETE" }); } catch (error) { say(error.message); return; }
    cards.delete(id);
    card.remove();
    find("#none").hidden = cards.size > 0;
  };
  find(".explain", card).onsubmit = async (event) => {
    event.preventDefault();
    const body = JSON.stringify({ epochs: find("input", event.target).value });
    const headers = { "content-type": "application/json" };
    try {
      const job = await ask(`/v1/jobs/${id}/explanations`, { method: "POST", headers, body });
      adopt(job.id, addCard(job.file));
      update(job);
      say("");
    } catch (error) { say(error.message); }
  };
}

function describe(job) {
  if (job.state === "waiting") return [`place ${job.place} in the queue`];
  if (job.state === "running") {
    const seconds = Math.max(0, Math.round((Date.now() - Date.parse(job.started_at)) / 1000));
    return job.progress > 0 ? [`texts: ${Math.round(100 * job.progress)} %, after ${seconds} s`, job.progress] : [`staged for ${seconds} s`];
  }
  if (job.state === "failed") return [job.error];
  const explained = job.options.explain === "none" ? "" : `, texts: ${job.options.explain}`;
  return [`staged in ${((Date.parse(job.ended_at) - Date.parse(job.started_at)) / 1000).toFixed(0)} s${explained}`];
}

function update(job) {
  if (!cards.has(job.id)) adopt(job.id, addCard(job.file));
  const held = cards.get(job.id);
  show(held.card, job.state, ...describe(job));
  if (job.state === "done" && held.state !== "done") showResults(held.card, job);
  held.state = job.state;
}

async function showResults(card, job) {
  find("h2", card).textContent = job.file;
  const picture = find(".picture", card);
  picture.href = job.results.png;
  find("img", picture).src = job.results.png;
  find("img", picture).alt = `Hypnogram of ${job.file} over the probabilities of the stages`;
  const links = find(".links", card);
  for (const [name, label] of Object.entries(LINKS)) {
    if (!job.results[name]) continue;
    const link = document.createElement("a");
    link.href = job.results[name];
    link.textContent = label;
    if (name === "html") link.target = "_blank"; else link.download = "";
    links.append(link);
  }
  const report = find(".show", card);
  report.hidden = !job.results.html;
  report.onclick = () => toggleReport(card, report, job);
  find(".done", card).hidden = false;
  const { statistics, warnings } = await ask(job.results.statistics);
  const list = find("dl", card);
  for (const [name, [label, unit]] of Object.entries(SHOWN)) {
    const term = document.createElement("dt");
    const value = document.createElement("dd");
    term.textContent = label;
    value.textContent = statistics[name] === null ? "–" : `${statistics[name].toFixed(unit === "%" ? 1 : 0)} ${unit}`;
    const pair = document.createElement("div");
    pair.append(term, value);
    list.append(pair);
  }
  if (warnings.length) find(".detail", card).after(Object.assign(document.createElement("p"), { className: "soft", textContent: warnings.join(" ") }));
}

function toggleReport(card, button, job) {
  const open = find("iframe", card);
  if (open) open.remove();
  else {
    const frame = document.createElement("iframe");
    frame.title = `Report of ${job.file}`;
    frame.src = job.results.html;
    card.append(frame);
  }
  button.textContent = open ? "Show the report" : "Hide the report";
  button.setAttribute("aria-expanded", String(!open));
}

async function poll() {
  try {
    const { jobs } = await ask("/v1/jobs?limit=50");
    for (const job of jobs.reverse()) update(job);
    const there = new Set(jobs.map((job) => job.id));
    for (const [id, { card, state }] of cards) {
      if (!there.has(id) && state !== "done" && state !== "failed") { card.remove(); cards.delete(id); }
    }
    if (find("#message").dataset.lost) { say(""); delete find("#message").dataset.lost; }
  } catch {
    say("The service does not answer; the page tries again.");
    find("#message").dataset.lost = "yes";
  }
  setTimeout(poll, POLL_MS);
}

function listen() {
  const drop = find("#drop");
  const take = (files) => { say(""); for (const each of group([...files])) upload(each); };
  find("#files").onchange = (event) => { take(event.target.files); event.target.value = ""; };
  find("#upload").onsubmit = (event) => event.preventDefault();
  for (const name of ["dragover", "dragleave", "drop"]) {
    window.addEventListener(name, (event) => {
      event.preventDefault();
      drop.classList.toggle("over", name === "dragover");
      if (name === "drop") take(event.dataTransfer.files);
    });
  }
}

async function start() {
  listen();
  try {
    const { version, models, smoothing, formats } = await ask("/version");
    fill(find("[name=model]"), models);
    fill(find("[name=smoothing]"), smoothing);
    find("#formats").textContent = formats.join("  ");
    find("#version").textContent = `tslm ${version}.`;
  } catch (error) { say(error.message); }
  poll();
}

start();
