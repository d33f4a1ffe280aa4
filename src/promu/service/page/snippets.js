// The same request as code.

const inShell = (text) => `'${text.replaceAll("'", "'\\''")}'`;

/** The request as curl and as Python; `image` is the file's name, or null. */
export function snippets(origin, text, image, token) {
  const curl = [
    `curl ${inShell(`${origin}/extract`)}`,
    ...(token ? ['  -H "Authorization: Bearer $PROMU_TOKEN"'] : []),
    `  --form-string ${inShell(`text=${text}`)}`,
    ...(image ? [`  -F ${inShell(`image=@${image}`)}`] : []),
  ].join(" \\\n");
  // a JSON string is also a Python string
  const quoted = (value) => JSON.stringify(value);
  const python = [
    `import ${image ? "base64, " : ""}json, ${token ? "os, " : ""}urllib.request`,
    "",
    `post = {"text": ${quoted(text)}}`,
    ...(image
      ? [`with open(${quoted(image)}, "rb") as file:`, '    post["image"] = base64.b64encode(file.read()).decode()']
      : []),
    'headers = {"Content-Type": "application/json"}',
    ...(token ? ['headers["Authorization"] = f"Bearer {os.environ[\'PROMU_TOKEN\']}"'] : []),
    `request = urllib.request.Request(${quoted(`${origin}/extract`)}, json.dumps(post).encode(), headers)`,
    "print(json.load(urllib.request.urlopen(request)))",
  ].join("\n");
  return { curl, python };
}
