/** `auth.tokens`: who may come in. Secrets are hashed as they are read and then forgotten. */

import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import { TOKEN_BYTES_MAX } from "../protocol/generated/limits.js";
import { nearestName } from "../protocol/nearest.js";
import type { ResolvePath } from "./read.js";
import type { TokenSetting } from "./schema.js";
import { type Parsed, parsed, refused } from "./units.js";

const FIELDS = ["name", "access", "token", "token_file", "sha256"] as const;
const NAME = /^[A-Za-z0-9][A-Za-z0-9._@-]{0,63}$/;
const SHA256_HEX = /^[0-9a-f]{64}$/i;

/** A shorter secret is guessed too soon by whoever may try as often as they like. */
const TOKEN_CHARACTERS_MIN = 16;

/** Reads the whole list; the first problem names its entry. */
export function readTokens(value: unknown, resolve: ResolvePath): Parsed<readonly TokenSetting[]> {
  if (!Array.isArray(value)) return refused("must be a list of tables: [[auth.tokens]]");
  const tokens: TokenSetting[] = [];
  for (const [index, entry] of value.entries()) {
    const token = readToken(entry, resolve);
    if (!token.ok) return refused(`entry ${index + 1} ${token.problem}`);
    tokens.push(token.value);
  }
  const clash = accessClash(tokens) ?? secretClash(tokens);
  return clash === undefined ? parsed(tokens) : refused(clash);
}

function readToken(entry: unknown, resolve: ResolvePath): Parsed<TokenSetting> {
  if (typeof entry !== "object" || entry === null || Array.isArray(entry)) {
    return refused("must be a table with a name and a token");
  }
  const fields = new Map<string, unknown>(Object.entries(entry));
  for (const field of fields.keys()) {
    if (!(FIELDS as readonly string[]).includes(field)) {
      const near = nearestName(field, FIELDS);
      return refused(`has the unknown field "${field}"${near ? `; did you mean "${near}"?` : ""}`);
    }
  }
  const name = fields.get("name");
  if (typeof name !== "string" || !NAME.test(name)) {
    return refused("needs a name of 1 to 64 letters, digits and . _ @ -");
  }
  const access = fields.get("access") ?? "full";
  if (access !== "full" && access !== "read") {
    return refused(`("${name}") has an access that is neither "full" nor "read"`);
  }
  const sha256 = readSecret(fields, resolve);
  return sha256.ok
    ? parsed({ name, access, sha256: sha256.value })
    : refused(`("${name}") ${sha256.problem}`);
}

function readSecret(fields: ReadonlyMap<string, unknown>, resolve: ResolvePath): Parsed<string> {
  const given = ["token", "token_file", "sha256"].filter((field) => fields.has(field));
  const [kind] = given;
  if (kind === undefined || given.length > 1) {
    return refused("needs exactly one of token, token_file and sha256");
  }
  const value = fields.get(kind);
  if (typeof value !== "string") return refused(`has a ${kind} that is not text`);
  if (kind === "sha256") {
    return SHA256_HEX.test(value)
      ? parsed(value.toLowerCase())
      : refused("has a sha256 that is not 64 hexadecimal digits");
  }
  if (kind === "token") return hashSecret(value, kind);
  let content: string;
  try {
    content = readFileSync(resolve(value), "utf8");
  } catch (error) {
    return refused(`has a token_file that can't be read: ${(error as Error).message}`);
  }
  return hashSecret(content.trim(), kind);
}

function hashSecret(secret: string, field: string): Parsed<string> {
  if (secret.length < TOKEN_CHARACTERS_MIN) {
    return refused(`has a ${field} of fewer than ${TOKEN_CHARACTERS_MIN} characters`);
  }
  if (Buffer.byteLength(secret) > TOKEN_BYTES_MAX) {
    return refused(`has a ${field} of more than ${TOKEN_BYTES_MAX} bytes`);
  }
  return parsed(createHash("sha256").update(secret).digest("hex"));
}

/** Two secrets of one name are one principal while a secret is being replaced; its access is one. */
function accessClash(tokens: readonly TokenSetting[]): string | undefined {
  const accessOf = new Map<string, string>();
  for (const { name, access } of tokens) {
    if ((accessOf.get(name) ?? access) !== access) return `gives "${name}" two kinds of access`;
    accessOf.set(name, access);
  }
  return undefined;
}

function secretClash(tokens: readonly TokenSetting[]): string | undefined {
  const nameOf = new Map<string, string>();
  for (const { name, sha256 } of tokens) {
    const other = nameOf.get(sha256);
    if (other !== undefined) return `gives "${other}" and "${name}" the same token`;
    nameOf.set(sha256, name);
  }
  return undefined;
}
