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
import { ANSWERS, type FieldForm, GUARDS, OPERATIONS, type Shape } from "./generated/forms.js";
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

/** How a field of each form is read and written. */
const FORMS: Readonly<Record<FieldForm, Form<never>>> = {
  bytes: TEXT_OR_BYTES,
  start: TEXT_OR_BYTES,
  end: TEXT_OR_BYTES,
  number: NUMBER,
  value: VALUE,
  revision: REVISION,
  whole: WHOLE,
  flag: FLAG,
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
  switch (ANSWERS[operation.kind]) {
    case "entry":
      return { entry: result?.entry === undefined ? null : entryToJson(result.entry) };
    case "entries":
      return { entries: (result?.entries ?? []).map(entryToJson), more: result?.more ?? false };
    case "count":
      return { count: result?.count ?? 0 };
    case "number":
      return { number: valueToJson(result?.number ?? 0n) };
    case "nothing":
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
    if (value !== undefined) {
      item[field.name] = FORMS[field.form].read(value, `${inside}.${jsonName}`);
    } else if (field.optional === undefined) {
      throw new ProtocolError("invalid_request", `${inside}: ${jsonName} is missing`);
    } else if (field.form === "start" || field.form === "end") {
      item[field.name] = field.form === "start" ? new Uint8Array(0) : undefined;
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
    if (value !== undefined) body[jsonName] = FORMS[field.form].write(value as never);
  }
  return { [name]: body };
}
