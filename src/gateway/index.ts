/** The door for clients. */

export { Counters } from "./counters.js";
export { Gateway, type GatewayOptions } from "./gateway.js";
export type { ProbeResult } from "./probe.js";
export { SOCKETS_TURNED_AWAY_MAX } from "./sockets.js";
export { loadTransport, type TlsFiles, type Transport } from "./transport.js";
