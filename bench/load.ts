/** A run of the load generator: it is told by lines and answers each with one of JSON. */

import { createInterface } from "node:readline";
import type { Child, Children } from "./children.js";

/** Threads of one name under a watched process. Shares are of one core. */
export interface ThreadShare {
  readonly name: string;
  /** Whether they are the processes' main threads. */
  readonly main: boolean;
  readonly count: number;
  readonly share: number;
  readonly share_max: number;
}

/** What one window has shown. */
export interface Window {
  readonly operations: number;
  readonly operations_per_s: number;
  readonly p50_us: number;
  readonly p99_us: number;
  readonly max_us: number;
  /** The longest time in which nothing was answered. */
  readonly gap_max_us: number;
  readonly elapsed_s: number;
  /** The generator's thread: its share of a core, and whether it was the limit itself. */
  readonly generator_share: number;
  readonly generator_bound: boolean;
  /** Answers by kind, warm-up and the last ones included. */
  readonly puts: number;
  readonly hits: number;
  readonly applied: number;
  readonly refused: number;
  readonly echoes: number;
  readonly threads: readonly ThreadShare[];
  /** Shares of one core, of all cores, and of the disk's time. */
  readonly server_share: number;
  readonly cores_share: number | null;
  readonly disk_share: number | null;
  /**
   * The share of a core that the server took to look for work; null where it does not tell. Not the
   * generator's to know: absent for systems that don't look.
   */
  readonly poll_share?: number | null;
}

/** A running generator. */
export class LoadProcess {
  readonly #child: Child;
  readonly #lines: AsyncIterator<string>;
  /** What it said when it was ready. */
  readonly greeting: Readonly<Record<string, unknown>>;

  private constructor(
    child: Child,
    lines: AsyncIterator<string>,
    greeting: Readonly<Record<string, unknown>>,
  ) {
    this.#child = child;
    this.#lines = lines;
    this.greeting = greeting;
  }

  /** Starts the generator and waits until it has connected, where it greets at all. */
  static async start(
    children: Children,
    program: string,
    words: readonly string[],
    greets = true,
  ): Promise<LoadProcess> {
    const child = await children.start("domp-load", { program, words, talks: true });
    const { stdout, stdin } = child.process;
    if (stdout === null || stdin === null) throw new Error("domp-load has no pipes");
    // A process that has ended is noticed when its answer is awaited, not when it is written to.
    stdin.on("error", () => {});
    const lines = createInterface({ input: stdout })[Symbol.asyncIterator]();
    const greeting = greets ? await answerOf(child, lines) : {};
    return new LoadProcess(child, lines, greeting);
  }

  /** Its process id. */
  get pid(): number {
    return this.#child.pid;
  }

  /** Loads for a while. */
  window(warmS: number, seconds: number): Promise<Window> {
    return this.ask(`window ${warmS} ${seconds}`) as unknown as Promise<Window>;
  }

  /** Sends a line and waits for the answer. */
  async ask(line: string): Promise<Readonly<Record<string, unknown>>> {
    this.tell(line);
    return answerOf(this.#child, this.#lines);
  }

  /** Sends a line that has no answer of its own. */
  tell(line: string): void {
    this.#child.process.stdin?.write(`${line}\n`);
  }

  /** Ends it: it closes its connections when its input ends. */
  async stop(): Promise<void> {
    this.#child.process.stdin?.end();
    await this.#child.ended;
  }
}

async function answerOf(
  child: Child,
  lines: AsyncIterator<string>,
): Promise<Readonly<Record<string, unknown>>> {
  const { value, done } = await lines.next();
  if (done === true) {
    const end = await child.ended;
    throw new Error(child.complaint() || `domp-load: ${end}`);
  }
  return JSON.parse(value) as Readonly<Record<string, unknown>>;
}
