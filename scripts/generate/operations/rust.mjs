// operations.json -> generated/operations.rs: types, what the verifier demands of each kind, readers
// and encoders.

import { mark, pascalCase, upperCase } from "../text.mjs";
import { available } from "./table.mjs";

const HOLD_VALUES = new Set(["bytes", "start", "end", "value"]);

/** The file. */
export function rustOperations({ guards, operations }) {
  const kinds = {
    guard: { type: "Guard", table: "guard", rows: guards.filter(available) },
    operation: { type: "Operation", table: "operation", rows: operations.filter(available) },
  };
  const { guard, operation } = kinds;
  const flags = operation.rows
    .flatMap(({ fields }) => fields)
    .filter(({ form }) => form === "flag");
  const flagNames = flags.map(({ name }) => `FLAG_${upperCase(name)}`);
  return `${mark("schemas/operations.json")}//! Guards and operations: their types, the fields each kind has, and how they are read and written.

use flatbuffers::{FlatBufferBuilder, WIPOffset};

use super::{fields, wire};
use crate::limits;
use crate::table::{Position, VerifiedTable};
use crate::transaction::{ValueRef, builder as encode, read::read_value, shape::{Shape, UNSUPPORTED, bits}};

${flags.map(({ bit }, at) => `const ${flagNames[at]}: u8 = ${1 << bit};\n`).join("")}/// All bits of \`Operation.flags\` that mean something.
pub(crate) const FLAGS: u8 = ${flagNames.join(" | ")};

/// A condition; all of a transaction's guards must hold for its operations to run.
${types(guard)}
/// One step of a transaction's branch.
${types(operation)}
impl Operation<'_> {
    /// May it change anything?
    pub fn is_write(&self) -> bool {
        !matches!(
            self,
            ${reading(operation.rows).join(" | ")}
        )
    }
}

/// What each kind of guard demands; the kinds between are reserved or unknown.
${shapes(guard)}
/// What each kind of operation demands; the kinds between are reserved or unknown.
${shapes(operation)}
${reader(guard)}
${reader(operation)}
${writer(guard)}
${writer(operation)}`;
}

function reading(rows) {
  const read = rows.filter(({ access }) => access === "read");
  return read.map(({ name }) => `Self::${pascalCase(name)} { .. }`);
}

const sentence = (text) => `${text[0].toUpperCase()}${text.slice(1)}.`;

function types({ type, rows }) {
  const variants = rows.map(({ name, fields, text }) => {
    const members = fields.map((field) => {
      return `        /// ${sentence(field.text)}\n        ${field.property}: ${rustType(field)},\n`;
    });
    return `    /// ${sentence(text)}\n    ${pascalCase(name)} {\n${members.join("")}    },\n`;
  });
  const derives = "#[derive(Clone, Copy, Debug, PartialEq, Eq)]\n";
  return `${derives}pub enum ${type}<'a> {\n${variants.join("")}}\n`;
}

function rustType({ form, optional, limit, wire }) {
  const type = {
    bytes: "&'a [u8]",
    start: "&'a [u8]",
    end: "&'a [u8]",
    number: "i64",
    value: "ValueRef<'a>",
    revision: "u64",
    whole: `u${8 * wire.bytes}`,
    flag: "bool",
  }[form];
  // What is left out has a meaning of its own, or is none.
  const said = form === "start" || form === "flag" || limit !== undefined;
  return optional && !said ? `Option<${type}>` : type;
}

function shapes({ table, rows }) {
  const length = 1 + Math.max(...rows.map(({ number }) => number));
  const lines = rows.map((row) => {
    const { number, name, access, space, fields } = row;
    const required = fields.filter(({ form, optional }) => {
      return !optional && form !== "start" && form !== "end" && form !== "value";
    });
    const names = (list) => [...new Set(list.map(({ wire }) => upperCase(wire.name)))];
    const either = fields.some(({ form }) => form === "value");
    const allowed = ["KIND", "SPACE", ...names(fields), ...(either ? ["NUMBER"] : [])];
    return (
      `    // ${name}\n    shapes[${number}] = Shape {\n` +
      `        allowed: bits(&[${allowed.join(", ")}]),\n` +
      `        required: bits(&[${["KIND", ...names(required)].join(", ")}]),\n` +
      `        value_or_number: ${either},\n` +
      `        ranges: ${fields.some(({ form }) => form === "start")},\n` +
      `        writes: ${access === "write"},\n` +
      `        names_space: ${space === "meta"},\n    };\n`
    );
  });
  return (
    `pub(crate) const ${table.toUpperCase()}_SHAPES: [Shape; ${length}] = {\n` +
    `    use fields::${table}::*;\n` +
    `    let mut shapes = [UNSUPPORTED; ${length}];\n${lines.join("")}    shapes\n};\n`
  );
}

