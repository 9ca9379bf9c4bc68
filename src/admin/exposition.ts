/** The text format that Prometheus reads: https://prometheus.io/docs/instrumenting/exposition_formats */

export type Labels = Readonly<Record<string, string>>;

export interface Sample {
  readonly labels?: Labels;
  readonly value: number;
}

/** Quantiles of a distribution in the unit of the metric. */
export interface Summary {
  readonly labels?: Labels;
  readonly count: number;
  readonly sum: number;
  readonly quantiles: readonly (readonly [quantile: number, value: number])[];
}

export const CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8";

/** Collects metrics and writes them out. Names bear their unit: `_seconds`, `_bytes`, `_total`. */
export class Exposition {
  readonly #lines: string[] = [];

  counter(name: string, help: string, samples: number | readonly Sample[]): void {
    this.#metric(name, "counter", help, samples);
  }

  gauge(name: string, help: string, samples: number | readonly Sample[]): void {
    this.#metric(name, "gauge", help, samples);
  }

  summary(name: string, help: string, summaries: readonly Summary[]): void {
    this.#head(name, "summary", help);
    for (const { labels = {}, count, sum, quantiles } of summaries) {
      for (const [quantile, value] of quantiles) {
        this.#sample(name, { ...labels, quantile: String(quantile) }, value);
      }
      this.#sample(`${name}_sum`, labels, sum);
      this.#sample(`${name}_count`, labels, count);
    }
  }

  toString(): string {
    return `${this.#lines.join("\n")}\n`;
  }

  #metric(name: string, type: string, help: string, samples: number | readonly Sample[]): void {
    this.#head(name, type, help);
    const list = typeof samples === "number" ? [{ value: samples }] : samples;
    for (const { labels = {}, value } of list) this.#sample(name, labels, value);
  }

  #head(name: string, type: string, help: string): void {
    this.#lines.push(`# HELP ${name} ${escapeHelp(help)}`, `# TYPE ${name} ${type}`);
  }

  #sample(name: string, labels: Labels, value: number): void {
    const pairs = Object.entries(labels).map(([label, text]) => `${label}="${escapeLabel(text)}"`);
    this.#lines.push(`${name}${pairs.length === 0 ? "" : `{${pairs.join(",")}}`} ${value}`);
  }
}

function escapeHelp(text: string): string {
  return text.replaceAll("\\", "\\\\").replaceAll("\n", "\\n");
}

function escapeLabel(text: string): string {
  return escapeHelp(text).replaceAll('"', '\\"');
}
