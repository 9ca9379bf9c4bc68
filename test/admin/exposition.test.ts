import assert from "node:assert/strict";
import { test } from "node:test";
import { Exposition } from "../../src/admin/exposition.js";

test("metrics are written as Prometheus reads them", () => {
  const exposition = new Exposition();
  exposition.counter("a_total", "How many a.", 3);
  exposition.gauge("b_bytes", "A\nline \\ more.", [
    { labels: { name: 'x"y\\z\n', kind: "k" }, value: 1.5 },
    { value: 2 },
  ]);
  exposition.summary("c_seconds", "Time.", [
    { labels: { door: "http" }, count: 2, sum: 0.3, quantiles: [[0.5, 0.1]] },
  ]);
  assert.equal(
    exposition.toString(),
    [
      "# HELP a_total How many a.",
      "# TYPE a_total counter",
      "a_total 3",
      "# HELP b_bytes A\\nline \\\\ more.",
      "# TYPE b_bytes gauge",
      'b_bytes{name="x\\"y\\\\z\\n",kind="k"} 1.5',
      "b_bytes 2",
      "# HELP c_seconds Time.",
      "# TYPE c_seconds summary",
      'c_seconds{door="http",quantile="0.5"} 0.1',
      'c_seconds_sum{door="http"} 0.3',
      'c_seconds_count{door="http"} 2',
      "",
    ].join("\n"),
  );
});
