import { type Command, Option } from "commander";
import { ConfigError, type Loaded, loadConfig, SETTINGS } from "../config/index.js";
import { CommandError, ExitCode } from "./exit-codes.js";

/** Flags of settings that are typed often have short names too. */
const SHORT: ReadonlyMap<string, { readonly flags: string; readonly setting: string }> = new Map([
  ["data", { flags: "-d, --data <directory>", setting: "data.directory" }],
  ["host", { flags: "--host <address>", setting: "clients.host" }],
  ["port", { flags: "-p, --port <port>", setting: "clients.port" }],
]);

/** Adds `--config` and a flag for every setting. */
export function settingOptions(command: Command): Command {
  command.option("--config <file>", "the configuration file; default: domp.toml if it is there");
  for (const { flags, setting } of SHORT.values()) {
    command.option(flags, `the same as ${flagOf(setting)}`);
  }
  for (const { name, flag, setting } of SETTINGS) {
    const text = name === "auth.tokens" ? `${setting.meaning}; as JSON` : setting.meaning;
    command.addOption(new Option(`${flag} <value>`, text));
  }
  return command;
}

/** The configuration as file, environment and these flags make it. @throws CommandError */
export function loadSettings(options: Readonly<Record<string, unknown>>): Loaded {
  const flags: Record<string, string> = {};
  for (const { name, flag } of SETTINGS) {
    const value = options[camelCase(flag)];
    if (typeof value === "string") flags[name] = value;
  }
  for (const [option, { setting }] of SHORT) {
    const value = options[option];
    if (typeof value !== "string") continue;
    if (flags[setting] !== undefined && flagOf(setting) !== `--${option}`) {
      const message = `${flagOf(setting)} is given twice, once as --${option}`;
      throw new CommandError(ExitCode.usage, message);
    }
    flags[setting] = value;
  }
  const file = options["config"];
  try {
    return loadConfig({ flags, ...(typeof file === "string" ? { file } : {}) });
  } catch (cause) {
    if (!(cause instanceof ConfigError)) throw cause;
    throw new CommandError(ExitCode.usage, cause.problems.join("\n      "), cause);
  }
}

function flagOf(setting: string): string {
  return SETTINGS.find(({ name }) => name === setting)?.flag ?? setting;
}

/** `clientsPort` for `--clients-port`, as commander names it. */
function camelCase(flag: string): string {
  return flag.replace(/^--/, "").replaceAll(/-(\w)/g, (_, letter: string) => letter.toUpperCase());
}
