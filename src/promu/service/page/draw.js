// An extraction as marked text, scores, and attention over words and image.
import { element, percent, relationName } from "/page/parts.js";

const NAMES = { PER: "person", ORG: "organisation", LOC: "place", MISC: "other", OTHER: "other" };
const $ = (id) => document.getElementById(id);

let styles = {}; // by type in capitals, as the service gives them
/** Take over the styles of the model's entity types. */
export function useStyles(given) { styles = given; }

/** The style class of an entity type: the same on every page and in every report. */
export const style = (type) => styles[(type ?? "").toUpperCase()] ?? "other";

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
    const mark = element("mark", { class: `entity ${style(entity.type)}`, "data-entity": number });
    fill(mark, entity.char_end);
    mark.append(element("small", {}, entity.type ?? ""));
    target.append(mark);
  }
  fill(target, points.length);
  const types = [...new Set(found.entities.map((entity) => entity.type))].sort();
  legend.replaceChildren(...types.map((type) =>
    element("li", { class: style(type) }, type in NAMES ? `${type} ${NAMES[type]}` : type ?? "no type")));
}

function scoreLine(data, kind, what, score) {
  const line = element("button", { type: "button", ...data }, element("span", { class: "what" }, ...what));
  if (score !== null) {
    const bar = element("span");
    bar.style.width = `${100 * score}%`;
    line.append(element("span", { class: "score" }, score.toFixed(2)), element("span", { class: "track", "aria-hidden": "true" }, bar));
  }
  return element("li", { class: kind }, line);
}

/** Entities and relations as two lists, with a bar a score: as long as the score, of the whole line for 1. */
export function drawScores(entities, relations, found) {
  const none = (words) => [element("li", {}, element("p", {}, words))];
  const lines = found.entities.map((entity, number) =>
    scoreLine({ "data-entity": number }, style(entity.type),
      [entity.text, element("small", {}, entity.type ?? "")], entity.score));
  entities.replaceChildren(...(lines.length ? lines : none("None")));
  const links = found.relations.map((relation, number) =>
    scoreLine({ "data-relation": number }, "link",
      [found.entities[relation.head].text, element("em", {}, ` ${relationName(relation.type)} `),
        found.entities[relation.tail].text], relation.score));
  relations.replaceChildren(...(links.length ? links : none("None")));
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
    const word = document.querySelector(`[data-word="${attention.start + place}"]`);
    if (word) word.style.boxShadow = `inset 0 -${(0.35 * share / most).toFixed(3)}em color-mix(in srgb, var(--link) 30%, transparent)`;
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
