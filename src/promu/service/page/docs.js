// The OpenAPI document for people: each endpoint with its body, its answers, and an example.

import { element } from "/page/parts.js";

const plain = (text) => text.replaceAll("`", "");

function kind(schema) {
  if (schema.$ref) return schema.$ref.split("/").at(-1);
  if (schema.anyOf) return schema.anyOf.map(kind).join(" or ");
  if (schema.enum) return schema.enum.map((value) => JSON.stringify(value)).join(" or ");
  if (schema.type === "array") return `list of ${kind(schema.items ?? {})}`;
  return schema.format ?? schema.contentEncoding ?? schema.type ?? "anything";
}

function table(schema, caption) {
  const made = element("table", {}, element("caption", {}, caption));
  made.append(element("thead", {}, element("tr", {}, ...["name", "kind", "meaning"].map((name) => element("th", { scope: "col" }, name)))));
  const body = element("tbody");
  for (const [name, value] of Object.entries(schema.properties ?? {})) {
    const required = (schema.required ?? []).includes(name) ? "" : " (optional)";
    body.append(element("tr", {}, element("td", {}, element("code", {}, name), required), element("td", {}, kind(value)),
      element("td", {}, value.description ?? "")));
  }
  made.append(body);
  return element("div", { class: "scroll", tabindex: "0", role: "group", "aria-label": caption }, made);
}

async function show() {
  const api = await (await fetch("/openapi.json")).json();
  const resolve = (schema) => (schema?.$ref ? api.components.schemas[schema.$ref.split("/").at(-1)] : schema ?? {});
  const target = document.getElementById("endpoints");
  for (const [path, methods] of Object.entries(api.paths)) {
    for (const [method, operation] of Object.entries(methods)) {
      const part = element("section", { class: "endpoint" }, element("h2", {}, element("code", {}, `${method.toUpperCase()} ${path}`)),
        element("p", {}, plain(operation.description ?? operation.summary)));
      for (const [type, { schema }] of Object.entries(operation.requestBody?.content ?? {})) {
        part.append(table(resolve(schema), `Body, ${type}`));
        const example = resolve(schema).examples?.[0];
        if (example) {
          part.append(element("pre", { tabindex: "0", "aria-label": "Example" },
            `curl ${location.origin}${path} -H 'Content-Type: ${type}' -d '${JSON.stringify(example)}'`));
        }
      }
      const answers = element("ul");
      for (const [status, { description, content }] of Object.entries(operation.responses)) {
        const schema = Object.values(content ?? {})[0]?.schema;
        answers.append(element("li", {}, element("code", {}, status), ` ${description}${schema?.$ref ? `: ${kind(schema)}` : ""}`));
      }
      part.append(element("h3", {}, "Answers"), answers);
      target.append(part);
    }
  }
  for (const [name, schema] of Object.entries(api.components.schemas)) {
    if (name.endsWith("Out") && schema.properties) {
      target.append(element("section", { class: "endpoint" }, element("h2", {}, element("code", {}, name)),
        element("p", {}, plain(schema.description ?? "")), table(schema, "Fields")));
    }
  }
}
show();
