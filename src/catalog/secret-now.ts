/** Secrets of a catalog's login. Files of them are read for each login: they may be new ones. */

import { KafkaToDeltaError } from '../errors.js'
import { readSecret, type Secret } from '../options/secret.js'

/** @throws CATALOG_DENIED where its file cannot be read, or is empty */
export function secretNow(secret: Secret, name: string): string {
  try {
    return readSecret(secret, `catalog.auth.${name}`)
  } catch (error) {
    throw new KafkaToDeltaError('CATALOG_DENIED', (error as Error).message)
  }
}