function reader({ type, table, rows }) {
  const arms = rows.map(({ name, number, fields }) => {
    const members = fields.map((field) => `${field.property}: ${readExpression(field)}`);
    return `        ${number} => ${type}::${pascalCase(name)} { ${members.join(", ")} },\n`;
  });
  return `/// Reads a ${table} that was verified.
#[inline]
pub(crate) fn read_${table}(bytes: &[u8], at: Position) -> Option<${type}<'_>> {
    use fields::${table}::*;
    let table = VerifiedTable::open(bytes, at)?;
    let key = table.vector(KEY).unwrap_or_default();
    Some(match table.u8(KIND)? {
${arms.join("")}        _ => return None,
    })
}
`;
}

function readExpression({ name, form, optional, limit, wire }) {
  const field = upperCase(wire.name);
  const must = optional ? "" : "?";
  switch (form) {
    case "bytes":
    case "start":
      return wire.name === "key" ? "key" : `table.vector(${field})${must}`;
    case "end":
      return `table.vector(${field})`;
    case "number":
      return `table.i64(${field})${must}`;
    case "value":
      return "read_value(&table, VALUE, NUMBER)?";
    case "flag":
      return `table.u8(${field}).unwrap_or_default() & FLAG_${upperCase(name)} != 0`;
    default: {
      const read = `table.u${8 * wire.bytes}(${field})`;
      if (limit === undefined) return `${read}${must}`;
      const most = `limits::${limit.toUpperCase()} as u${8 * wire.bytes}`;
      return `${read}.map_or(${most}, |${name}| ${name}.min(${most}))`;
    }
  }
}

function writer({ type, table, rows }) {
  const arms = rows.map(({ name, fields }) => {
    const members = fields.map(({ property }) => property).join(", ");
    const lines = [`arguments.kind = wire::${type}Kind::${name};`, ...writeStatements(fields)];
    const body = lines.map((line) => `            ${line}\n`).join("");
    return `        ${type}::${pascalCase(name)} { ${members} } => {\n${body}        }\n`;
  });
  return `/// Writes a ${table}; checks nothing.
pub(crate) fn encode_${table}<'b>(
    builder: &mut FlatBufferBuilder<'b>,
    ${table}: ${type}<'_>,
) -> WIPOffset<wire::${type}<'b>> {
    let mut arguments = wire::${type}Args::default();
    match ${table} {
${arms.join("")}    }
    wire::${type}::create(builder, &arguments)
}
`;
}

function writeStatements(fields) {
  const flags = fields.filter(({ form }) => form === "flag");
  const bits = flags.map(({ property, name }) => {
    return `(u8::from(${property}) * FLAG_${upperCase(name)})`;
  });
  const statements = fields
    .filter(({ form }) => form !== "flag")
    .map(({ property, form, optional, limit, wire }) => {
      const place = `arguments.${wire.name}`;
      if (form === "value") {
        return `(arguments.value, arguments.number) = encode::value(builder, ${property});`;
      }
      if (form === "end" || (form === "bytes" && optional)) {
        return `${place} = ${property}.and_then(|bytes| encode::bytes(builder, bytes));`;
      }
      if (HOLD_VALUES.has(form)) return `${place} = encode::${form}(builder, ${property});`;
      if (limit !== undefined) {
        const most = `limits::${limit.toUpperCase()}`;
        return `${place} = (u64::from(${property}) != ${most}).then_some(${property});`;
      }
      return `${place} = ${optional ? property : `Some(${property})`};`;
    });
  return bits.length === 0 ? statements : [...statements, `arguments.flags = ${bits.join(" | ")};`];
}
