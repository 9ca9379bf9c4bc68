/** Figures as people read them: few digits, and the unit that fits. */

/** A number in short, such as `1.2M` or `66.8k`. */
export function short(value: number): string {
  if (value >= 1e6) return `${digits(value / 1e6)}M`;
  return value >= 1e3 ? `${digits(value / 1e3)}k` : digits(value);
}

/** A time given in microseconds. */
export function duration(us: number): string {
  if (us >= 1e6) return `${digits(us / 1e6)} s`;
  return us >= 1e3 ? `${digits(us / 1e3)} ms` : `${digits(us)} µs`;
}

export function times(ratio: number): string {
  return `${ratio >= 100 ? Math.round(ratio) : Number(ratio.toFixed(2))} ×`;
}

export function percent(share: number): string {
  return `${Math.round(share * 100)} %`;
}

/** A value by the unit that its name ends with. */
export function figure(name: string, value: number): string {
  if (name.endsWith("_us")) return duration(value);
  if (name.endsWith("_bytes")) {
    return value >= 1e6
      ? `${digits(value / 1e6)} MB`
      : `${Math.round(value).toLocaleString("en")} B`;
  }
  if (name.endsWith("_per_s")) return `${short(value)}/s`;
  return name.endsWith("_share") ? percent(value) : times(value);
}

/** Three digits; all of them where there are more before the point. */
function digits(value: number): string {
  return value >= 100 ? String(Math.round(value)) : String(Number(value.toPrecision(3)));
}
