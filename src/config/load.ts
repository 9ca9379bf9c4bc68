/**
 * The configuration: defaults < file < environment < flags, each value with its origin. Whatever
 * is unknown, out of bounds or contradictory is refused, all of it in one error.
 */

import { existsSync, readFileSync } from "node:fs";
import { dirname, resolve } from "node:path";
import { parse, TomlError } from "smol-toml";
import { nearestName } from "../protocol/nearest.js";
import { type ResolvePath, readText, readTyped, showNumber } from "./read.js";
import { type Config, type NamedSetting, SETTINGS, type TokenSetting } from "./schema.js";
import type { Parsed } from "./units.js";

/** The file that is read when none is named and it is there. */
export const FILE_DEFAULT = "domp.toml";

/** Variables with the prefix that are no settings: the client's commands and the build read them. */
const RESERVED_ENVIRONMENT =
  /^DOMP_(?:CONFIG|URL|TOKEN|NO_SKIPS|WRITE_GOLDEN|(?:TEST|BENCH|BUILD|NATIVE)_\w+)$/;

/** Where a value came from: a default, or the place a person wrote it. */
export interface Origin {
  readonly from: "default" | "file" | "environment" | "flag";
  /** The file's path, the variable's or the flag's name; empty for a default. */
  readonly name: string;
}

export interface LoadOptions {
  /** Directory that relative paths of flags, environment and defaults start from. */
  readonly cwd?: string;
  /** A configuration file that must exist; otherwise `domp.toml` in `cwd` is read if present. */
  readonly file?: string;
  readonly environment?: Readonly<Record<string, string | undefined>>;
  /** Values of flags by the setting's name, such as `clients.port`. */
  readonly flags?: Readonly<Record<string, string | undefined>>;
}

export interface Loaded {
  readonly config: Config;
  /** The file that was read, if one was. */
  readonly file: string | undefined;
  /** By the setting's name. */
  readonly origins: ReadonlyMap<string, Origin>;
}

/** Everything that is wrong with a configuration, a line each. */
export class ConfigError extends Error {
  readonly problems: readonly string[];

  constructor(problems: readonly string[]) {
    super(problems.join("\n"));
    this.name = "ConfigError";
    this.problems = problems;
  }
}

interface Layered {
  readonly values: Map<string, unknown>;
  readonly origins: Map<string, Origin>;
  readonly problems: string[];
}

/** Reads all layers. Throws `ConfigError`. */
export function loadConfig(options: LoadOptions = {}): Loaded {
  const cwd = resolve(options.cwd ?? process.cwd());
  const environment = options.environment ?? process.env;
  const fromCwd: ResolvePath = (path) => resolve(cwd, path);
  const layers: Layered = { values: new Map(), origins: new Map(), problems: [] };

  for (const { name, setting } of SETTINGS) {
    const isPath = setting.kind === "path" && setting.fallback !== "";
    layers.values.set(name, isPath ? fromCwd(setting.fallback) : setting.fallback);
    layers.origins.set(name, { from: "default", name: "" });
  }
  const file = findFile(options.file ?? environment["DOMP_CONFIG"], cwd);
  if (file !== undefined) applyFile(layers, file);
  applyEnvironment(layers, environment, fromCwd);
  applyFlags(layers, options.flags ?? {}, fromCwd);

  const config = nest(layers.values);
  layers.problems.push(...contradictions(config));
  if (layers.problems.length > 0) throw new ConfigError(layers.problems);
  return { config, file, origins: layers.origins };
}

function findFile(named: string | undefined, cwd: string): string | undefined {
  if (named !== undefined && named !== "") {
    const path = resolve(cwd, named);
    if (!existsSync(path)) throw new ConfigError([`${path}: there is no such file`]);
    return path;
  }
  const path = resolve(cwd, FILE_DEFAULT);
  return existsSync(path) ? path : undefined;
}

function applyFile(layers: Layered, file: string): void {
  let document: Readonly<Record<string, unknown>>;
  try {
    document = parse(readFileSync(file, "utf8"));
  } catch (error) {
    const place = error instanceof TomlError ? `${file}:${error.line}:${error.column}` : file;
    const [reason = ""] = (error as Error).message.split("\n");
    layers.problems.push(`${place}: ${reason}`);
    return;
  }
  const fromFile: ResolvePath = (path) => resolve(dirname(file), path);
  const byName = new Map(SETTINGS.map((named) => [named.name, named]));
  for (const [name, value] of flatten(document)) {
    const named = byName.get(name);
    if (named === undefined) {
      layers.problems.push(`${file}: ${unknown(name, byName.keys())}`);
    } else {
      const read = readTyped(named.setting, value, fromFile);
      put(layers, named, read, { from: "file", name: file }, `${file}: ${name}`);
    }
  }
}

