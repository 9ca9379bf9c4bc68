/** Reads one value of one setting: from TOML as it was typed, or from text (environment, flags). */

import type { ChoiceSetting, NumberSetting, Setting } from "./schema.js";
import { readTokens } from "./tokens.js";
import {
  formatDuration,
  formatSize,
  type Parsed,
  parseDuration,
  parsed,
  parseSize,
  refused,
} from "./units.js";

/** Resolves a path that was written where `value` was written. */
export type ResolvePath = (path: string) => string;

/** Reads a value out of a TOML document; `resolve` makes its paths relative to the file. */
export function readTyped(setting: Setting, value: unknown, resolve: ResolvePath): Parsed<unknown> {
  switch (setting.kind) {
    case "count":
      return typeof value === "number"
        ? inBounds(setting, value)
        : refused("must be a whole number, without quotes");
    case "duration":
    case "size":
      if (typeof value === "number")
        return refused(`needs a unit; write it like ${example(setting)}`);
      return typeof value === "string"
        ? readText(setting, value, resolve)
        : refused(`must be text such as ${example(setting)}`);
    case "list":
      return isTextList(value)
        ? parsed(value)
        : refused('must be a list of texts, such as ["a", "b"]');
    case "tokens":
      return readTokens(value, resolve);
    default:
      return typeof value === "string"
        ? readText(setting, value, resolve)
        : refused("must be text, in quotes");
  }
}

/** Reads a value from the environment or the command line. Lists are parted by commas; tokens are JSON. */
export function readText(setting: Setting, value: string, resolve: ResolvePath): Parsed<unknown> {
  switch (setting.kind) {
    case "text":
      return parsed(value);
    case "path":
      return parsed(value === "" ? "" : resolve(value));
    case "choice":
      return readChoice(setting, value);
    case "count":
      return /^\d+$/.test(value)
        ? inBounds(setting, Number(value))
        : refused("must be a whole number");
    case "duration":
      return within(setting, parseDuration(value));
    case "size":
      return within(setting, parseSize(value));
    case "list":
      return parsed(
        value
          .split(",")
          .map((item) => item.trim())
          .filter((item) => item !== ""),
      );
    case "tokens":
      return readTokensText(value, resolve);
  }
}

function readChoice(setting: ChoiceSetting, value: string): Parsed<string> {
  return setting.choices.includes(value)
    ? parsed(value)
    : refused(`must be one of ${setting.choices.join(", ")}`);
}

function readTokensText(value: string, resolve: ResolvePath): Parsed<unknown> {
  let tokens: unknown;
  try {
    tokens = JSON.parse(value);
  } catch {
    return refused('must be JSON, such as [{"name":"app","token":"…","access":"full"}]');
  }
  return readTokens(tokens, resolve);
}

function within(setting: NumberSetting, amount: Parsed<number>): Parsed<number> {
  return amount.ok ? inBounds(setting, amount.value) : amount;
}

function inBounds(setting: NumberSetting, amount: number): Parsed<number> {
  if (!Number.isSafeInteger(amount)) return refused("must be a whole number");
  if (amount >= setting.min && amount <= setting.max) return parsed(amount);
  return refused(
    `must be from ${showNumber(setting, setting.min)} to ${showNumber(setting, setting.max)}`,
  );
}

/** A number with its setting's unit. */
export function showNumber(setting: NumberSetting, amount: number): string {
  if (setting.kind === "duration") return formatDuration(amount);
  return setting.kind === "size" ? formatSize(amount) : String(amount);
}

function example(setting: NumberSetting): string {
  return `"${showNumber(setting, setting.fallback)}"`;
}

function isTextList(value: unknown): value is string[] {
  return Array.isArray(value) && value.every((item) => typeof item === "string");
}
