// The relations of a post as a graph in which no two texts meet, whatever the width.
//
// Where there is room the entities stand in a row, in the order of the text, with arrows between and above them. Else they
// stand in a column, and each relation is a box beside it, joined to its head and, with an arrow, to its tail.
import { relationName, svg } from "/page/parts.js";

const [NODE, LEVEL, PORT, MARGIN] = [44, 32, 14, 4]; // height of a node and of a level of arcs; distance of two lines; edge
const MOST_ARCS = 6;
const LINE = 16; // height of a line of a label

const pen = document.createElement("canvas").getContext("2d");
function wide(text, font) {
  pen.font = `${font} ${getComputedStyle(document.body).fontFamily}`;
  return Math.ceil(pen.measureText(text).width * 1.03) + 1;
}
const nameWidth = (text) => wide(text, "600 15px");
const kindWidth = (text) => wide(text, "700 10px") + text.length / 2;
const labelWidth = (text) => wide(text, "500 12px");

/** The text, cut with an ellipsis where it is wider than `most`. */
function cut(text, most, width) {
  if (width(text) <= most) return text;
  const points = Array.from(text);
  let [least, over] = [0, points.length];
  while (least + 1 < over) {
    const middle = (least + over) >> 1;
    if (width(`${points.slice(0, middle).join("")}…`) <= most) least = middle;
    else over = middle;
  }
  return `${points.slice(0, least).join("")}…`;
}

/** The text in at most two lines of a width. */
function lines(text, most) {
  if (labelWidth(text) <= most) return [text];
  const words = text.split(" ");
  let count = words.length - 1;
  while (count > 1 && labelWidth(words.slice(0, count).join(" ")) > most) count -= 1;
  if (count < 1) return [cut(text, most, labelWidth)];
  return [words.slice(0, count).join(" "), words.slice(count).join(" ")].map((line) => cut(line, most, labelWidth));
}

/** Where each line meets its node, one beside the other: the middle `at`, and of each end the place it is sorted by. */
function ports(ends, at, step) {
  return ends.toSorted((one, other) => one.by - other.by)
    .map((end, place) => ({ ...end, at: at + step * (place - (ends.length - 1) / 2) }));
}

/** Entities in a row, `extra` farther apart than they need be; null where they and their labels are wider than `width`. */
function placeRow(nodes, edges, width, extra) {
  const order = new Map(nodes.map((node, place) => [node.number, place]));
  const straight = new Map();
  const arcs = [];
  for (const edge of edges) {
    const [head, tail] = [order.get(edge.head), order.get(edge.tail)];
    const gap = Math.min(head, tail);
    if (Math.abs(head - tail) === 1 && !straight.has(gap)) straight.set(gap, { ...edge, head, tail });
    else arcs.push({ ...edge, head, tail });
  }
  if (arcs.length > MOST_ARCS) return null;
  arcs.sort((one, other) => Math.abs(one.head - one.tail) - Math.abs(other.head - other.tail));
  const top = MARGIN + (arcs.length ? LEVEL * arcs.length + 8 : 0);
  let x = MARGIN;
  const placed = nodes.map((node, place) => {
    const w = Math.max(node.w, PORT * (1 + arcs.filter((arc) => arc.head === place || arc.tail === place).length));
    const box = { ...node, w, h: NODE, x, y: top };
    x += w + (place === nodes.length - 1 ? 0 : extra + (straight.has(place) ? labelWidth(straight.get(place).label) + 36 : 44));
    return box;
  });
  let [left, right] = [0, x + MARGIN];
  const drawn = [...straight.entries()].map(([gap, edge]) => {
    const [from, to] = [placed[gap].x + placed[gap].w, placed[gap + 1].x];
    const y = top + NODE / 2;
    const [start, end] = edge.head < edge.tail ? [from + 3, to - 5] : [to - 3, from + 5];
    return { ...edge, paths: [[`M${start} ${y}H${end}`, true]], x: (from + to) / 2, y: y - 14, lines: [edge.label] };
  });
  const at = new Map();
  for (const [place, node] of placed.entries()) {
    const ends = arcs.flatMap((arc, level) => [arc.head, arc.tail].flatMap((end, side) => (end !== place ? [] : [
      // from left to right: arcs from the left, inner ones first; then arcs to the right, outer ones first
      { key: `${level} ${side}`, by: [arc.head, arc.tail][1 - side] > place ? 1000 - level : level - 1000 },
    ])));
    for (const end of ports(ends, node.x + node.w / 2, PORT)) at.set(end.key, end.at);
  }
  for (const [level, arc] of arcs.entries()) {
    const [start, end] = [at.get(`${level} 0`), at.get(`${level} 1`)];
    const y = top - LEVEL * (level + 1) + 10;
    const bend = end > start ? 8 : -8;
    const path = `M${start} ${top - 2}V${y + 8}Q${start} ${y} ${start + bend} ${y}H${end - bend}Q${end} ${y} ${end} ${y + 8}V${top - 5}`;
    const middle = (start + end) / 2;
    const half = labelWidth(arc.label) / 2 + 8;
    [left, right] = [Math.min(left, middle - half), Math.max(right, middle + half)];
    drawn.push({ ...arc, paths: [[path, true]], x: middle, y, lines: [arc.label], under: true });
  }
  const spare = width - (right - left);
  if (spare < 0) return null;
  const shift = spare / 2 - left;
  return { nodes: placed, edges: drawn, spare, shift, height: top + NODE + MARGIN };
}