/** The keys of a document as `section.key`; a value outside a section keeps its bare name. */
function* flatten(document: Readonly<Record<string, unknown>>): Iterable<[string, unknown]> {
  const sections = new Set(SETTINGS.map(({ section }) => section));
  for (const [section, value] of Object.entries(document)) {
    const isTable = typeof value === "object" && value !== null && !Array.isArray(value);
    if (isTable && (sections.has(section) || Object.keys(value).length > 0)) {
      for (const [key, inner] of Object.entries(value)) yield [`${section}.${key}`, inner];
    } else {
      yield [section, value];
    }
  }
}

function applyEnvironment(
  layers: Layered,
  environment: Readonly<Record<string, string | undefined>>,
  resolvePath: ResolvePath,
): void {
  const byVariable = new Map(SETTINGS.map((named) => [named.environment, named]));
  for (const [variable, value] of Object.entries(environment)) {
    if (value === undefined || !variable.startsWith("DOMP_")) continue;
    const named = byVariable.get(variable);
    if (named !== undefined) {
      const read = readText(named.setting, value, resolvePath);
      put(layers, named, read, { from: "environment", name: variable }, variable);
    } else if (!RESERVED_ENVIRONMENT.test(variable)) {
      layers.problems.push(`environment: ${unknown(variable, byVariable.keys())}`);
    }
  }
}

function applyFlags(
  layers: Layered,
  flags: Readonly<Record<string, string | undefined>>,
  resolvePath: ResolvePath,
): void {
  const byName = new Map(SETTINGS.map((named) => [named.name, named]));
  for (const [name, value] of Object.entries(flags)) {
    if (value === undefined) continue;
    const named = byName.get(name);
    if (named === undefined) {
      layers.problems.push(`flags: ${unknown(name, byName.keys())}`);
    } else {
      const read = readText(named.setting, value, resolvePath);
      put(layers, named, read, { from: "flag", name: named.flag }, named.flag);
    }
  }
}

function put(
  layers: Layered,
  { name }: NamedSetting,
  read: Parsed<unknown>,
  origin: Origin,
  place: string,
): void {
  if (read.ok) {
    layers.values.set(name, read.value);
    layers.origins.set(name, origin);
  } else {
    layers.problems.push(`${place} ${read.problem}`);
  }
}

function unknown(name: string, known: Iterable<string>): string {
  const near = nearestName(name, known);
  return `unknown setting "${name}"${near === undefined ? "" : `; did you mean "${near}"?`}`;
}

function nest(values: ReadonlyMap<string, unknown>): Config {
  const config: Record<string, Record<string, unknown>> = {};
  for (const { section, key, name } of SETTINGS) {
    config[section] ??= {};
    config[section][key] = values.get(name);
  }
  // The table is walked once to fill every section and key, and each reader returns its kind's type.
  return config as unknown as Config;
}

/** Values that are each right but wrong together. */
function contradictions({ clients, admin }: Config): string[] {
  const problems: string[] = [];
  for (const [section, { tls_cert, tls_key, host }] of Object.entries({ clients, admin })) {
    if ((tls_cert === "") !== (tls_key === "")) {
      problems.push(`${section}: tls_cert and tls_key must both be set, or neither`);
    }
    if (host.trim() === "") problems.push(`${section}.host must not be empty`);
  }
  const samePlace = clients.host === admin.host && clients.port === admin.port;
  if (samePlace && clients.port !== 0) {
    problems.push(`clients.port and admin.port are both ${clients.port}`);
  }
  return problems;
}

/** One row of what `domp config` prints. */
export interface DescribedSetting {
  readonly name: string;
  readonly value: string;
  readonly origin: string;
  readonly meaning: string;
}

/** Every setting as text, with its origin; secrets stay out. */
export function describeConfig({ config, origins }: Loaded): readonly DescribedSetting[] {
  const sections: Readonly<Record<string, Readonly<Record<string, unknown>>>> = config;
  return SETTINGS.map((named) => {
    const origin = origins.get(named.name);
    return {
      name: named.name,
      value: show(named, sections[named.section]?.[named.key]),
      origin:
        origin === undefined || origin.from === "default"
          ? "default"
          : `${origin.from} ${origin.name}`,
      meaning: named.setting.meaning,
    };
  });
}

function show({ setting }: NamedSetting, value: unknown): string {
  switch (setting.kind) {
    case "count":
    case "duration":
    case "size":
      return showNumber(setting, value as number);
    case "list":
      return (value as readonly string[]).join(", ");
    case "tokens":
      return (value as readonly TokenSetting[])
        .map(({ name, access }) => `${name} (${access})`)
        .join(", ");
    default:
      return String(value);
  }
}
