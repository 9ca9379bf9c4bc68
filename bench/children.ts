/** The processes that the suite starts, each of which it ends again by its own id. */

import { type ChildProcess, type SpawnOptions, spawn } from "node:child_process";

/** How much of what a child said on standard error is kept for the message when it fails. */
const KEPT_BYTES = 4_096;

export interface Child {
  readonly name: string;
  readonly pid: number;
  readonly process: ChildProcess;
  /** Resolves, with words for it, when the process has ended. */
  readonly ended: Promise<string>;
  /** Whether it has. */
  isOver(): boolean;
  /** The end of what it wrote to standard error. */
  complaint(): string;
  /** Asks it to end, and ends it by force where it does not in time. */
  stop(signal?: NodeJS.Signals, patienceMs?: number): Promise<void>;
}

/** A command, and who runs it. */
export interface Command {
  readonly program: string;
  readonly words: readonly string[];
  readonly directory?: string;
  readonly environment?: NodeJS.ProcessEnv;
  /** Another user, for programs that refuse to be root. */
  readonly user?: { readonly uid: number; readonly gid: number } | undefined;
  /** Whether its standard input and output are pipes; else they are nothing. */
  readonly talks?: boolean;
}

const DEFAULT_PATIENCE_MS = 10_000;

export class Children {
  readonly #running = new Set<Child>();
  #closed = false;

  /** Starts a process; it must come to run. */
  async start(name: string, command: Command): Promise<Child> {
    if (this.#closed) throw new Error("the suite is stopping");
    const talking = command.talks === true ? "pipe" : "ignore";
    const options: SpawnOptions = { stdio: [talking, talking, "pipe"] };
    if (command.directory !== undefined) options.cwd = command.directory;
    if (command.environment !== undefined) options.env = command.environment;
    if (command.user !== undefined) Object.assign(options, command.user);
    const child = spawn(command.program, [...command.words], options);
    const started = new Promise<void>((resolve, reject) => {
      child.once("spawn", resolve);
      child.once("error", (error) => reject(new Error(`${name}: ${error.message}`)));
    });
    let complaint = "";
    child.stderr?.setEncoding("utf8").on("data", (text: string) => {
      complaint = (complaint + text).slice(-KEPT_BYTES);
    });
    let over = false;
    const ended = new Promise<string>((resolve) => {
      child.once("close", (code, signal) => {
        over = true;
        resolve(signal === null ? `exit code ${code}` : `signal ${signal}`);
      });
    });
    await started;
    const { pid } = child;
    if (pid === undefined) throw new Error(`${name}: it has no process id`);
    const started_: Child = {
      name,
      pid,
      process: child,
      ended,
      isOver: () => over,
      complaint: () => complaint.trim(),
      stop: async (signal = "SIGTERM", patienceMs = DEFAULT_PATIENCE_MS) => {
        if (over) return;
        child.kill(signal);
        const force = setTimeout(() => child.kill("SIGKILL"), patienceMs);
        await ended;
        clearTimeout(force);
      },
    };
    this.#running.add(started_);
    void ended.then(() => this.#running.delete(started_));
    return started_;
  }

  /** Runs a command to its end; throws with what it complained about where it fails. */
  async run(name: string, command: Command): Promise<string> {
    const child = await this.start(name, { ...command, talks: true });
    child.process.stdin?.end();
    let output = "";
    child.process.stdout?.setEncoding("utf8").on("data", (text: string) => {
      output += text;
    });
    const end = await child.ended;
    if (end !== "exit code 0") throw new Error(`${name}: ${child.complaint() || end}`);
    return output;
  }

  /** Whether all were ended: nothing can be measured any more. */
  isClosed(): boolean {
    return this.#closed;
  }

  /** Ends all that still run. */
  async stopRunning(): Promise<void> {
    await Promise.all([...this.#running].map((child) => child.stop()));
  }

  /** Ends all that still run, and starts no more. */
  async stopAll(): Promise<void> {
    this.#closed = true;
    await this.stopRunning();
  }
}
