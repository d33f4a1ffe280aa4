// The page: the form, the request and its answer. draw.js and graph.js draw it, snippets.js has the code to copy.
import { attend, drawScores, drawText, forget, style, useStyles } from "/page/draw.js";
import { drawGraph } from "/page/graph.js";
import { element, relationName } from "/page/parts.js";
import { snippets } from "/page/snippets.js";

const $ = (id) => document.getElementById(id);
const form = $("post");
let file = null; // the image: a File or a Blob, or null
let running = null; // the AbortController of the current request
let shown = null; // text and extraction in the result section
let model = null; // what the service says of the model; null until it has answered
async function ask() {
  try {
    if (model === null) {
      const answer = await fetch("/model");
      if (answer.ok) showModel(await answer.json());
    }
  } catch { /* the request that follows reports that the service cannot be reached */ }
  return model?.explains ?? false;
}

const count = (number, one, many = `${one}s`) => `${number} ${number === 1 ? one : many}`;

/** Which model answers: its name, what it finds, and below that its files. */
function showModel(answer) {
  model = answer;
  useStyles(answer.styles);
  $("model-name").textContent = answer.name;
  const finds = [count(answer.entity_types.length, "type of entity", "types of entities"),
    answer.relation_types.length ? count(answer.relation_types.length, "relation") : "no relations"];
  $("model-tasks").textContent = `finds ${finds.join(" and ")}${answer.reads_images ? "" : "; reads text alone"}`;
  $("model-types").replaceChildren(...answer.entity_types.map((type) => element("li", { class: `kind ${style(type)}` }, type)));
  const facts = answer.parts.flatMap((part) => [
    ["task", `${part.task} (${part.does})`],
    ["weights", `${part.checksum.slice(0, 12)} (SHA-256 of ${part.file}), of ${part.saved.slice(0, 10)}`],
  ]);
  const from = (threshold) => (threshold ? `from a score of ${threshold.toFixed(2)}` : "with any score");
  if (answer.entity_threshold !== null) facts.push(["entities", from(answer.entity_threshold)]);
  if (answer.relation_threshold !== null) facts.push(["relations", from(answer.relation_threshold)]);
  facts.push(["labels of relations", answer.relation_types.map(relationName).join(", ") || "none"], ["computes", `${answer.backend}, ${answer.precision}`]);
  $("model-facts").replaceChildren(...facts.flatMap(([name, what]) => [element("dt", {}, name), element("dd", {}, what)]));
  $("model-warnings").replaceChildren(...answer.warnings.map((warning) => element("li", {}, warning)));
  $("model-warnings").hidden = !answer.warnings.length;
  $("model").hidden = false;
}

function say(sentence) {
  const text = sentence.trim();
  $("error").textContent = text ? text[0].toUpperCase() + text.slice(1) + (/[.!?]$/.test(text) ? "" : ".") : "";
}

function take(image) {
  file = image;
  const thumb = $("thumb");
  if (thumb.src) URL.revokeObjectURL(thumb.src);
  thumb.hidden = !file;
  $("remove").hidden = !file;
  $("pick").classList.toggle("full", Boolean(file));
  $("pick-words").hidden = Boolean(file);
  if (file) {
    thumb.src = URL.createObjectURL(file);
    thumb.alt = "The image that will be sent";
  } else {
    thumb.removeAttribute("src");
    thumb.alt = "";
    $("image").value = "";
  }
}

function inBase64(blob) {
  return new Promise((done, failed) => {
    const reader = new FileReader();
    reader.onload = () => done(reader.result.slice(reader.result.indexOf(",") + 1));
    reader.onerror = () => failed(new Error("the image could not be read; choose it again"));
    reader.readAsDataURL(blob);
  });
}

// JSON, not a form: a form turns each line end into two characters, which shifts the offsets.
async function call(text, image, signal) {
  const headers = { "Content-Type": "application/json" };
  if ($("token").value) headers.Authorization = `Bearer ${$("token").value}`;
  const bytes = image ? await inBase64(image) : null;
  const explain = await ask();
  let answer;
  try {
    answer = await fetch("/extract", {
      method: "POST", headers, signal, body: JSON.stringify({ text, image: bytes, explain }),
    });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Error("the service cannot be reached; check that it runs, then try again");
  }
  const body = await answer.json();
  if (answer.status === 401) {
    $("token-field").hidden = false;
    $("token").focus();
  }
  if (!answer.ok) throw new Error(body.error);
  return body;
}

async function extract() {
  const text = $("text").value;
  say("");
  if (!text.trim()) {
    say("the post is empty; type or paste one");
    $("text").focus();
    $("result").hidden = true;
    return;
  }
  running?.abort();
  running = new AbortController();
  const mine = running;
  const image = file;
  $("go").setAttribute("aria-disabled", "true");
  $("status").textContent = "Extracting …";
  try {
    const found = await call(text, image, mine.signal);
    show(text, image, found);
    $("status").textContent = `${count(found.entities.length, "entity", "entities")}, ` +
      `${count(found.relations.length, "relation", "relations")}.`;
  } catch (error) {
    if (error.name === "AbortError") return;
    $("status").textContent = "";
    $("result").hidden = true; // the answer to an earlier post is none to this one
    say(error.message);
  } finally {
    if (running === mine) $("go").removeAttribute("aria-disabled");
  }
}

