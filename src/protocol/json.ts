/**
 * Transactions and their answers as JSON: what `domp tx` and HTTP speak. docs/json-transactions.md
 * tells the form. The SDK does not need this file and must not come to import it.
 *
 * Reading is strict: an unknown name is an error that says which one was probably meant, a name that
 * stands twice is one too, and what can't be held exactly (a number over 2^53 that is not written as
 * text) is refused.
 */

import { ProtocolError } from "./error.js";
import type { Reply } from "./frame.js";
import { parseJson } from "./json-text.js";
import {
  bytesToJson,
  FLAG,
  type Form,
  NUMBER,
  type Path,
  REVISION,
  readObject,
  TEXT_OR_BYTES,
  unknownName,
  VALUE,
  valueToJson,
  WHOLE,
} from "./json-values.js";
import { decodeResults, type Entry, type Result } from "./results.js";
import type { Guard, Operation } from "./transaction.js";

/** A transaction whose space is still a name. */
export interface NamedTransaction {
  readonly space: string;
  readonly guards: readonly Guard[];
  readonly then: readonly Operation[];
  /** Absent: nothing runs when a guard fails. */
  readonly otherwise: readonly Operation[] | undefined;
}

/** The space of a transaction that names none. */
const DEFAULT_SPACE = "default";

/** A field of a guard or operation: its name as an object, its form, may it be left out? */
interface Field {
  readonly name: string;
  readonly form: Form<never>;
  readonly optional?: true;
  /** What stands for it when it is left out. */
  readonly otherwise?: () => unknown;
}

/** A guard or operation: its `kind` as an object, and its fields by their names in JSON. */
interface Shape {
  readonly kind: string;
  readonly fields: Readonly<Record<string, Field>>;
}

const key: Field = { name: "key", form: TEXT_OR_BYTES };
const number = (name: string): Field => ({ name, form: NUMBER });
const whole = (name: string): Field => ({ name, form: WHOLE });
const revision: Field = { name: "revision", form: REVISION };
const from: Field = {
  name: "from",
  form: TEXT_OR_BYTES,
  optional: true,
  otherwise: () => new Uint8Array(0),
};
const to: Field = { name: "to", form: TEXT_OR_BYTES, optional: true, otherwise: () => undefined };
const optional = (field: Field): Field => ({ ...field, optional: true });

const GUARDS: Readonly<Record<string, Shape & { readonly kind: Guard["kind"] }>> = {
  exists: { kind: "exists", fields: { key } },
  absent: { kind: "absent", fields: { key } },
  version: { kind: "version", fields: { key, version: whole("version") } },
  modified: { kind: "modified", fields: { key, revision } },
  modified_at_most: { kind: "modifiedAtMost", fields: { key, revision } },
  value: { kind: "value", fields: { key, value: { name: "value", form: VALUE } } },
  at_least: { kind: "atLeast", fields: { key, number: number("number") } },
  unchanged: { kind: "unchanged", fields: { from, to, revision, count: whole("count") } },
};

const flag = (name: string): Field => ({ name, form: FLAG, optional: true });

const OPERATIONS: Readonly<Record<string, Shape & { readonly kind: Operation["kind"] }>> = {
  get: { kind: "get", fields: { key } },
  range: {
    kind: "range",
    fields: {
      from,
      to,
      limit: optional(whole("limit")),
      reverse: flag("reverse"),
      keys_only: flag("keysOnly"),
    },
  },
  count: { kind: "count", fields: { from, to } },
  put: {
    kind: "put",
    fields: {
      key,
      value: { name: "value", form: VALUE },
      expire_after_ms: optional(whole("expireAfterMs")),
    },
  },
  delete: { kind: "delete", fields: { key } },
  // Leaving something out never deletes a whole space.
  delete_range: {
    kind: "deleteRange",
    fields: { from: { name: "from", form: TEXT_OR_BYTES }, to },
  },
  add: {
    kind: "add",
    fields: {
      key,
      number: number("delta"),
      floor: optional(number("floor")),
      ceiling: optional(number("ceiling")),
    },
  },
  append: { kind: "append", fields: { key, value: { name: "value", form: TEXT_OR_BYTES } } },
};

const TRANSACTION_NAMES = ["space", "if", "then", "else"];

/** Reads a transaction. @throws ProtocolError `invalid_request`, saying where and what */
export function parseTransaction(text: string): NamedTransaction {
  return transactionFromJson(parseJson(text));
}

/** Reads a transaction that was parsed. @throws ProtocolError `invalid_request` */
export function transactionFromJson(json: unknown): NamedTransaction {
  const members = readObject(json, "transaction", TRANSACTION_NAMES);
  const space = members.get("space") ?? DEFAULT_SPACE;
  if (typeof space !== "string" || space === "") {
    throw new ProtocolError("invalid_request", "space: the name of a space, as a string");
  }
  return {
    space,
    guards: readList(members.get("if"), "if", GUARDS) as Guard[],
    then: readList(members.get("then"), "then", OPERATIONS) as Operation[],
    otherwise: members.has("else")
      ? (readList(members.get("else"), "else", OPERATIONS) as Operation[])
      : undefined,
  };
}

