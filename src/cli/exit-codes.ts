/** What the command's exit code says. Scripts rely on the numbers: they never change. */
export const ExitCode = {
  ok: 0,
  /** It was done as asked and did not succeed: an absent key, a guard that failed, a refusal. */
  failed: 1,
  /** The command line, a file or the configuration makes no sense. */
  usage: 2,
  /** No server answered. */
  unreachable: 3,
  /** The server, or what guards it, turned the request away; nothing was done. */
  refused: 4,
  /** `check` found damage. */
  damaged: 5,
} as const;
export type ExitCode = (typeof ExitCode)[keyof typeof ExitCode];

/** Ends a command with a message of its own. */
export class CommandError extends Error {
  override readonly name = "CommandError";
  readonly exitCode: ExitCode;

  constructor(exitCode: ExitCode, message: string, cause?: unknown) {
    super(message, cause === undefined ? {} : { cause });
    this.exitCode = exitCode;
  }
}

/** The arguments make no sense. */
export function usageError(message: string): CommandError {
  return new CommandError(ExitCode.usage, message);
}