/** Entities in a row, with some of the room that is left between them; null where there is no room. */
function row(nodes, edges, width) {
  const tight = placeRow(nodes, edges, width, 0);
  return tight && (placeRow(nodes, edges, width, Math.min(70, Math.floor(tight.spare / nodes.length))) ?? tight);
}

/** Entities in a column, relations in a column beside it: fits every width. */
function columns(nodes, edges, width) {
  const most = Math.floor(width * 0.46);
  const column = Math.min(most, Math.max(...nodes.map((node) => node.w)));
  const room = Math.floor(width - column - 2 * MARGIN - 56 - 18);
  const boxes = edges.map((edge) => ({ ...edge, lines: lines(edge.label, room) }));
  const lw = Math.max(...boxes.flatMap((box) => box.lines.map(labelWidth))) + 18;
  const count = new Map(nodes.map((node) => [node.number, boxes.filter((box) => box.head === node.number || box.tail === node.number).length]));
  const heights = nodes.map((node) => Math.max(NODE, 9 * count.get(node.number) + 12));
  const tall = boxes.map((box) => LINE * box.lines.length + 12);
  const needed = Math.max(
    heights.reduce((sum, h) => sum + h, 0) + 18 * (nodes.length - 1), tall.reduce((sum, h) => sum + h, 0) + 10 * (boxes.length - 1));
  const spare = (needed - heights.reduce((sum, h) => sum + h, 0)) / Math.max(nodes.length - 1, 1);
  const left = Math.max(MARGIN, (width - column - lw - Math.min(140, width - column - lw - 2 * MARGIN)) / 2);
  let y = MARGIN;
  const placed = nodes.map((node, place) => {
    const box = { ...node, name: cut(node.name, column - 20, nameWidth), w: column, h: heights[place], x: left, y };
    y += heights[place] + spare;
    return box;
  });
  const middle = new Map(placed.map((node) => [node.number, node.y + node.h / 2]));
  const wanted = (box) => (middle.get(box.head) + middle.get(box.tail)) / 2;
  const order = boxes.map((box, place) => ({ ...box, h: tall[place] }))
    .toSorted((one, other) => wanted(one) - wanted(other) || one.head - other.head);
  let below = MARGIN;
  for (const box of order) {
    box.top = Math.max(wanted(box) - box.h / 2, below);
    below = box.top + box.h + 10;
  }
  let above = MARGIN + needed;
  for (const box of order.toReversed()) {
    box.top = Math.min(box.top, above - box.h);
    above = box.top - 10;
  }
  const x = left + column + Math.min(140, Math.max(56, width - left - column - lw - MARGIN));
  const at = new Map();
  for (const node of placed) {
    const ends = order.flatMap((box) => ["head", "tail"].flatMap((side) => (box[side] !== node.number ? [] : [
      { key: `${box.number} ${side}`, by: box.top + (side === "head" ? 0 : 0.5) }])));
    for (const end of ports(ends, node.y + node.h / 2, 9)) at.set(end.key, end.at);
  }
  const edge = left + column;
  const drawn = order.map((box) => {
    const [head, tail, bend] = [at.get(`${box.number} head`), at.get(`${box.number} tail`), (x - edge) / 2];
    const centre = box.top + box.h / 2;
    return { ...box, x: x + lw / 2, y: centre, under: true, boxed: true, wide: lw, paths: [
      [`M${edge + 2} ${head}C${edge + bend} ${head} ${x - bend} ${centre - 4} ${x - 1} ${centre - 4}`, false],
      [`M${x - 1} ${centre + 4}C${x - bend} ${centre + 4} ${edge + bend} ${tail} ${edge + 5} ${tail}`, true],
    ] };
  });
  return { nodes: placed, edges: drawn, shift: 0, height: needed + 2 * MARGIN };
}

