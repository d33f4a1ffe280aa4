// An extraction as marked text, scores, a graph, and attention over words and image.

const SVG = "http://www.w3.org/2000/svg";
const NAMES = { PER: "person", ORG: "organisation", LOC: "place", MISC: "other", OTHER: "other" };
const COLOURS = { PER: 0, ORG: 1, LOC: 2, MISC: 3, OTHER: 3 };
const $ = (id) => document.getElementById(id);

function element(name, attributes = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  made.append(...children);
  return made;
}

function svg(name, attributes = {}, ...children) {
  const made = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  made.append(...children);
  return made;
}

/** The style class of an entity type; types other than the usual four share the remaining colours. */
function colour(type, entities) {
  if (type in COLOURS) return `c${COLOURS[type]}`;
  const others = [...new Set(entities.map((entity) => entity.type))].filter((other) => !(other in COLOURS));
  return `c${4 + (others.indexOf(type) % 2)}`;
}

/** "/per/misc/performs" gives "performs", "place_of_residence" gives "place of residence". */
export const relationName = (label) => label.slice(label.lastIndexOf("/") + 1).replaceAll("_", " ");
const percent = (share) => `${Math.round(100 * share)} %`;

/** Where each token stands in the text's code points. */
function places(points, tokens) {
  const found = [];
  let from = 0;
  for (const token of tokens) {
    const wanted = Array.from(token);
    while (from < points.length && !wanted.every((point, offset) => points[from + offset] === point)) from += 1;
    found.push([from, from + wanted.length]);
    from += wanted.length;
  }
  return found;
}

/** The post with its entities marked. The service counts code points, JavaScript counts UTF-16 units. */
export function drawText(target, legend, text, found) {
  const points = Array.from(text);
  const words = places(points, found.tokens);
  const between = (start, end) => points.slice(start, end).join("");
  target.replaceChildren();
  let done = 0;
  let word = 0;
  const fill = (parent, end) => {
    for (; word < words.length && words[word][0] < end; word += 1) {
      const [start, stop] = words[word];
      if (start > done) parent.append(between(done, start));
      parent.append(element("span", { class: "word", "data-word": word }, between(start, stop)));
      done = stop;
    }
    if (end > done) parent.append(between(done, end));
    done = Math.max(done, end);
  };
  for (const [number, entity] of found.entities.entries()) {
    fill(target, entity.char_start);
    const mark = element("span", { class: `entity ${colour(entity.type, found.entities)}`, "data-entity": number });
    fill(mark, entity.char_end);
    mark.append(element("span", { class: "kind" }, entity.type ?? ""));
    target.append(mark);
  }
  fill(target, points.length);
  const types = [...new Set(found.entities.map((entity) => entity.type))].sort();
  legend.replaceChildren(...types.map((type) =>
    element("li", { class: colour(type, found.entities) }, type in NAMES ? `${type} ${NAMES[type]}` : type ?? "no type")));
}

function scoreLine(data, kind, what, score) {
  const bar = element("i");
  bar.style.width = percent(score ?? 0);
  const button = element("button", { type: "button", ...data }, element("span", { class: "what" }, ...what),
    element("span", { class: "score" }, score === null ? "" : score.toFixed(2)),
    element("span", { class: "bar", "aria-hidden": "true" }, bar));
  return element("li", { class: kind }, button);
}

/** Entities and relations as two lists, with a bar a score. */
export function drawScores(entities, relations, found) {
  const none = (words) => [element("li", {}, element("p", {}, words))];
  const lines = found.entities.map((entity, number) =>
    scoreLine({ "data-entity": number }, colour(entity.type, found.entities),
      [entity.text, element("small", {}, entity.type ?? "")], entity.score));
  entities.replaceChildren(...(lines.length ? lines : none("None")));
  const links = found.relations.map((relation, number) =>
    scoreLine({ "data-relation": number }, "link",
      [found.entities[relation.head].text, element("em", {}, ` ${relationName(relation.type)} `),
        found.entities[relation.tail].text], relation.score));
  relations.replaceChildren(...(links.length ? links : none("None")));
}

/** The point where the line from a node's middle towards another point leaves its box. */
function border(node, towards) {
  const [dx, dy] = [towards.x - node.x, towards.y - node.y];
  const scale = Math.min(node.w / 2 / Math.abs(dx || 1e-9), node.h / 2 / Math.abs(dy || 1e-9));
  return { x: node.x + dx * scale, y: node.y + dy * scale };
}

function layOut(nodes, width) {
  if (nodes.length === 2 && nodes[0].w + nodes[1].w + 190 <= width) {
    nodes[0].x = 24 + nodes[0].w / 2;
    nodes[1].x = width - 24 - nodes[1].w / 2;
    nodes[0].y = nodes[1].y = 70;
    return 140;
  }
  if (nodes.length <= 3 && width < 480) {
    nodes.forEach((node, place) => { node.x = width / 2 + (nodes.length > 2 ? (place % 2 ? 40 : -40) : 0); node.y = 44 + place * 104; });
    return 88 + (nodes.length - 1) * 104;
  }
  const widest = Math.max(...nodes.map((node) => node.w));
  const height = Math.max(200, 60 + nodes.length * 46);
  nodes.forEach((node, place) => {
    const angle = Math.PI + (2 * Math.PI * place) / nodes.length;
    node.x = width / 2 + (width / 2 - widest / 2 - 16) * Math.cos(angle);
    node.y = height / 2 + (height / 2 - 34) * Math.sin(angle);
  });
  return height;
}

