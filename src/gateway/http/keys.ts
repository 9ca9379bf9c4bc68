/** `GET /v1/spaces/{space}/keys/{key}`: one value as it is, or the entry as JSON. */

import type { Principal } from "../../policy/index.js";
import { entryToJson } from "../../protocol/json.js";
import { decodeResults, type Entry } from "../../protocol/results.js";
import { encodeTransaction } from "../../protocol/transaction.js";
import type { HttpContext } from "./door.js";
import type { Exchange, Headers } from "./exchange.js";
import type { Route } from "./routes.js";
import { submitToSpace } from "./spaces.js";

export async function getKey(
  context: HttpContext,
  exchange: Exchange,
  principal: Principal,
  { space: name, key }: Extract<Route, { kind: "key" }>,
): Promise<void> {
  const answer = await submitToSpace(context, exchange, name, {
    caller: principal,
    encode: (space) => encodeTransaction({ space, then: [{ kind: "get", key }] }),
  });
  if (!answer.ok) {
    exchange.fail(answer.failure);
    return;
  }
  const { payload, revision } = answer.reply;
  const entry = decodeResults(payload).results[0]?.entry;
  if (entry === undefined) {
    const headers: Headers = [["Domp-Revision", String(revision)]];
    exchange.fail({ code: "not_found", message: "there is no such key", headers });
    return;
  }
  respond(exchange, entry, revision);
}

function respond(exchange: Exchange, entry: Entry, revision: bigint): void {
  const { accept, ifNoneMatch } = exchange.request;
  const wantsJson = accept.includes("application/json");
  // A revision names a key's value for ever; its two forms are two representations of it.
  const tag = `"${entry.modified}${wantsJson ? "-json" : ""}"`;
  const headers: [string, string][] = [
    ["ETag", tag],
    ["Vary", "Accept"],
    ["Cache-Control", "no-cache"],
    // What users stored must not be taken for a page of this server.
    ["X-Content-Type-Options", "nosniff"],
    ["Domp-Revision", String(revision)],
    ["Domp-Created", String(entry.created)],
    ["Domp-Modified", String(entry.modified)],
    ["Domp-Version", String(entry.version)],
  ];
  if (entry.expiresInMs !== undefined) {
    headers.push(["Domp-Expires-In", `${entry.expiresInMs}ms`]);
  }
  if (ifNoneMatch.split(",").some((candidate) => candidate.trim() === tag)) {
    exchange.respond(304, headers, "");
  } else if (wantsJson) {
    exchange.respondJson(200, { ...entryToJson(entry), revision: String(revision) }, headers);
  } else if (typeof entry.value === "bigint") {
    const type = ["Content-Type", "text/plain; charset=utf-8"] as const;
    exchange.respond(200, [...headers, type, ["Domp-Kind", "number"]], String(entry.value));
  } else {
    const type = ["Content-Type", "application/octet-stream"] as const;
    const value = entry.value ?? new Uint8Array(0);
    exchange.respond(200, [...headers, type, ["Domp-Kind", "bytes"]], value);
  }
}
