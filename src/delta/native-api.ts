/** The addon, as `napi build` describes it (src/native.d.cts). */

import type * as addon from '../native.cjs'

export type { NativeBatches, NativeTable } from '../native.cjs'

/** The addon's functions. */
export type NativeModule = Pick<
  typeof addon,
  | 'openTable'
  | 'scanTable'
  | 'tableChanges'
  | 'listObjects'
  | 'readObject'
  | 'tableHistory'
  | 'limitMemory'
  | 'heldMemory'
>
