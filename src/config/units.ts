/**
 * Durations and sizes as people write them: `5ms`, `1.5s`, `2m`, `1h`; `512B`, `64KiB`, `1MiB`.
 * A number without a unit is refused: it means something else to every reader.
 */

const DURATION_UNITS_MS: ReadonlyMap<string, number> = new Map([
  ["ms", 1],
  ["s", 1_000],
  ["m", 60_000],
  ["h", 3_600_000],
  ["d", 86_400_000],
]);

const SIZE_UNITS_BYTES: ReadonlyMap<string, number> = new Map([
  ["B", 1],
  ["KiB", 2 ** 10],
  ["MiB", 2 ** 20],
  ["GiB", 2 ** 30],
  ["TiB", 2 ** 40],
]);

/** A value that was read, or the reason why it could not be. */
export type Parsed<T> =
  | { readonly ok: true; readonly value: T }
  | { readonly ok: false; readonly problem: string };

export const parsed = <T>(value: T): Parsed<T> => ({ ok: true, value });
export const refused = (problem: string): Parsed<never> => ({ ok: false, problem });

const QUANTITY = /^(\d+(?:\.\d+)?)\s*([A-Za-z]*)$/;

function parseQuantity(
  text: string,
  units: ReadonlyMap<string, number>,
  example: string,
): Parsed<number> {
  const match = QUANTITY.exec(text.trim());
  if (match === null) return refused(`is not a quantity; write it like "${example}"`);
  const [, digits = "", unit = ""] = match;
  if (unit === "") return refused(`needs a unit; write it like "${example}"`);
  const factor = units.get(unit) ?? findIgnoringCase(unit, units);
  if (factor === undefined) {
    return refused(`has the unknown unit "${unit}"; known are ${[...units.keys()].join(", ")}`);
  }
  const amount = Number(digits) * factor;
  if (!Number.isSafeInteger(amount)) {
    return refused(
      amount > Number.MAX_SAFE_INTEGER
        ? "is too large"
        : `is not a whole number of ${[...units.keys()][0]}`,
    );
  }
  return parsed(amount);
}

/** `kib` means KiB, but `kb` stays unknown: nobody agrees whether it is 1000 or 1024. */
function findIgnoringCase(unit: string, units: ReadonlyMap<string, number>): number | undefined {
  const wanted = unit.toLowerCase();
  for (const [name, factor] of units) if (name.toLowerCase() === wanted) return factor;
  return undefined;
}

/** Milliseconds of `5ms`, `2s`, `1.5m`, `1h`, `1d`. */
export function parseDuration(text: string): Parsed<number> {
  return parseQuantity(text, DURATION_UNITS_MS, "5ms, 2s or 1h");
}

/** Bytes of `512B`, `64KiB`, `1MiB`, `2GiB`. */
export function parseSize(text: string): Parsed<number> {
  return parseQuantity(text, SIZE_UNITS_BYTES, "64KiB or 1MiB");
}

function format(amount: number, units: ReadonlyMap<string, number>): string {
  let best = "";
  for (const [name, factor] of units) {
    if (best === "" || (amount >= factor && amount % factor === 0))
      best = `${amount / factor}${name}`;
  }
  return best;
}

/** The shortest exact form, such as `1h` for 3,600,000. */
export function formatDuration(durationMs: number): string {
  return format(durationMs, DURATION_UNITS_MS);
}

/** The shortest exact form, such as `1MiB` for 1,048,576. */
export function formatSize(sizeBytes: number): string {
  return format(sizeBytes, SIZE_UNITS_BYTES);
}
