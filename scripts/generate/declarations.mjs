// Reads the FlatBuffers schemas: which tables and structs there are, and what they hold.
//
// It understands what the schemas use and refuses everything else, and what it makes of them is
// held against flatc's code.

import { rustGenerated, upperCase } from "./text.mjs";

const SCALAR_BYTES = {
  bool: 1,
  ubyte: 1,
  uint8: 1,
  uint16: 2,
  uint32: 4,
  int32: 4,
  uint64: 8,
  int64: 8,
};
/** What points to something: a vector, a string, a table. */
const OFFSET_BYTES = 4;

/**
 * The tables and structs of a schema, in its order: `[{kind, name, fields: [{name, bytes}]}]`.
 * A field's id is its place; a struct's fields have an `at` too, and the struct its `bytes` and `alignment`.
 */
export function declarationsOf(source) {
  const text = source.replace(/\/\/.*$/gm, "");
  const enums = new Map(
    [...text.matchAll(/\benum (\w+) : (\w+)/g)].map(([, name, type]) => [name, type]),
  );
  const found = [];
  /** Structs so far: one may stand inside a later one. */
  const structs = new Map();
  for (const [, kind, name, body] of text.matchAll(/\b(table|struct) (\w+) \{([^}]*)\}/g)) {
    const fields = body
      .split(";")
      .map((line) => line.trim())
      .filter((line) => line !== "")
      .map((line) => field(line, kind, enums, structs));
    const declaration = kind === "table" ? { kind, name, fields } : laidOut({ kind, name, fields });
    if (kind === "struct") structs.set(name, declaration);
    found.push(declaration);
  }
  return found;
}

function field(line, kind, enums, structs) {
  const parts = line.match(/^(\w+): (\w+|\[\w+\])(?: = \S+)?$/);
  if (parts === null) throw new Error(`not understood: ${line}`);
  const [, name, type] = parts;
  const bytes = SCALAR_BYTES[enums.get(type) ?? type];
  if (kind === "table") return { name, bytes: bytes ?? OFFSET_BYTES };
  const inner = structs.get(type);
  if (bytes === undefined && inner === undefined) throw new Error(`not a number: ${line}`);
  return { name, bytes: bytes ?? inner.bytes, alignment: bytes ?? inner.alignment };
}

/** Gives the fields of a struct their places: each at a multiple of its alignment. */
function laidOut(struct) {
  let at = 0;
  let alignment = 1;
  const fields = struct.fields.map((field) => {
    alignment = Math.max(alignment, field.alignment);
    at = Math.ceil(at / field.alignment) * field.alignment;
    const placed = { ...field, at };
    at += field.bytes;
    return placed;
  });
  return { ...struct, fields, alignment, bytes: Math.ceil(at / alignment) * alignment };
}

/** Throws unless flatc understood the schema as `declarationsOf` did. */
export function agree(schema, declarations, files) {
  const code = files.get(`${rustGenerated}/${schema}_generated.rs`);
  for (const { kind, name, fields, bytes } of declarations) {
    const agrees =
      kind === "struct"
        ? code.includes(`pub struct ${name}(pub [u8; ${bytes}]);`)
        : sameIds(code, name, fields);
    if (!agrees) throw new Error(`${schema}.fbs: ${name} was not understood`);
  }
}

/** Has flatc's code of a table the same fields in the same order, and no more? */
function sameIds(code, table, fields) {
  const begin = code.indexOf(`impl<'a> ${table}<'a> {`);
  const body = code.slice(begin, code.indexOf("pub fn create<", begin));
  const theirs = [...body.matchAll(/pub const VT_(\w+): \S+ = (\d+);/g)];
  const ours = fields.map(({ name }, id) => `${upperCase(name)} ${4 + 2 * id}`);
  return begin > 0 && theirs.map(([, name, place]) => `${name} ${place}`).join() === ours.join();
}
