/** Progress, on standard error: standard output is the report's. */

const begun = performance.now();

/** Says what is done now. */
export function progress(text: string): void {
  const seconds = ((performance.now() - begun) / 1_000).toFixed(1).padStart(6);
  process.stderr.write(`${seconds} s  ${text}\n`);
}