/** Draw the relations among the entities that they join; `style` gives an entity type's class. */
export function drawGraph(target, found, style) {
  const joined = [...new Set(found.relations.flatMap((relation) => [relation.head, relation.tail]))].sort((a, b) => a - b);
  if (!joined.length) {
    target.replaceChildren(Object.assign(document.createElement("p"), { textContent: "The model found no relation." }));
    return;
  }
  const width = target.clientWidth;
  const nodes = joined.map((number) => {
    const { text, type } = found.entities[number];
    const name = cut(text.replace(/\s+/g, " "), 220, nameWidth);
    const kind = type ?? "";
    return { number, name, kind, style: style(type), full: text, w: Math.max(nameWidth(name), kindWidth(kind), 40) + 24 };
  });
  const edges = found.relations.map(({ head, tail, type }, number) => ({ number, head, tail, label: relationName(type) }));
  const laid = row(nodes, edges, width) ?? columns(nodes, edges, width);
  const sentences = found.triples.map(([head, label, tail]) => `${head} ${relationName(label)} ${tail}`);
  const image = svg("svg", { viewBox: `${-laid.shift} 0 ${width} ${laid.height}`, role: "img", "aria-label": `Graph: ${sentences.join("; ")}` });
  image.append(svg("defs", {}, svg("marker",
    { id: "tip", viewBox: "0 0 8 8", refX: 6, refY: 4, markerWidth: 8, markerHeight: 8, orient: "auto", markerUnits: "userSpaceOnUse" },
    svg("path", { class: "tip", d: "M0 0 8 4 0 8z" }))));
  for (const edge of laid.edges) {
    image.append(svg("g", { class: "edge", "data-relation": edge.number },
      ...edge.paths.map(([d, tip]) => svg("path", { d, ...(tip ? { "marker-end": "url(#tip)" } : {}) }))));
  }
  for (const edge of laid.edges) {
    const group = svg("g", { class: `edge${edge.boxed ? " boxed" : ""}`, "data-relation": edge.number });
    const high = LINE * edge.lines.length + (edge.boxed ? 12 : 2);
    const across = edge.wide ?? Math.max(...edge.lines.map(labelWidth)) + 10;
    if (edge.under) group.append(svg("rect", { class: "under", x: edge.x - across / 2, y: edge.y - high / 2, width: across, height: high, rx: 8 }));
    for (const [place, line] of edge.lines.entries()) {
      const text = svg("text", { class: "label", x: edge.x, y: edge.y + 4 + LINE * (place - (edge.lines.length - 1) / 2) });
      text.textContent = line;
      group.append(text);
    }
    const whole = svg("title");
    whole.textContent = edge.label;
    group.append(whole);
    image.append(group);
  }
  for (const node of laid.nodes) {
    const [x, y] = [node.x + node.w / 2, node.y + node.h / 2];
    const name = svg("text", { class: "name", x, y: y + (node.kind ? 0 : 5) });
    name.textContent = node.name;
    const kind = svg("text", { class: "kind", x, y: y + 14 });
    kind.textContent = cut(node.kind, node.w - 12, kindWidth);
    const whole = svg("title");
    whole.textContent = `${node.full} ${node.kind}`;
    image.append(svg("g", { class: `node ${node.style}`, "data-entity": node.number },
      svg("rect", { x: node.x, y: node.y, width: node.w, height: node.h, rx: 12 }), name, kind, whole));
  }
  target.replaceChildren(image);
}
