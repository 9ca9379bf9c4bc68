/** Who may come in, from where, and what they may do. */

export { type DoorPolicy, Doors } from "./doors.js";
export { type Exposure, INSECURE_WORDS, judgeExposure, type Listener } from "./exposure.js";
export { formatAddress, isLoopbackHost, normaliseHost } from "./hosts.js";
export { type Access, ANONYMOUS, type Principal, principal } from "./principal.js";
export { Authenticator } from "./tokens.js";
