// Where fields stand: ids and sizes of the fields of tables, places in structs.
//
// Bundlers inline such constants, while flatc's classes can't be taken apart; and the verifier in
// Rust reads tables without flatc's code.

import { mark, rustGenerated, snakeCase, typescriptGenerated, upperCase } from "./text.mjs";

/** `declarations`: schema -> its tables and structs. Returns relative path -> text. */
export function generateFields(declarations) {
  const all = [...declarations.values()].flat();
  const tables = all.filter(({ kind }) => kind === "table");
  const structs = all.filter(({ kind }) => kind === "struct");
  const travelling = declarations.get("wire").filter(({ kind }) => kind === "struct");
  return new Map([
    [`${rustGenerated}/fields.rs`, rustFields(tables)],
    [`${rustGenerated}/layout.rs`, rustLayout(structs)],
    [`${typescriptGenerated}/fields.ts`, typescriptFields(tables)],
    [`${typescriptGenerated}/layout.ts`, typescriptLayout(travelling)],
  ]);
}

function rustFields(tables) {
  const modules = tables.map(({ name, fields }) => {
    const ids = fields.map(
      (field, id) => `    pub const ${upperCase(field.name)}: usize = ${id};\n`,
    );
    const sizes = fields.map(({ bytes }) => bytes).join(", ");
    return (
      `/// Fields of \`${name}\` by id.\n` +
      `pub mod ${snakeCase(name)} {\n${ids.join("")}` +
      "    /// How many fields this version knows.\n" +
      `    pub const KNOWN: usize = ${fields.length};\n` +
      "    /// The bytes of each in the table.\n" +
      `    pub const SIZES: [u8; KNOWN] = [${sizes}];\n}\n`
    );
  });
  return `${mark("schemas/*.fbs")}//! The ids of fields, and how many fields a table has.\n\n${modules.join("\n")}`;
}

function rustLayout(structs) {
  const modules = structs.map(({ name, fields, bytes }) => {
    const places = fields.map((field) => {
      return `    pub const ${upperCase(field.name)}: usize = ${field.at};\n`;
    });
    return (
      `/// Where the fields of \`${name}\` stand, in bytes from its beginning.\n` +
      `pub mod ${snakeCase(name)} {\n${places.join("")}` +
      "    /// The bytes of the whole struct.\n" +
      `    pub const STRUCT_BYTES: usize = ${bytes};\n}\n`
    );
  });
  return `${mark("schemas/*.fbs")}//! The layout of structs. All numbers in them are little endian.\n\n${modules.join("\n")}`;
}

function typescriptFields(tables) {
  const blocks = tables.map(({ name, fields }) => {
    const table = upperCase(name);
    const ids = fields.map((field, id) => {
      return `export const ${table}_${upperCase(field.name)} = ${id};\n`;
    });
    return `export const ${table}_FIELDS = ${fields.length};\n${ids.join("")}`;
  });
  const purpose = "// The ids of fields, and how many fields a table has.\n\n";
  return `${mark("schemas/*.fbs")}${purpose}${blocks.join("\n")}`;
}

function typescriptLayout(structs) {
  const blocks = structs.map(({ name, fields, bytes }) => {
    const struct = upperCase(name);
    const places = fields.map((field) => {
      return `export const ${struct}_${upperCase(field.name)} = ${field.at};\n`;
    });
    return `export const ${struct}_BYTES = ${bytes};\n${places.join("")}`;
  });
  const purpose =
    "// The layout of structs: how many bytes each has, and where its fields stand in it.\n" +
    "// All numbers in them are little endian.\n\n";
  return `${mark("schemas/wire.fbs")}${purpose}${blocks.join("\n")}`;
}
