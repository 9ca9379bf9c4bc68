import type { Command } from "commander";
import { type OutputForm, outputOption, printJson, printTable } from "./output.js";
import { loadSettings, settingOptions } from "./settings.js";

const EXAMPLES = `
Examples:
  $ domp config
  $ DOMP_CLIENTS_PORT=7500 domp config -o json
  $ domp config --config /etc/domp.toml --port 7500

Flags come before the environment (DOMP_SECTION_KEY), that before the file, that before defaults.`;

/** `domp config` */
export function define(command: Command): Command {
  return settingOptions(command)
    .addOption(outputOption())
    .addHelpText("after", EXAMPLES)
    .action(async (options: { output: OutputForm } & Record<string, unknown>) => {
      const { describeConfig } = await import("../config/index.js");
      const settings = describeConfig(loadSettings(options));
      if (options.output === "json") {
        await printJson(settings);
        return;
      }
      const rows = settings.map(({ name, value, origin }) => [name, value, origin]);
      await printTable(["setting", "value", "origin"], rows);
    });
}
