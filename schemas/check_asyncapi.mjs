// Checks schemas/asyncapi.yaml with the official AsyncAPI parser, which knows more rules than its JSON Schema:
//
//   npm install --no-save --prefix build/asyncapi @asyncapi/parser@3
//   NODE_PATH=build/asyncapi/node_modules node schemas/check_asyncapi.mjs
//
// Prints each finding; exits 1 when one of them is an error. The tests need no npm: they use the JSON Schema alone.
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";

const { Parser } = createRequire(import.meta.url)("@asyncapi/parser");
const file = new URL("asyncapi.yaml", import.meta.url);
const { document, diagnostics } = await new Parser().parse(readFileSync(file, "utf8"), { source: file.pathname });
for (const found of diagnostics) {
  const severity = ["error", "warning", "info", "hint"][found.severity];
  console.log(`asyncapi.yaml:${found.range.start.line + 1}: ${severity}: ${found.path.join(".")}: ${found.message} (${found.code})`);
}
if (document === undefined || diagnostics.some((found) => found.severity === 0)) {
  process.exit(1);
}
console.log(`ok: ${document.channels().length} channels, ${document.operations().length} operations, ${document.messages().length} messages`);
