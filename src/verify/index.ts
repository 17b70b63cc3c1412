/** A Delta table beside its source. */

export { type RepairResult, repair } from './repair.js'
export { openSource } from './sources/index.js'
export { messagesBehind } from './topic-lag.js'
export { type Difference, Verification, type VerifyOptions, type VerifyResult } from './verify.js'
