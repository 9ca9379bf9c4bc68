// operations.json, read and held against the schema.

import { unique } from "../text.mjs";

/** The table in wire.fbs that a field with this form stands in, where the row does not say. */
const WIRE_FIELDS = { start: "key", end: "to", flag: "flags" };
const FORMS = ["bytes", "start", "end", "number", "value", "revision", "whole", "flag"];
const ANSWERS = ["entry", "entries", "count", "number", "nothing"];

/**
 * `{guards, operations}`: the rows by number, with all that they leave unsaid. Each field has its
 * `name` in JSON, `property` in code, `form`, `text`, and `wire`: `{name, id, bytes}`.
 */
export function readOperations({ field_texts: texts, guards, operations }, declarations) {
  const tableOf = (name) => declarations.find((declaration) => declaration.name === name);
  const rows = (list, table) => list.map((row) => completed(row, tableOf(table), texts));
  for (const list of [guards, operations]) {
    unique(list, "name");
    unique(list, "number");
  }
  return { guards: rows(guards, "Guard"), operations: rows(operations, "Operation") };
}

export const available = ({ status }) => status === "available";

/** Those that have a form in JSON. */
export const inJson = (row) => available(row) && row.json;

function completed(row, table, texts) {
  if (!["available", "reserved"].includes(row.status)) throw new Error(`${row.name}: its status`);
  if (row.answer !== undefined && !ANSWERS.includes(row.answer.form)) {
    throw new Error(`${row.name}: its answer`);
  }
  const fields = (row.fields ?? []).map((field) => {
    const text = field.text ?? texts[field.name];
    if (!FORMS.includes(field.form) || text === undefined) {
      throw new Error(`${row.name}: its field ${field.name}`);
    }
    const wire = wireField(table, field.wire ?? WIRE_FIELDS[field.form] ?? field.name);
    // Every kind is about a key, which tells the shard, or begins a range; and a value is one of two.
    const needed = field.form === "value" || (field.form === "bytes" && wire.name === "key");
    if (needed && field.optional) throw new Error(`${row.name}: ${field.name} can't be left out`);
    return { optional: false, property: field.name, ...field, text, wire };
  });
  return { json: true, ...row, fields };
}

function wireField(table, name) {
  const id = table.fields.findIndex((field) => field.name === name);
  if (id < 0) throw new Error(`${table.name} has no field ${name}`);
  return { name, id, bytes: table.fields[id].bytes };
}
