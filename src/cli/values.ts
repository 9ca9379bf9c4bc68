import { readFileSync } from "node:fs";
import { type Command, Option } from "commander";
import type { Codec, Entry, Key, StoredValue } from "../client/index.js";
import { CommandError, ExitCode, usageError } from "./exit-codes.js";

/** Values as the server keeps them: bytes or a number. */
export const stored: Codec<StoredValue> = {
  encode: (value) => value,
  decode: (value) => (typeof value === "bigint" ? value : value.slice()),
};

/** How keys stand on the command line. */
export interface KeyFlags {
  readonly base64Keys?: boolean;
}

/** How values stand on the command line. */
export interface ValueFlags extends KeyFlags {
  readonly base64?: boolean;
  readonly number?: boolean;
}

export function keyOptions(command: Command): Command {
  return command.addOption(new Option("--base64-keys", "keys are given and printed in base64"));
}

export function valueOptions(command: Command): Command {
  return keyOptions(command).addOption(
    new Option("--base64", "values are given and printed in base64"),
  );
}

/** @throws CommandError */
export function readKey(text: string, { base64Keys = false }: KeyFlags): Key {
  return base64Keys ? fromBase64(text, "the key") : text;
}

/**
 * The value of a command: from its argument, from standard input for `-`, or from a file.
 * @throws CommandError
 */
export async function readValue(
  argument: string | undefined,
  file: string | undefined,
  { base64 = false, number = false }: ValueFlags,
): Promise<StoredValue> {
  if (argument !== undefined && file !== undefined) {
    throw usageError("give the value as an argument or with --file, not both");
  }
  if (base64 && number) throw usageError("--base64 and --number exclude each other");
  const bytes = await readBytes(argument, file);
  if (number) return parseNumber(bytes);
  return base64 ? fromBase64(bytes.toString("utf8").trim(), "the value") : new Uint8Array(bytes);
}

async function readBytes(argument: string | undefined, file: string | undefined): Promise<Buffer> {
  if (file !== undefined) return readFile(file);
  if (argument === undefined) {
    throw usageError(
      "the value is missing: give it as an argument, as - (standard input), or --file",
    );
  }
  return argument === "-" ? readStandardInput() : Buffer.from(argument, "utf8");
}

/** @throws CommandError */
export function readFile(file: string): Buffer {
  try {
    return readFileSync(file);
  } catch (cause) {
    const reason = cause instanceof Error ? cause.message : String(cause);
    throw new CommandError(ExitCode.usage, `${file} can't be read: ${reason}`, cause);
  }
}

export async function readStandardInput(): Promise<Buffer> {
  const chunks: Buffer[] = [];
  for await (const chunk of process.stdin) chunks.push(chunk as Buffer);
  return Buffer.concat(chunks);
}

function parseNumber(bytes: Buffer): bigint {
  const text = bytes.toString("utf8").trim();
  const number = /^-?\d{1,20}$/.test(text) ? BigInt(text) : undefined;
  if (number === undefined || number !== BigInt.asIntN(64, number)) {
    throw usageError(`not a whole number of 64 bits: ${JSON.stringify(text.slice(0, 40))}`);
  }
  return number;
}

const BASE64 = /^(?:[\w+/-]{4})*(?:[\w+/-]{2}(?:==)?|[\w+/-]{3}=?)?$/;

/** @throws CommandError */
function fromBase64(text: string, what: string): Uint8Array {
  if (!BASE64.test(text)) throw usageError(`${what} is not base64`);
  return new Uint8Array(Buffer.from(text, "base64"));
}

/** An entry's key in a table. */
export function showKey(entry: Entry<unknown>, { base64Keys = false }: KeyFlags): string {
  if (base64Keys) return toBase64(entry.keyBytes);
  const text = decodeText(entry.keyBytes);
  return text === undefined ? `base64:${toBase64(entry.keyBytes)}` : escaped(text);
}

/** A value in a table: one line, whatever is in it. */
export function showValue(value: StoredValue, { base64 = false }: ValueFlags): string {
  if (typeof value === "bigint") return `${value}`;
  if (base64) return toBase64(value);
  const text = decodeText(value);
  return text === undefined ? `base64:${toBase64(value)}` : escaped(text);
}

/** The text of bytes, or undefined if they are none. */
export function decodeText(bytes: Uint8Array): string | undefined {
  try {
    return new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytes);
  } catch {
    return undefined;
  }
}

export function toBase64(bytes: Uint8Array): string {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString("base64");
}

/** What would disturb a table or a terminal: controls, invisible marks, lines' ends. */
const UNPRINTABLE = /[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]/u;

/** Text on one line; in quotes, as JSON has it, where it holds what is not seen. */
function escaped(text: string): string {
  if (!UNPRINTABLE.test(text)) return text;
  return [...JSON.stringify(text)]
    .map((character) =>
      UNPRINTABLE.test(character) ? `\\u{${character.codePointAt(0)?.toString(16)}}` : character,
    )
    .join("");
}
