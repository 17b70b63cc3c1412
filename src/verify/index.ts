/** A Delta table beside its source. */

export { openSource } from './source.js'
export { type Difference, Verification, type VerifyOptions, type VerifyResult } from './verify.js'
