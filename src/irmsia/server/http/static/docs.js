// The page "/docs": sends the form of a route as it stands and shows what came back.
"use strict";

async function send(form) {
  const out = form.querySelector("output");
  const button = form.querySelector("button");
  const options = { method: form.dataset.method };
  let path = form.dataset.path;
  const body = new FormData();
  for (const field of form.elements) {
    if (!field.name || (field.type !== "file" && field.value === "")) continue;
    if (field.dataset.in === "path") path = path.replace(`{${field.name}}`, encodeURIComponent(field.value));
    else if (field.type === "file") for (const file of field.files) body.append(field.name, file);
    else body.append(field.name, field.value);
  }
  if (options.method !== "GET") options.body = body;
  button.disabled = true;
  out.replaceChildren();
  try {
    const reply = await fetch(path, options);
    const text = await reply.text();
    const pre = document.createElement("pre");
    pre.textContent = `${reply.status} ${reply.headers.get("content-type") || ""}\n\n${pretty(text)}`;
    out.append(pre);
  } catch (error) {
    out.textContent = form.dataset.unreached;
  } finally {
    button.disabled = false;
  }
}

function pretty(text) {
  try {
    return JSON.stringify(JSON.parse(text), (key, value) =>
      typeof value === "string" && value.length > 300 ? `${value.slice(0, 60)}… (${value.length})` : value, 2);
  } catch (error) {
    return text;
  }
}

for (const form of document.querySelectorAll("form.try")) {
  form.addEventListener("submit", (event) => { event.preventDefault(); send(form); });
}

function openNamed() {
  const named = location.hash && document.getElementById(location.hash.slice(1));
  if (named && named.tagName === "DETAILS") named.open = true;
}
addEventListener("hashchange", openNamed);
openNamed();
