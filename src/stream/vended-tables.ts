/** Opens tables by the credentials that their catalogs give, and other tables as they are configured. */

import { OpenCatalogs } from '../catalog/open-catalogs.js'
import { heldCredentialsOf, withCredentials, withVended } from '../catalog/vended.js'
import type { Logger } from '../log.js'
import type { ResolvedTable } from '../options/types.js'
import type { StreamTable } from './dependencies.js'
import { type RenewableTable, VendedTable } from './vended-table.js'

type Open = (table: ResolvedTable, signal?: AbortSignal) => Promise<RenewableTable>

export class VendedTables {
  readonly #catalogs: OpenCatalogs
  readonly #logger: Logger
  readonly #open: Open

  constructor({
    logger,
    open,
    catalogs = new OpenCatalogs(),
  }: { logger: Logger; open: Open; catalogs?: OpenCatalogs }) {
    this.#catalogs = catalogs
    this.#logger = logger
    this.#open = open
  }

  async open(table: ResolvedTable, signal?: AbortSignal): Promise<StreamTable> {
    const credentials = heldCredentialsOf(table, this.#catalogs)
    if (credentials === null) return this.#open(table, signal)
    const storageOptions = (vended: Record<string, string>) => withCredentials(table.storageOptions, vended)
    const open = (options: Record<string, string>, until?: AbortSignal) =>
      this.#open({ ...table, storageOptions: options }, until)
    return VendedTable.open({ credentials, storageOptions, open, logger: this.#logger }, signal)
  }

  /** The table by credentials of now, for something that is opened for a moment. */
  ofNow(table: ResolvedTable, signal?: AbortSignal): Promise<ResolvedTable> {
    return withVended(table, this.#catalogs, signal)
  }

  close(): Promise<void> {
    return this.#catalogs.close()
  }
}
