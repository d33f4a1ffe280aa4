// What the scripts of the pages share: making elements, and labels in words.

function make(made, attributes, children) {
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  made.append(...children);
  return made;
}

/** An HTML element with attributes and children. */
export const element = (name, attributes = {}, ...children) => make(document.createElement(name), attributes, children);

/** An SVG element with attributes and children. */
export const svg = (name, attributes = {}, ...children) =>
  make(document.createElementNS("http://www.w3.org/2000/svg", name), attributes, children);

/** "/per/misc/performs" gives "performs", "place_of_residence" gives "place of residence". */
export const relationName = (label) => label.slice(label.lastIndexOf("/") + 1).replaceAll("_", " ") || label;

/** A share as whole percent, in words. */
export const percent = (share) => `${Math.round(100 * share)} %`;
