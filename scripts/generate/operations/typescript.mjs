// operations.json -> types and encoders of the SDK, and apart from them the forms in JSON, which a
// bundle of the SDK leaves out.

import { camelCase, mark, upperCase } from "../text.mjs";
import { available, inJson } from "./table.mjs";

const source = "schemas/operations.json";
const TYPES = {
  bytes: "Uint8Array",
  start: "Uint8Array",
  end: "Uint8Array | undefined",
  number: "bigint",
  value: "StoredValue",
  revision: "bigint",
  whole: "number",
  flag: "boolean",
};

/** Types, numbers of kinds, encoders. */
export function typescriptOperations({ guards, operations }) {
  const guard = { type: "Guard", rows: guards.filter(available) };
  const operation = { type: "Operation", rows: operations.filter(available) };
  const reading = operation.rows.filter(({ access }) => access === "read");
  return `${mark(source)}// Guards and operations: their types, the numbers of their kinds, and how their numbers are written.

import type { Builder } from "flatbuffers";
import { addI64, addU32, addU64 } from "../builder.js";
import * as field from "./fields.js";

/** What a key holds: bytes, or a number of 64 bits. */
export type StoredValue = Uint8Array | bigint;

/** A condition; all guards of a transaction must hold for \`then\` to run. */
${union(guard)}
/** One step of a branch. */
${union(operation)}
/** May this operation change anything? */
export function isWrite(operation: Operation): boolean {
  return ${reading.map(({ name }) => `operation.kind !== "${camelCase(name)}"`).join(" && ")};
}

${numbers(guard)}
${numbers(operation)}
// A table's fields are laid from its end: the widest first leaves no gaps.

${writer(guard)}
${writer(operation)}
${flags(operation)}`;
}

function union({ type, rows }) {
  const members = rows.map(({ name, fields, text }) => {
    const properties = fields.map((each) => {
      const optional = each.optional && each.form !== "start" && each.form !== "end";
      const kind = optional ? `${TYPES[each.form]} | undefined` : TYPES[each.form];
      const documented = `      /** ${each.text} */\n`;
      const property = `${camelCase(each.property)}${optional ? "?" : ""}`;
      return `${documented}      readonly ${property}: ${kind};\n`;
    });
    const kind = `      readonly kind: "${camelCase(name)}";\n`;
    return `  /** ${text} */\n  | {\n${kind}${properties.join("")}    }\n`;
  });
  return `export type ${type} =\n${members.join("").trimEnd()};\n`;
}

function numbers({ type, rows }) {
  const lines = rows.map(({ name, number }) => `  ${camelCase(name)}: ${number},\n`);
  return (
    `/** The number of each kind of ${type.toLowerCase()}. */\n` +
    `export const ${type.toLowerCase()}Kinds = {\n${lines.join("")}} as const satisfies ` +
    `Record<${type}["kind"], number>;\n`
  );
}

function writer({ type, rows }) {
  const name = type.toLowerCase();
  const cases = new Map();
  for (const { name: kind, fields } of rows) {
    const statements = writeStatements(type, fields).join("");
    if (statements === "") continue;
    cases.set(statements, [...(cases.get(statements) ?? []), `    case "${camelCase(kind)}":\n`]);
  }
  const lines = [...cases].map(
    ([statements, kinds]) => `${kinds.join("")}${statements}      break;\n`,
  );
  return `/** Adds the numbers of one ${name} to its table. */
export function add${type}Numbers(builder: Builder, ${name}: ${type}): void {
  switch (${name}.kind) {
${lines.join("")}  }
}
`;
}

/** The widest first, and of the same width the last first. */
function writeStatements(type, fields) {
  const table = upperCase(type);
  const width = ({ wire, form }) => (form === "value" ? 8 : wire.bytes);
  return fields
    .filter(({ form }) => ["number", "value", "revision", "whole"].includes(form))
    .sort((a, b) => width(b) - width(a) || b.wire.id - a.wire.id)
    .map(({ property, form, optional, wire }) => {
      const name = camelCase(property);
      const value = `${type.toLowerCase()}.${name}`;
      if (form === "value") {
        const add = `addI64(builder, field.${table}_NUMBER, ${value}, "${name}");`;
        return `      if (typeof ${value} === "bigint") ${add}\n`;
      }
      const write = form === "number" ? "addI64" : wire.bytes === 8 ? "addU64" : "addU32";
      const add = `${write}(builder, field.${table}_${upperCase(wire.name)}, ${value}, "${name}");`;
      return optional ? `      if (${value} !== undefined) ${add}\n` : `      ${add}\n`;
    });
}

function flags({ type, rows }) {
  const name = type.toLowerCase();
  const lines = rows
    .map((row) => ({ ...row, bits: row.fields.filter(({ form }) => form === "flag") }))
    .filter(({ bits }) => bits.length > 0)
    .map(({ name: kind, bits }) => {
      const sum = bits.map(({ property, bit }) => {
        return `(${name}.${camelCase(property)} ? ${1 << bit} : 0)`;
      });
      return `  if (${name}.kind === "${camelCase(kind)}") return ${sum.join(" | ")};\n`;
    });
  return `/** The flags of one ${name}. */
export function ${name}Flags(${name}: ${type}): number {
${lines.join("")}  return 0;
}
`;
}

/** The forms in JSON, and what operations answer. */
export function typescriptForms({ guards, operations }) {
  const answers = operations.filter(available).map(({ name, answer }) => {
    return `  ${camelCase(name)}: "${answer.form}",\n`;
  });
  return `${mark(source)}// Guards and operations in JSON, and what operations answer. The SDK does not need this.

import type { Guard, Operation } from "./operations.js";

/** How a field is written: bytes; the keys that bound a range; numbers; a flag. */
export type FieldForm = "bytes" | "start" | "end" | "number" | "value" | "revision" | "whole" | "flag";

/** A field of a guard or operation, under its name in JSON. */
export interface Field {
  /** Its name as an object. */
  readonly name: string;
  readonly form: FieldForm;
  /** It may be left out. */
  readonly optional?: true;
}

/** A guard or operation: its \`kind\` as an object, and its fields by their names in JSON. */
export interface Shape<Kind = string> {
  readonly kind: Kind;
  readonly fields: Readonly<Record<string, Field>>;
}

export const GUARDS: Readonly<Record<string, Shape<Guard["kind"]>>> = {
${guards.filter(inJson).map(shape).join("")}};

export const OPERATIONS: Readonly<Record<string, Shape<Operation["kind"]>>> = {
${operations.filter(inJson).map(shape).join("")}};

/** What an operation answers. */
export type Answer = "entry" | "entries" | "count" | "number" | "nothing";

export const ANSWERS: Readonly<Record<Operation["kind"], Answer>> = {
${answers.join("")}};
`;
}

function shape({ name, fields }) {
  const lines = fields.map((field) => {
    const optional = field.optional ? ", optional: true" : "";
    const property = camelCase(field.property);
    return `      ${field.name}: { name: "${property}", form: "${field.form}"${optional} },\n`;
  });
  return `  ${name}: {\n    kind: "${camelCase(name)}",\n    fields: {\n${lines.join("")}    },\n  },\n`;
}