/** The relations as a graph of the entities that they join. */
export function drawGraph(target, found) {
  const joined = [...new Set(found.relations.flatMap((relation) => [relation.head, relation.tail]))].sort((a, b) => a - b);
  if (!joined.length) {
    target.replaceChildren(element("p", {}, "The model found no relation."));
    return;
  }
  const width = target.clientWidth;
  const pen = document.createElement("canvas").getContext("2d");
  pen.font = "16px Georgia, serif";
  const nodes = new Map(joined.map((number) => {
    const text = found.entities[number].text;
    const words = Array.from(text).length > 24 ? `${Array.from(text).slice(0, 23).join("")}…` : text;
    return [number, { number, words, w: pen.measureText(words).width + 36, h: 38 }];
  }));
  const height = layOut([...nodes.values()], width);
  const sentences = found.triples.map(([head, label, tail]) => `${head} ${relationName(label)} ${tail}`);
  const image = svg("svg", { viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": `Graph: ${sentences.join("; ")}` });
  image.append(svg("defs", {}, svg("marker",
    { id: "tip", viewBox: "0 0 8 8", refX: 7, refY: 4, markerWidth: 8, markerHeight: 8, orient: "auto", markerUnits: "userSpaceOnUse" },
    svg("path", { d: "M0 0 8 4 0 8z" }))));
  for (const [number, relation] of found.relations.entries()) {
    const [head, tail] = [nodes.get(relation.head), nodes.get(relation.tail)];
    const middle = { x: (head.x + tail.x) / 2, y: (head.y + tail.y) / 2 };
    const bend = nodes.size > 2 ? 0.08 : 0;
    const control = { x: middle.x - (tail.y - head.y) * bend, y: middle.y + (tail.x - head.x) * bend };
    const [from, to] = [border(head, control), border(tail, control)];
    const label = svg("text", { x: (from.x + 2 * control.x + to.x) / 4, y: (from.y + 2 * control.y + to.y) / 4 - (Math.abs(tail.y - head.y) < 40 ? 8 : -4) });
    label.textContent = relationName(relation.type);
    image.append(svg("g", { class: "edge", "data-relation": number },
      svg("path", { d: `M${from.x} ${from.y}Q${control.x} ${control.y} ${to.x} ${to.y}`, "marker-end": "url(#tip)" }), label));
  }
  for (const node of nodes.values()) {
    const words = svg("text", { x: node.x, y: node.y + 5 });
    words.textContent = node.words;
    image.append(svg("g", { class: `node ${colour(found.entities[node.number].type, found.entities)}`, "data-entity": node.number },
      svg("rect", { x: node.x - node.w / 2, y: node.y - node.h / 2, width: node.w, height: node.h, rx: 6 }), words));
  }
  target.replaceChildren(image);
}

const REST = "Point at an entity or a relation to see its attention.";

/** Remove the attention. */
export function forget() {
  $("shade").width = 1; // a canvas that is given a size is clear again
  $("regions").replaceChildren();
  $("seen-words").textContent = REST;
  for (const lit of document.querySelectorAll(".lit")) lit.classList.remove("lit");
  for (const word of document.querySelectorAll(".word")) word.style.boxShadow = "";
}

/** Show the attention for one answer: light on patches and words, frames around regions with much of it. */
export function attend(found, { entity, relation }) {
  forget();
  const ofEntity = entity !== undefined;
  const number = Number(ofEntity ? entity : relation);
  for (const part of document.querySelectorAll(`#result [data-${ofEntity ? "entity" : "relation"}="${number}"]`)) {
    (part.closest("li") ?? part).classList.add("lit");
  }
  const attention = found.explanation?.[ofEntity ? "entities" : "relations"][number];
  if (!attention) return;
  const most = Math.max(...attention.words, 1e-9);
  for (const [place, share] of attention.words.entries()) {
    const word = document.querySelector(`[data-word="${place}"]`);
    if (word) word.style.boxShadow = `inset 0 -${(0.35 * share / most).toFixed(3)}em color-mix(in srgb, var(--accent) 30%, transparent)`;
  }
  const { patches, regions } = attention;
  if (!patches.length) return;
  const shade = $("shade");
  [shade.width, shade.height] = [patches[0].length, patches.length];
  const pen = shade.getContext("2d");
  const veil = pen.createImageData(shade.width, shade.height);
  const [least, brightest] = [Math.min(...patches.flat()), Math.max(...patches.flat())];
  for (const [place, share] of patches.flat().entries()) {
    veil.data[4 * place + 3] = Math.round(255 * 0.78 * (1 - (share - least) / Math.max(brightest - least, 1e-9)));
  }
  pen.putImageData(veil, 0, 0);
  for (const { box: [x0, y0, x1, y1] } of regions) {
    const box = element("i");
    Object.assign(box.style, { left: `${100 * x0}%`, top: `${100 * y0}%`, width: `${100 * (x1 - x0)}%`, height: `${100 * (y1 - y0)}%` });
    $("regions").append(box);
  }
  const name = ofEntity ? found.entities[number].text : relationName(found.relations[number].type);
  const sum = (shares) => shares.reduce((total, share) => total + share, 0);
  $("seen-words").textContent = `For “${name}” the model gave ${percent(sum(patches.flat()))} of its attention to the image ` +
    `and ${percent(sum(attention.words))} to the words; the brightest parts got the most.`;
}
