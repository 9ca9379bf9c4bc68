/** Health and metrics. */

export {
  type ClusterView,
  clusterView,
  type MemberView,
  type SpaceView,
} from "./cluster.js";
export { type AdminListener, type AdminOptions, listenAdmin, type Readiness } from "./listener.js";
export { ProcessProbe } from "./probe.js";