/** The JSON of a transaction; reading it gives the same transaction. */
export function transactionToJson(transaction: NamedTransaction): Record<string, unknown> {
  const { space, guards, then, otherwise } = transaction;
  return {
    space,
    if: guards.map((guard) => itemToJson(guard, GUARDS)),
    then: then.map((operation) => itemToJson(operation, OPERATIONS)),
    ...(otherwise && { else: otherwise.map((operation) => itemToJson(operation, OPERATIONS)) }),
  };
}

/**
 * The JSON of a reply without error: `{applied, revision, replayed?, failed_guard?, results}`.
 * @throws ProtocolError `invalid_frame`
 */
export function answerToJson(
  transaction: Pick<NamedTransaction, "then" | "otherwise">,
  reply: Reply,
): Record<string, unknown> {
  const { results, failedGuard } = decodeResults(reply.payload);
  const branch = (reply.applied ? transaction.then : transaction.otherwise) ?? [];
  return {
    applied: reply.applied,
    revision: String(reply.revision),
    ...(reply.replayed && { replayed: true }),
    ...(failedGuard !== undefined && { failed_guard: failedGuard }),
    results: branch.map((operation, index) => resultToJson(operation, results[index])),
  };
}

/** The JSON of what one operation answers. */
export function resultToJson(
  operation: Operation,
  result: Result | undefined,
): Record<string, unknown> {
  switch (operation.kind) {
    case "get":
      return { entry: result?.entry === undefined ? null : entryToJson(result.entry) };
    case "range":
      return { entries: (result?.entries ?? []).map(entryToJson), more: result?.more ?? false };
    case "count":
    case "delete":
    case "deleteRange":
    case "append":
      return { count: result?.count ?? 0 };
    case "add":
    case "spaceCreate":
      return { number: valueToJson(result?.number ?? 0n) };
    case "put":
    case "spaceDrop":
      return {};
  }
}

/** The JSON of an entry; `value` is left out where only keys were asked for. */
export function entryToJson(entry: Entry): Record<string, unknown> {
  return {
    key: bytesToJson(entry.key),
    ...(entry.value !== undefined && { value: valueToJson(entry.value) }),
    created: String(entry.created),
    modified: String(entry.modified),
    version: entry.version,
    ...(entry.expiresInMs !== undefined && { expires_in_ms: entry.expiresInMs }),
  };
}

function readList(json: unknown, path: Path, shapes: Readonly<Record<string, Shape>>): unknown[] {
  if (json === undefined) return [];
  if (!Array.isArray(json)) throw new ProtocolError("invalid_request", `${path}: a list`);
  return json.map((item, index) => readItem(item, `${path}[${index}]`, shapes));
}

/** Reads `{"put": {"key": …}}`: one member, whose name is the kind. */
function readItem(json: unknown, path: Path, shapes: Readonly<Record<string, Shape>>): unknown {
  const members = readObject(json, path, Object.keys(shapes));
  const [entry, ...others] = members;
  if (entry === undefined || others.length > 0) {
    const message = `${path}: exactly one of ${Object.keys(shapes).join(", ")}`;
    throw new ProtocolError("invalid_request", message);
  }
  const [name, body] = entry;
  const shape = shapes[name];
  if (shape === undefined) throw unknownName(path, name, Object.keys(shapes));
  const inside = `${path}.${name}`;
  const given = readObject(body, inside, Object.keys(shape.fields));
  const item: Record<string, unknown> = { kind: shape.kind };
  for (const [jsonName, field] of Object.entries(shape.fields)) {
    const value = given.get(jsonName);
    if (value !== undefined) item[field.name] = field.form.read(value, `${inside}.${jsonName}`);
    else if (field.otherwise !== undefined) item[field.name] = field.otherwise();
    else if (field.optional === undefined) {
      throw new ProtocolError("invalid_request", `${inside}: ${jsonName} is missing`);
    }
  }
  return item;
}

function itemToJson(
  item: Guard | Operation,
  shapes: Readonly<Record<string, Shape>>,
): Record<string, unknown> {
  const found = Object.entries(shapes).find(([, shape]) => shape.kind === item.kind);
  if (found === undefined) {
    throw new ProtocolError("invalid_argument", `${item.kind} has no form in JSON`);
  }
  const [name, shape] = found;
  const body: Record<string, unknown> = {};
  for (const [jsonName, field] of Object.entries(shape.fields)) {
    const value = (item as unknown as Record<string, unknown>)[field.name];
    if (value !== undefined) body[jsonName] = field.form.write(value as never);
  }
  return { [name]: body };
}
