/** The door for clients. */

export { Counters } from "./counters.js";
export { Gateway, type GatewayOptions } from "./gateway.js";
export { loadTransport, type TlsFiles, type Transport } from "./transport.js";
