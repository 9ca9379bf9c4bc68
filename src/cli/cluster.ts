import { type Command, Option } from "commander";
import type { ClusterView, SpaceView } from "../server/index.js";
import { CommandError, ExitCode, usageError } from "./exit-codes.js";
import { type OutputForm, outputOption, print, printJson, renderTable } from "./output.js";

const EXAMPLES = `
Examples:
  $ domp cluster prepare ./cluster 127.0.0.1:7402 127.0.0.1:7412 127.0.0.1:7422
  $ domp start --data ./cluster/node-1
  $ domp start --data ./cluster/node-2 --port 7410 --admin-port 7411
  $ domp start --data ./cluster/node-3 --port 7420 --admin-port 7421

Each directory goes to the machine of its node, and to no other. It holds that node's secret key, and
becomes its data directory. What the nodes say to each other is encrypted, and only they are let in.`;

/** `domp cluster` */
export function define(command: Command): Command {
  command.description("Several nodes that hold the same data.").addHelpText("after", EXAMPLES);
  command
    .command("prepare")
    .summary("make the data directories of a new cluster")
    .description("Makes the data directories from which the nodes of a new cluster are started.")
    .argument("<directory>", "where they are made: node-1, node-2, …")
    .argument(
      "<address...>",
      "where each node listens for the others, as HOST:PORT; 3, 5 or 7 of them",
    )
    .addOption(outputOption())
    .addHelpText("after", EXAMPLES)
    .action(async (directory: string, addresses: string[], { output }: { output: OutputForm }) => {
      const { EngineError, offline } = await import("../engine/index.js");
      const made = await offline<"prepare">({ kind: "prepare", directory, addresses }).catch(
        (cause) => {
          if (!(cause instanceof EngineError)) throw cause;
          throw new CommandError(ExitCode.failed, cause.message, cause);
        },
      );
      if (output === "json") await printJson(made);
      else await print(describe(made.nodes));
    });
  command
    .command("status")
    .summary("show nodes and leaders as one node sees them")
    .description("Shows the cluster as one node sees it: who is reached, who leads which space.")
    .option("--admin <url>", "the node's admin listener", ADMIN_DEFAULT)
    .addOption(new Option("--token <token>", "where the listener asks for one").env("DOMP_TOKEN"))
    .addOption(outputOption())
    .addHelpText("after", STATUS_EXAMPLES)
    .action(async ({ admin, token, output }: StatusFlags) => {
      const view = await viewOf(admin, token);
      if (output === "json") await printJson(view);
      else await print(describeView(view));
    });
  return command;
}

interface StatusFlags {
  readonly admin: string;
  readonly token?: string;
  readonly output: OutputForm;
}

const ADMIN_DEFAULT = "http://127.0.0.1:7401";
const STATUS_TIMEOUT_MS = 5_000;

const STATUS_EXAMPLES = `
Examples:
  $ domp cluster status
  $ domp cluster status --admin http://127.0.0.1:7411 -o json`;

async function viewOf(admin: string, token: string | undefined): Promise<ClusterView> {
  let response: Response;
  try {
    response = await fetch(new URL("/cluster", admin), {
      headers: token === undefined ? {} : { authorization: `Bearer ${token}` },
      signal: AbortSignal.timeout(STATUS_TIMEOUT_MS),
    });
  } catch (cause) {
    if (cause instanceof TypeError && !URL.canParse(admin)) throw usageError(`not a URL: ${admin}`);
    const message = `no answer from ${admin}\nis a server's admin listener there? \`domp start\` says where it is`;
    throw new CommandError(ExitCode.unreachable, message, cause);
  }
  const text = await response.text();
  if (!response.ok) {
    throw new CommandError(
      ExitCode.refused,
      `${admin} answered ${response.status}: ${text.trim()}`,
    );
  }
  return JSON.parse(text) as ClusterView;
}

/** What a person reads: nodes, spaces, and what there is to do. */
export function describeView(view: ClusterView): string {
  const { cluster, node, members, spaces } = view;
  const head =
    cluster === null ? `node ${node} is alone\n` : `cluster ${cluster}, as node ${node} sees it\n`;
  const nodes = renderTable(
    ["node", "listens at", "reached"],
    members.map(({ node: id, address, reached, why }) => [
      id,
      address ?? "",
      id === node ? "this node" : reached ? "yes" : `no: ${why}`,
    ]),
  );
  const lag = ({ lags }: SpaceView): string =>
    lags.map(({ node: id, entries }) => `${id}: ${entries}`).join(", ");
  const led = renderTable(
    ["space", "leader", "term", "applied here", "keys", "entries behind"],
    spaces.map((space) => [
      nameOf(space),
      space.stopped === null ? (space.leader ?? "nobody") : `stopped: ${space.stopped}`,
      `${space.term}`,
      `${space.appliedIndex}`,
      `${space.keys}`,
      lag(space),
    ]),
  );
  return `${head}\n${nodes}\n${led}${advice(view)}`;
}

/** Space 0 has no name: it holds those of the others. */
function nameOf({ id, name }: SpaceView): string {
  return id === 0 ? "(names)" : name;
}

function advice({ members, spaces, cluster }: ClusterView): string {
  const lines: string[] = [];
  const reached = members.filter((member) => member.reached).length;
  if (cluster !== null && 2 * reached <= members.length) {
    lines.push(
      `this node reaches ${reached} of ${members.length} nodes, itself included: that is no majority. ` +
        "Nothing is written here until more of them run and are reached",
    );
  } else if (reached < members.length) {
    lines.push(
      `${members.length - reached} of ${members.length} nodes not reached: everything goes on ` +
        `while ${Math.floor(members.length / 2) + 1} are`,
    );
  }
  const unled = spaces.filter(({ leader, stopped }) => leader === null && stopped === null);
  if (unled.length > 0) {
    lines.push(`nobody leads ${unled.map(nameOf).join(", ")}: elections take a second at most`);
  }
  return lines.length === 0 ? "" : `\n${lines.join("\n")}\n`;
}

/** What was made, and what to do with it. */
function describe(
  nodes: readonly { readonly address: string; readonly directory: string }[],
): string {
  const lines = nodes.map(({ address, directory }) => `  ${directory}   listens at ${address}\n`);
  const starts = nodes.map(({ directory }, at) => {
    const ports = at === 0 ? "" : ` --port ${7400 + 10 * at} --admin-port ${7401 + 10 * at}`;
    return `  domp start --data ${directory}${ports}\n`;
  });
  return `A data directory for each node; each goes to the machine of its node, and to no other:
${lines.join("")}
All on this machine, each in a terminal of its own:
${starts.join("")}
authority-key.pem beside them signs the certificates of this cluster: no node needs it. Keep it safe.
`;
}
