/**
 * Offsets out of the checkpoint of a Spark Structured Streaming query. `offsets/<batch>` is written before a batch, and
 * `commits/<batch>` after it: where the newest commit is, the query goes on. Each is a text: the format's version, for
 * offsets a line of the query's settings, and a line for each source, `{"topic":{"0":12}}`, the next offset to be read
 * (Spark's OffsetSeqLog and KafkaSourceOffset).
 */

import { withSignal } from '../delta/abort.js'
import { loadAddon } from '../delta/addon.js'
import type { NativeModule } from '../delta/native-api.js'
import { KafkaToDeltaError } from '../errors.js'

/** Topic to partition to the next offset. */
export type CheckpointOffsets = Map<string, Map<number, bigint>>

/**
 * @param uri folder or URL of the checkpoint
 * @param signal ends the reading
 * @throws CONFIG_INVALID where it is no checkpoint of a query that reads Kafka; STORAGE, STORAGE_DENIED
 */
export async function readSparkCheckpoint(
  uri: string,
  storageOptions: Readonly<Record<string, string>>,
  signal?: AbortSignal,
  addon: Pick<NativeModule, 'listObjects' | 'readObject'> = loadAddon(),
): Promise<CheckpointOffsets> {
  const invalid = (what: string, cause?: unknown) =>
    new KafkaToDeltaError('CONFIG_INVALID', `startingOffsets.sparkCheckpoint ${uri}: ${what}`, { cause })
  const storage = { ...storageOptions }
  const ask = <T>(call: (own?: AbortSignal) => Promise<T>) => withSignal(signal, { table: uri }, call)
  const names = await ask((own) => addon.listObjects(uri, storage, 'commits', own))
  const commits = names.filter((name) => /^\d+$/.test(name)).map(BigInt)
  if (commits.length === 0) throw invalid('there is no committed batch in its folder "commits"')
  const batch = commits.reduce((a, b) => (a > b ? a : b))
  const bytes = await ask((own) => addon.readObject(uri, storage, `offsets/${batch}`, own))
  const text = Buffer.from(bytes).toString('utf8')
  const [version, , ...sources] = text.split('\n')
  if (version !== 'v1') throw invalid(`offsets/${batch} has the format ${version?.slice(0, 20)}, and v1 is known`)
  const offsets: CheckpointOffsets = new Map()
  for (const line of sources.map((source) => source.trim()).filter((source) => source !== '' && source !== '-')) {
    let parsed: unknown
    try {
      // Offsets are whole numbers, which may exceed 2^53.
      parsed = JSON.parse(line.replaceAll(/:\s*(-?\d+)/g, ':"$1"'))
    } catch (error) {
      throw invalid(`offsets/${batch} is not JSON: ${line.slice(0, 100)}`, error)
    }
    for (const [topic, partitions] of Object.entries(parsed as object)) {
      const of = offsets.get(topic) ?? new Map<number, bigint>()
      for (const [partition, offset] of Object.entries((partitions ?? {}) as object)) {
        if (!/^\d+$/.test(partition) || !/^\d+$/.test(String(offset))) {
          throw invalid(`offsets/${batch} holds no offsets of Kafka: ${line.slice(0, 100)}`)
        }
        of.set(Number(partition), BigInt(offset))
      }
      offsets.set(topic, of)
    }
  }
  if (offsets.size === 0) throw invalid(`offsets/${batch} holds no offsets of Kafka`)
  return offsets
}
