/** A Delta table beside its source. */

export { messagesBehind } from './behind.js'
export { type RepairResult, repair } from './repair.js'
export { openSource } from './sources/index.js'
export { type Difference, Verification, type VerifyOptions, type VerifyResult } from './verify.js'
