// The same call from elsewhere.

const inShell = (text) => `'${text.replaceAll("'", "'\\''")}'`;

/** The call as curl and as Python; `image` is the file's name, or null. */
export function snippets(origin, text, image, token) {
  const curl = [
    `curl ${inShell(`${origin}/extract`)}`,
    ...(token ? ['  -H "Authorization: Bearer $PROMU_TOKEN"'] : []),
    `  --form-string ${inShell(`text=${text}`)}`,
    ...(image ? [`  -F ${inShell(`image=@${image}`)}`] : []),
  ].join(" \\\n");
  // JSON's way to write a text is also Python's, but for characters outside the first plane, which stay as they are.
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
