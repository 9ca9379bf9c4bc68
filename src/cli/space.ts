import type { Command } from "commander";
import { ExitCode } from "./exit-codes.js";
import { print, printJson, printTable } from "./output.js";
import { type SessionFlags, sessionOptions, withClient } from "./session.js";

const EXAMPLES = `
Examples:
  $ domp space create games
  $ domp space list
  $ domp space drop games                  with all it holds; there is no way back`;

/** `domp space create|list|drop` */
export function define(command: Command): Command {
  command.addHelpText("after", EXAMPLES);
  sessionOptions(command.command("create").summary("create a space"))
    .description("Creates a space. Names are of letters, digits, '.', '_' and '-'.")
    .argument("<name>", "its name")
    .addHelpText("after", "\nExample:\n  $ domp space create games")
    .action(async (name: string, flags: SessionFlags) => {
      await withClient(flags, async (client) => {
        const space = await client.spaces.create(name);
        if (flags.output === "json") await printJson(space);
        else await print(`created ${space.name} with id ${space.id}\n`);
      });
    });
  sessionOptions(command.command("list").summary("list all spaces"))
    .description("Lists all spaces by name.")
    .addHelpText("after", "\nExample:\n  $ domp space list -o json")
    .action(async (flags: SessionFlags) => {
      await withClient(flags, async (client) => {
        const spaces = await client.spaces.list();
        if (flags.output === "json") await printJson(spaces);
        else
          await printTable(
            ["name", "id"],
            spaces.map(({ name, id }) => [name, `${id}`]),
          );
      });
    });
  sessionOptions(command.command("drop").summary("drop a space and all it holds"))
    .description("Drops a space with all it holds. There is no way back.")
    .argument("<name>", "its name")
    .addHelpText("after", "\nExample:\n  $ domp space drop games")
    .action(async (name: string, flags: SessionFlags) => {
      await withClient(flags, async (client) => {
        await client.spaces.drop(name);
        if (flags.output === "json") await printJson({ dropped: name });
        else await print(`dropped ${name}\n`);
      });
      process.exitCode = ExitCode.ok;
    });
  return command;
}