function show(text, image, found) {
  const frame = $("shown-image");
  if (frame.src) URL.revokeObjectURL(frame.src);
  $("seen").hidden = !image;
  document.querySelector(".read").classList.toggle("bare", !image);
  if (image) frame.src = URL.createObjectURL(image);
  else frame.removeAttribute("src");
  shown = { text, found };
  $("result").hidden = false;
  drawText($("annotated"), $("legend"), text, found);
  drawScores($("entities"), $("relations"), found);
  drawGraph($("graph"), found, style);
  const { explanation, ...plain } = found; // too long to copy
  const notes = [];
  notes.push(...found.warnings);
  if (found.image_reason === "text-only model") notes.push("This model reads text alone; it did not use the image.");
  const left = (many, threshold, one) => (many ? [`${count(many, ...one)} with a score below ${threshold.toFixed(2)}`] : []);
  const below = [...left(found.below.entities, model?.entity_threshold ?? 0, ["entity", "entities"]),
    ...left(found.below.relations, model?.relation_threshold ?? 0, ["relation"])];
  if (below.length) notes.push(`Left out: ${below.join(", and ")}.`);
  if (!explanation) notes.push("This model gives no attention.");
  $("seen-words").hidden = !explanation;
  $("notes").replaceChildren(...notes.map((note) => element("li", {}, note)));
  $("notes").hidden = !notes.length;
  $("panel-json").textContent = JSON.stringify(plain, null, 2);
  const name = image ? image.name || "photo.png" : null;
  const calls = snippets(location.origin, text, name, Boolean($("token").value));
  $("panel-curl").textContent = calls.curl;
  $("panel-python").textContent = calls.python;
  forget();
  $("result").focus();
}

// An answer under the pointer or with the focus shows its attention.
for (const event of ["pointerover", "focusin"]) {
  $("result").addEventListener(event, (moved) => {
    const part = moved.target.closest("[data-entity], [data-relation]");
    if (part && shown) attend(shown.found, part.dataset);
    else if (event === "pointerover" && !moved.target.closest(".frame")) forget();
  });
}

// Tabs with arrow keys.
const tabs = [...document.querySelectorAll('[role="tab"]')];
function choose(tab) {
  for (const other of tabs) {
    const chosen = other === tab;
    other.setAttribute("aria-selected", String(chosen));
    other.tabIndex = chosen ? 0 : -1;
    $(other.getAttribute("aria-controls")).hidden = !chosen;
  }
}
for (const [place, tab] of tabs.entries()) {
  tab.addEventListener("click", () => choose(tab));
  tab.addEventListener("keydown", (pressed) => {
    const step = { ArrowRight: 1, ArrowLeft: -1 }[pressed.key];
    if (!step) return;
    const next = tabs[(place + step + tabs.length) % tabs.length];
    choose(next);
    next.focus();
  });
}
$("copy").addEventListener("click", async () => {
  const panel = document.querySelector('[role="tabpanel"]:not([hidden])');
  try {
    await navigator.clipboard.writeText(panel.textContent);
    $("copy").textContent = "Copied";
  } catch {
    // only a page over https or from this machine may write to the clipboard; else select the text for the keyboard
    getSelection().selectAllChildren(panel);
    $("copy").textContent = "Selected: press Ctrl+C";
  }
  setTimeout(() => { $("copy").textContent = "Copy"; }, 2000);
});

form.addEventListener("submit", (sent) => {
  sent.preventDefault();
  extract();
});
$("text").addEventListener("keydown", (pressed) => {
  if (pressed.key === "Enter" && (pressed.ctrlKey || pressed.metaKey)) extract();
});
$("image").addEventListener("change", () => { if ($("image").files.length) take($("image").files[0]); });
$("remove").addEventListener("click", () => { take(null); $("image").focus(); });
const carried = (data) => [...(data?.files ?? [])][0];
document.addEventListener("dragover", (over) => { over.preventDefault(); document.body.classList.add("dragging"); });
document.addEventListener("dragleave", () => document.body.classList.remove("dragging"));
document.addEventListener("drop", (dropped) => {
  document.body.classList.remove("dragging");
  const image = carried(dropped.dataTransfer);
  if (!image) return; // dropped text goes into the text field
  dropped.preventDefault();
  take(image);
});
document.addEventListener("paste", (pasted) => {
  const image = carried(pasted.clipboardData);
  if (image) take(image);
});
let width = innerWidth;
addEventListener("resize", () => {
  if (shown && !$("result").hidden && innerWidth !== width) drawGraph($("graph"), shown.found, style);
  width = innerWidth;
});

// Small images are shown with their pixels as squares.
for (const image of [$("thumb"), $("shown-image")]) {
  image.addEventListener("load", () => image.classList.toggle("pixel", Math.max(image.naturalWidth, image.naturalHeight) <= 128));
}

async function offerExamples() {
  const answer = await fetch("/examples");
  const examples = answer.ok ? await answer.json() : [];
  $("offer").hidden = !examples.length;
  for (const example of examples) {
    const button = element("button", { type: "button" });
    if (example.image) button.append(element("img", { src: example.image, alt: "", class: "pixel" }));
    button.append(element("span", { class: "title" }, example.title), element("span", { class: "text" }, example.text));
    button.addEventListener("click", async () => {
      const image = example.image ? await (await fetch(example.image)).blob() : null;
      $("text").value = example.text;
      take(image && new File([image], example.image.slice(example.image.lastIndexOf("/") + 1), { type: image.type }));
      extract();
    });
    $("examples").append(element("li", {}, button));
  }
}
ask();
offerExamples();
