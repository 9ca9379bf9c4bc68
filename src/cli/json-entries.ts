import type { Entry, StoredValue } from "../client/index.js";
import { entryToJson as wireEntryToJson } from "../protocol/json.js";
import { type KeyFlags, toBase64, type ValueFlags } from "./values.js";

/** An entry in the form of docs/json-transactions.md, with base64 where that was asked for. */
export function entryToJson(
  entry: Entry<StoredValue | undefined>,
  flags: ValueFlags & KeyFlags,
): Record<string, unknown> {
  const { value } = entry;
  const json = wireEntryToJson({ ...entry, key: entry.keyBytes });
  if (flags.base64Keys) json["key"] = { base64: toBase64(entry.keyBytes) };
  if (flags.base64 && value instanceof Uint8Array) json["value"] = { base64: toBase64(value) };
  return json;
}
