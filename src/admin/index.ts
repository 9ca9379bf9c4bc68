/** Health and metrics. */

export { type AdminListener, type AdminOptions, listenAdmin, type Readiness } from "./listener.js";
export { ProcessProbe } from "./probe.js";
