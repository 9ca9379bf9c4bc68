import { createInterface } from "node:readline/promises";
import { type Command, Option } from "commander";
import { CommandError, ExitCode, usageError } from "./exit-codes.js";
import { print, printJson, printTable } from "./output.js";
import { type SessionFlags, sessionOptions, withClient } from "./session.js";

const EXAMPLES = `
Examples:
  $ domp space create games
  $ domp space list
  $ domp space drop games                  asks; with all it holds, and no way back
  $ domp space drop games --yes            does not ask`;

interface DropFlags extends SessionFlags {
  readonly yes?: boolean;
}

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
    .description(
      "Drops a space with all it holds. There is no way back, so a person is asked for its name; " +
        "a script says --yes.",
    )
    .argument("<name>", "its name")
    .addOption(new Option("-y, --yes", "don't ask"))
    .addHelpText("after", "\nExample:\n  $ domp space drop games")
    .action(async (name: string, flags: DropFlags) => {
      if (flags.yes !== true) await confirmDrop(name);
      await withClient(flags, async (client) => {
        await client.spaces.drop(name);
        if (flags.output === "json") await printJson({ dropped: name });
        else await print(`dropped ${name}\n`);
      });
      process.exitCode = ExitCode.ok;
    });
  return command;
}

/**
 * Asks whoever sits there.
 * @throws CommandError where it is not wanted, or nobody sits there
 */
export async function confirmDrop(
  name: string,
  input: NodeJS.ReadableStream & { readonly isTTY?: boolean } = process.stdin,
  // Not in the way of what is printed for other programs.
  output: NodeJS.WritableStream = process.stderr,
): Promise<void> {
  if (input.isTTY !== true) {
    throw usageError(
      `this drops ${name} with all it holds; there is no terminal to ask: say --yes`,
    );
  }
  const asking = createInterface({ input, output });
  try {
    const question = `This drops ${name} with all it holds; there is no way back.\nIts name again: `;
    const answer = await Promise.race([
      asking.question(question),
      // The input ended without an answer.
      new Promise<string>((resolve) => asking.once("close", () => resolve(""))),
    ]);
    if (answer.trim() === name) return;
  } finally {
    asking.close();
  }
  throw new CommandError(ExitCode.failed, `${name} was not dropped`);
}
