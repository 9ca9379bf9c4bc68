/**
 * JSON read strictly: what a lenient reader would settle silently is refused, with its place. Two
 * members of one name (readers keep the first, the last, or both), and numbers that are no integers
 * as they are written (a reader rounds them, and `1e400` or `1.00000000000000001` then pass for
 * something else).
 */

import { ProtocolError } from "./error.js";

/** Deeper than any transaction is; far below what would exhaust the stack. */
const DEPTH_MAX = 32;

const INTEGER = /^-?(?:0|[1-9][0-9]*)$/;
const PLAIN_NAME = /^[A-Za-z_][A-Za-z0-9_]*$/;

/** The value of a text. @throws ProtocolError `invalid_request`, saying where and what */
export function parseJson(text: string): unknown {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (cause) {
    const reason = cause instanceof Error ? cause.message : String(cause);
    throw new ProtocolError("invalid_request", `not JSON: ${reason}`, cause);
  }
  // From here on the text is known to be well formed; only what was lost is looked for.
  new Walk(text).value("", 0);
  return value;
}

/** Walks a well-formed text. */
class Walk {
  readonly #text: string;
  #at = 0;

  constructor(text: string) {
    this.#text = text;
  }

  value(path: string, depth: number): void {
    if (depth > DEPTH_MAX) refuse(path, `nested more than ${DEPTH_MAX} deep`);
    this.#skip(/\s*/y);
    switch (this.#text[this.#at]) {
      case "{":
        this.#members(path, depth);
        break;
      case "[":
        this.#elements(path, depth);
        break;
      case '"':
        this.#string();
        break;
      default:
        this.#scalar(path);
    }
    this.#skip(/\s*/y);
  }

  #members(path: string, depth: number): void {
    const names = new Set<string>();
    this.#at += 1;
    this.#skip(/\s*/y);
    while (this.#text[this.#at] !== "}") {
      this.#skip(/[\s,]*/y);
      const name = this.#string();
      const inside = memberOf(path, name);
      if (names.has(name)) refuse(inside, "stands twice");
      names.add(name);
      this.#skip(/[\s:]*/y);
      this.value(inside, depth + 1);
    }
    this.#at += 1;
  }

  #elements(path: string, depth: number): void {
    this.#at += 1;
    this.#skip(/\s*/y);
    for (let index = 0; this.#text[this.#at] !== "]"; index += 1) {
      this.#skip(/[\s,]*/y);
      this.value(`${path}[${index}]`, depth + 1);
    }
    this.#at += 1;
  }

  /** The string that begins here, without its escapes. */
  #string(): string {
    const start = this.#at;
    this.#skip(/"[^"\\]*(?:\\.[^"\\]*)*"/y);
    return JSON.parse(this.#text.slice(start, this.#at)) as string;
  }

  #scalar(path: string): void {
    const start = this.#at;
    this.#skip(/[^\s,\]}]*/y);
    const text = this.#text.slice(start, this.#at);
    if (/^[-0-9]/.test(text) && !INTEGER.test(text)) {
      refuse(path, `${text.length > 32 ? `${text.slice(0, 32)}…` : text} is not an integer`);
    }
  }

  #skip(pattern: RegExp): void {
    pattern.lastIndex = this.#at;
    this.#at += pattern.exec(this.#text)?.[0].length ?? 0;
  }
}

function memberOf(path: string, name: string): string {
  const short = name.length > 64 ? `${name.slice(0, 64)}…` : name;
  if (!PLAIN_NAME.test(name)) return `${path}[${JSON.stringify(short)}]`;
  return path === "" ? short : `${path}.${short}`;
}

function refuse(path: string, what: string): never {
  throw new ProtocolError("invalid_request", `${path === "" ? "transaction" : path}: ${what}`);
}
