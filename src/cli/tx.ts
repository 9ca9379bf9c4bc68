import type { Command } from "commander";
import { coreOf } from "../client/client.js";
import type { Client } from "../client/index.js";
import { ProtocolError } from "../protocol/error.js";
import { answerToJson, type NamedTransaction, parseTransaction } from "../protocol/json.js";
import { CommandError, ExitCode } from "./exit-codes.js";
import { print, printJson, renderTable } from "./output.js";
import { durationMs, type SessionFlags, sessionOptions, withClient } from "./session.js";
import { readFile, readStandardInput } from "./values.js";

const EXAMPLES = `
Examples:
  $ domp tx transfer.json
  $ echo '{"then": [{"put": {"key": "greeting", "value": "hello"}}]}' | domp tx -

A transfer that needs no read; docs/json-transactions.md tells the whole form:
  {
    "if":   [{"exists": {"key": "gold/bob"}}],
    "then": [{"add": {"key": "gold/ada", "number": -10, "floor": 0}},
             {"add": {"key": "gold/bob", "number": 10}}],
    "else": [{"get": {"key": "gold/ada"}}]
  }

Exit code 1: a guard failed ("applied" is false), or the transaction was refused.`;

/** `domp tx FILE|-` */
export function define(command: Command): Command {
  return sessionOptions(command)
    .argument("<file>", "a transaction in JSON; - reads standard input")
    .addHelpText("after", EXAMPLES)
    .action(async (file: string, flags: SessionFlags) => {
      process.exitCode = await tx(file, flags);
    });
}

async function tx(file: string, flags: SessionFlags): Promise<ExitCode> {
  const bytes = file === "-" ? await readStandardInput() : readFile(file);
  const transaction = parse(bytes.toString("utf8"), file);
  return withClient(flags, async (client) => {
    const answer = await submit(client, transaction, durationMs(flags.timeout, "--timeout"));
    if (flags.output === "json") await printJson(answer);
    else await print(render(transaction, answer));
    return answer["applied"] === true ? ExitCode.ok : ExitCode.failed;
  });
}

function parse(text: string, file: string): NamedTransaction {
  try {
    return parseTransaction(text);
  } catch (cause) {
    if (!(cause instanceof ProtocolError)) throw cause;
    throw new CommandError(ExitCode.usage, `${file}: ${cause.message}`, cause);
  }
}

function submit(
  client: Client,
  transaction: NamedTransaction,
  timeoutMs: number,
): Promise<Record<string, unknown>> {
  const core = coreOf(client);
  return core.submit(transaction.space, transaction, core.deadline({ timeoutMs }), (reply) =>
    answerToJson(transaction, reply),
  );
}

/** The answer for a person: whether it was applied, and what each operation found. */
function render(transaction: NamedTransaction, answer: Record<string, unknown>): string {
  const branch = (answer["applied"] ? transaction.then : transaction.otherwise) ?? [];
  const results = answer["results"] as readonly unknown[];
  const head = answer["applied"]
    ? `applied at revision ${answer["revision"]}\n`
    : `not applied: guard ${answer["failed_guard"]} failed at revision ${answer["revision"]}\n`;
  if (branch.length === 0) return head;
  const rows = branch.map((operation, i) => [operation.kind, JSON.stringify(results[i] ?? {})]);
  return head + renderTable(["operation", "result"], rows);
}
