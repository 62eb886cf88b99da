// The page "/": sends one file to POST /api/v1/dicom/diagnose and shows the answer. No text becomes markup here.
"use strict";

const words = JSON.parse(document.body.dataset.words);
const labels = JSON.parse(document.body.dataset.labels);
const form = document.getElementById("ask");
const drop = document.getElementById("drop");
const file = document.getElementById("file");
const button = document.getElementById("send");
const state = document.getElementById("state");
const answer = document.getElementById("answer");

function make(tag, text, className) {
  const element = document.createElement(tag);
  if (text !== undefined && text !== null) element.textContent = text;
  if (className) element.className = className;
  return element;
}

function word(group, key) {
  return key === null || key === undefined ? "–" : (words[`${group}.${key}`] || key);
}

function percent(value) {
  if (value === null || value === undefined) return "–";
  return new Intl.NumberFormat(document.documentElement.lang, { style: "percent", maximumFractionDigits: 1 }).format(value);
}

function fact(list, name, value, className) {
  list.append(make("dt", name));
  const cell = make("dd");
  cell.append(className ? make("span", value, className) : document.createTextNode(value));
  list.append(cell);
}

function findingsTable(findings) {
  const table = make("table");
  const head = make("tr");
  for (const name of ["finding", "state", "probability"]) {
    const cell = make("th", words[name]);
    cell.scope = "col";
    head.append(cell);
  }
  table.append(make("thead"), make("tbody"));
  table.tHead.append(head);
  for (const finding of findings) {
    const row = make("tr");
    row.append(make("td", labels[finding.code] || finding.label), make("td", word("state", finding.state)));
    row.append(make("td", percent(finding.probability), "number"));
    table.tBodies[0].append(row);
  }
  const scroll = make("div", null, "scroll");
  scroll.append(table);
  return scroll;
}

function facts(body) {
  const list = make("dl", null, "facts");
  fact(list, words.decision, word("decision", body.decision), `badge ${body.decision}`);
  if (body.reason) fact(list, words.reason, word("reason", body.reason));
  if (body.region) fact(list, words.region, word("region", body.region));
  if (body.primary) fact(list, words.abnormal, percent(body.primary.probability));
  if (body.severity) fact(list, words.severity, word("severity", body.severity.level));
  if (body.risk) fact(list, words.risk, `${Math.round(body.risk.score)} / 100 (${word("risk", body.risk.level)})`);
  if (body.urgency) fact(list, words.urgency, word("urgency", body.urgency));
  if (body.model) fact(list, words.model, `${body.model.name} ${body.model.version}`);
  if (body.timings_ms) fact(list, words.time, `${Math.round(body.timings_ms.total)} ms`);
  return list;
}

function listOf(texts) {
  const list = make("ul", null, "soft");
  for (const text of texts) list.append(make("li", text));
  return list;
}

function picture(body) {
  const overlay = body.explanation && body.explanation.overlay_png;
  if (!overlay) return null;
  const figure = make("figure");
  const image = make("img", null, "picture");
  image.src = `data:image/png;base64,${overlay}`;
  const term = labels[body.explanation.term] || body.explanation.term;
  image.alt = words.map.replace("{}", term);
  figure.append(image, make("figcaption", `${image.alt} ${words.map_note}`));
  return figure;
}

function whole(body) {
  const details = make("details");
  details.append(make("summary", words.whole), make("pre", JSON.stringify(body, shorten, 2)));
  return details;
}

function shorten(key, value) {
  return typeof value === "string" && value.length > 300 ? `${value.slice(0, 60)}… (${value.length})` : value;
}

function show(body) {
  const text = make("div");
  text.append(facts(body));
  if (body.findings.length) text.append(make("h3", words.findings), findingsTable(body.findings));
  if (body.warnings.length) text.append(make("h3", words.limits), listOf(body.warnings.map((warning) => warning.text)));
  const drawn = picture(body);
  const pair = make("div", null, drawn ? "pair two" : "pair");
  pair.append(text);
  if (drawn) pair.append(drawn);
  answer.append(pair, make("p", words.disclaimer, "lead"), whole(body));
}

function showProblem(problem) {
  const list = make("dl", null, "facts");
  fact(list, words.failed, problem.code, "badge FAILED");
  fact(list, words.why, problem.detail);
  answer.append(list, whole(problem));
}

function tell(text) {
  state.textContent = text;
}

async function ask() {
  if (!file.files.length) return tell(words.none);
  button.disabled = true;
  answer.replaceChildren(make("h2", file.files[0].name));
  answer.hidden = false;
  const progress = make("progress");
  progress.setAttribute("aria-label", words.working);
  answer.append(progress);
  tell(words.working);
  try {
    const reply = await fetch("/api/v1/dicom/diagnose", { method: "POST", body: new FormData(form) });
    const body = await reply.json();
    progress.remove();
    (reply.ok ? show : showProblem)(body);
    tell(reply.ok ? words.done : `${words.failed}: ${body.code}`);
  } catch (error) {
    progress.remove();
    tell(words.unreached);
  } finally {
    button.disabled = false;
  }
}

form.addEventListener("submit", (event) => { event.preventDefault(); ask(); });
for (const name of ["dragover", "dragleave", "drop"]) {
  drop.addEventListener(name, (event) => {
    event.preventDefault();
    drop.classList.toggle("over", name === "dragover");
    if (name === "drop" && event.dataTransfer.files.length) {
      file.files = event.dataTransfer.files;
      ask();
    }
  });
}
