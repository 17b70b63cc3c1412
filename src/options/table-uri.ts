/** Where a table lies, as an absolute path or a URL. */

import { resolve } from 'node:path'
import { fileURLToPath } from 'node:url'

/** What a table's path may be, in words. */
export const PLACES = 'folder, or s3://, gs://, az:// URL'

/** A path as an absolute one; URLs stay as they are, but for `file:`, which becomes a path. */
export function tableUri(path: string, baseDir = process.cwd()): string {
  if (/^file:/i.test(path)) return fileURLToPath(path)
  // One letter before the colon is a Windows drive.
  return /^[a-z][a-z0-9+.-]+:\/\//i.test(path) ? path.replace(/\/+$/, '') : resolve(baseDir, path)
}
